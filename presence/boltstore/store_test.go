package boltstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/presence/boltstore"
	"github.com/caddy-stomp/caddy-stomp/stomp"
)

var morning = time.Date(2030, 1, 2, 10, 11, 12, 131415161, time.UTC)

// fullRecord has something in every field.
func fullRecord(id string) *presence.Record {
	return &presence.Record{
		SessionID: id, User: "mina", ClientData: json.RawMessage(`{"name":"<Mina> & \u2028","n":1e3}`), ConnectedAt: morning,
		Attributes: []stomp.Attribute{{Name: "team", Value: "red/blue", Public: true}, {Name: "secret", Value: "x"}},
		Broker:     "chat", Endpoint: "/ws", Transport: "websocket", Version: "1.2", RemoteAddr: "192.0.2.1:4711", Epoch: 3,
		Announced: true, Scope: []string{"red%2Fblue"}, Rooms: []string{"/topic/rooms/1", "/topic/rooms/2"},
		Will: &presence.Will{Destination: "/topic/bye", Body: "\x00\"", ContentType: "text/plain", Delay: -1},
		Lost: &presence.Loss{Reason: stomp.ReasonConnectionLost, Code: 1006, Silence: time.Second, At: morning, Until: morning.Add(time.Minute)},
	}
}

func fullChange(id string, seq uint64) *presence.KeptChange {
	return &presence.KeptChange{
		Session: fullRecord(id), Unreachable: true, Type: presence.Left, Room: "/topic/rooms/1", Seq: seq, At: morning,
		Reason: stomp.ReasonPolicy, Code: 1008, Silence: time.Second, UserSessions: 2, Will: &presence.Will{Destination: "/topic/bye"},
	}
}

// event is one that was kept, with what JSON has to quote in it.
func event(position uint64) *presence.Event {
	e := new(presence.Event)
	raw := fmt.Sprintf(`{"position":%d,"stream":"stream-1","type":"left","since":%q,"event":{"id":"stream-1-%d","clientData":"<Mina> & \u2028"}}`,
		position, morning.Format(time.RFC3339Nano), position)
	if err := json.Unmarshal([]byte(raw), e); err != nil {
		panic(err)
	}
	return e
}

func events(from, to uint64) (all []*presence.Event) {
	for ; from <= to; from++ {
		all = append(all, event(from))
	}
	return all
}

// announcer has something in every field.
func announcer(id string, cursor uint64) *presence.AnnouncerState {
	return &presence.AnnouncerState{
		ID: id, Cursor: cursor, Wanted: []presence.Wanted{{Until: 7, Types: []presence.Type{}}, {Types: []presence.Type{presence.Joined, presence.Left}}},
		Dead: []presence.DeadLetter{
			{Position: 1, Status: 400, Error: "the receiver answered 400", At: morning}, {Position: 2, Again: true},
		},
	}
}

func metaOf(seq, announced uint64) presence.Meta {
	return presence.Meta{Stream: "stream-1", Key: []byte("0123456789abcdef"), Seq: seq, Announced: announced, Alive: morning}
}

func path(tb testing.TB) string { return filepath.Join(tb.TempDir(), "presence.db") }

func commit(tb testing.TB, s presence.Store, batches ...*presence.Batch) {
	tb.Helper()
	for _, b := range batches {
		if err := s.Commit(b); err != nil {
			tb.Fatal(err)
		}
	}
}

func load(tb testing.TB, s presence.Store) *presence.Kept {
	tb.Helper()
	kept, err := s.Load()
	if err != nil {
		tb.Fatal(err)
	}
	return kept
}

// reopened is what a store of that file has for the next process.
func reopened(tb testing.TB, path, broker string) *presence.Kept {
	tb.Helper()
	f, err := boltstore.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	kept := load(tb, f.Store(broker))
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return kept
}

func TestLoadGivesWhatWasCommitted(t *testing.T) {
	a, b := fullRecord("aaaaaaaa"), &presence.Record{SessionID: "bbbbbbbb", ClientData: json.RawMessage(`null`), ConnectedAt: morning}
	moved := fullRecord("aaaaaaaa")
	moved.Epoch, moved.Lost, moved.Rooms = 4, nil, nil
	one, two, many := fullChange("aaaaaaaa", 1), fullChange("bbbbbbbb", 2), fullChange("aaaaaaaa", 300)
	for _, tt := range []struct {
		name    string
		batches []*presence.Batch
		want    presence.Kept
	}{
		{"nothing", nil, presence.Kept{}},
		{"meta only", []*presence.Batch{{Meta: metaOf(7, 7)}}, presence.Kept{Meta: metaOf(7, 7)}},
		{
			"sessions and changes",
			[]*presence.Batch{{Meta: metaOf(300, 0), Put: []*presence.Record{a, b}, Changes: []*presence.KeptChange{one, two, many}}},
			presence.Kept{Meta: metaOf(300, 0), Records: []*presence.Record{a, b}, Changes: []*presence.KeptChange{one, two, many}},
		},
		{
			"put again, and deleted",
			[]*presence.Batch{{Meta: metaOf(0, 0), Put: []*presence.Record{a, b}}, {Meta: metaOf(0, 0), Put: []*presence.Record{moved}, Delete: []string{"bbbbbbbb", "nobody"}}},
			presence.Kept{Meta: metaOf(0, 0), Records: []*presence.Record{moved}},
		},
		{
			"announced meanwhile",
			[]*presence.Batch{{Meta: metaOf(2, 0), Changes: []*presence.KeptChange{one, two}}, {Meta: metaOf(300, 1), Changes: []*presence.KeptChange{many}}},
			presence.Kept{Meta: metaOf(300, 1), Changes: []*presence.KeptChange{two, many}},
		},
		{
			"announced before it is kept",
			[]*presence.Batch{{Meta: metaOf(300, 2), Changes: []*presence.KeptChange{one, two, many}}},
			presence.Kept{Meta: metaOf(300, 2), Changes: []*presence.KeptChange{many}},
		},
		{
			"all announced",
			[]*presence.Batch{{Meta: metaOf(300, 0), Changes: []*presence.KeptChange{one, two, many}}, {Meta: metaOf(300, 300)}},
			presence.Kept{Meta: metaOf(300, 300)},
		},
		{
			"events, and how far announcers have got",
			[]*presence.Batch{
				{Meta: metaOf(0, 0), PutEvents: events(1, 300), Announcers: []*presence.AnnouncerState{announcer("b", 1), announcer("a", 0)}},
				{Meta: metaOf(0, 0), PutEvents: events(301, 302), DeleteEvents: []uint64{2, 299, 4711}},
				{Meta: metaOf(0, 0), DeleteEvents: []uint64{1, 298}, Announcers: []*presence.AnnouncerState{announcer("a", 3), announcer("c", 300)}},
			},
			presence.Kept{Meta: metaOf(0, 0), Events: append(events(3, 297), events(300, 302)...), Announcers: []*presence.AnnouncerState{announcer("a", 3), announcer("c", 300)}},
		},
		{
			"no announcers any more",
			[]*presence.Batch{
				{Meta: metaOf(0, 0), PutEvents: events(1, 2), Announcers: []*presence.AnnouncerState{announcer("a", 0)}},
				{Meta: metaOf(0, 0), DeleteEvents: []uint64{1, 2}, Announcers: []*presence.AnnouncerState{}},
			},
			presence.Kept{Meta: metaOf(0, 0)},
		},
		{
			"events after a reset",
			[]*presence.Batch{
				{Meta: metaOf(0, 0), PutEvents: events(1, 9), Announcers: []*presence.AnnouncerState{announcer("a", 0)}},
				{Meta: metaOf(0, 0), Reset: true, PutEvents: events(5, 6), Announcers: []*presence.AnnouncerState{announcer("b", 4)}},
			},
			presence.Kept{Meta: metaOf(0, 0), Events: events(5, 6), Announcers: []*presence.AnnouncerState{announcer("b", 4)}},
		},
		{
			"reset",
			[]*presence.Batch{
				{Meta: metaOf(2, 0), Put: []*presence.Record{a, b}, Changes: []*presence.KeptChange{one, two}},
				{Meta: metaOf(300, 0), Reset: true, Put: []*presence.Record{b}, Changes: []*presence.KeptChange{many}},
			},
			presence.Kept{Meta: metaOf(300, 0), Records: []*presence.Record{b}, Changes: []*presence.KeptChange{many}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := path(t)
			f, err := boltstore.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			commit(t, f.Store("chat"), tt.batches...)
			same(t, load(t, f.Store("chat")), &tt.want)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			same(t, reopened(t, path, "chat"), &tt.want)
		})
	}
}

func same(t *testing.T, got, want *presence.Kept) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		t.Errorf("loaded\n%s, want\n%s", g, w)
	}
}

// Brokers have the file in common and nothing else.
func TestBrokers(t *testing.T) {
	path := path(t)
	f, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"", "chat", "chat/2", "\x00"}
	if f.Store("chat") != f.Store("chat") || f.Store("chat") == f.Store("chat/2") {
		t.Error("a broker's store must be the same value each time, and its own")
	}
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			for i := range uint64(20) {
				batch := &presence.Batch{Meta: metaOf(i+1, i), Put: []*presence.Record{fullRecord(fmt.Sprint(name, i))}, Changes: []*presence.KeptChange{fullChange("aaaaaaaa", i+1)}}
				if err := f.Store(name).Commit(batch); err != nil {
					t.Error(err)
				}
				if kept, err := f.Store(name).Load(); err != nil || len(kept.Records) != int(i)+1 {
					t.Errorf("%q: %v", name, err)
				}
			}
		})
	}
	all.Wait()
	if err := f.Store("chat").Clear(); err != nil {
		t.Fatal(err)
	}
	if err := f.Store("never used").Clear(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openFile(t, path)
	for _, name := range names {
		kept := load(t, f.Store(name))
		if name == "chat" {
			same(t, kept, new(presence.Kept))
		} else if len(kept.Records) != 20 || len(kept.Changes) != 1 || kept.Meta.Seq != 20 {
			t.Errorf("%q has %d records, %d changes, seq %d", name, len(kept.Records), len(kept.Changes), kept.Meta.Seq)
		}
	}
}

func TestClosed(t *testing.T) {
	f, err := boltstore.Open(path(t))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Store("chat")
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, loadErr := s.Load()
	for _, err := range []error{loadErr, s.Commit(&presence.Batch{}), s.Clear()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("error %v, want %v", err, os.ErrClosed)
		}
	}
}

// A record that cannot be encoded costs its batch and nothing else.
func TestRecordThatIsNotJSON(t *testing.T) {
	s := openFile(t, path(t)).Store("chat")
	commit(t, s, &presence.Batch{Meta: metaOf(1, 1), Put: []*presence.Record{fullRecord("aaaaaaaa")}})
	bad := fullRecord("bbbbbbbb")
	bad.ClientData = json.RawMessage(`{`)
	err := s.Commit(&presence.Batch{Meta: metaOf(2, 1), Delete: []string{"aaaaaaaa"}, Put: []*presence.Record{bad}})
	if err == nil || !strings.Contains(err.Error(), `"bbbbbbbb"`) {
		t.Errorf("error %v, want one that names the session", err)
	}
	if kept := load(t, s); len(kept.Records) != 1 || kept.Meta.Seq != 1 {
		t.Errorf("it has %d records and seq %d", len(kept.Records), kept.Meta.Seq)
	}
}

// A registry of its own goes on with what another has left: the whole way.
func TestRegistryGoesOn(t *testing.T) {
	path := path(t)
	f, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	connects(t, f.Store("test"), 50, inMemory)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if kept := reopened(t, path, "test"); len(kept.Records) != 51 || kept.Meta.Seq != 50 {
		t.Errorf("%d records, seq %d", len(kept.Records), kept.Meta.Seq)
	}
}

// counted is a store whose commits are counted.
type counted struct {
	presence.Store
	commits atomic.Int64
}

func (c *counted) Commit(b *presence.Batch) error {
	c.commits.Add(1)
	return c.Store.Commit(b)
}

// Under load, many share a commit, however fast the disk is.
func TestCommitsAreShared(t *testing.T) {
	s := &counted{Store: openFile(t, path(t)).Store("test")}
	begin := time.Now()
	connects(t, s, 2000, inMemory)
	if n, most := s.commits.Load(), int64(time.Since(begin)/time.Millisecond)+2; n > most || n > 1000 {
		t.Errorf("%d commits, want %d at most", n, min(most, 1000))
	}
}

// Pages that are free are used again: the file is bounded by what is in it.
func TestGrowth(t *testing.T) {
	const changes, most = 100_000, 8 << 20 // after 1,000,000 it is as large
	path := path(t)
	s := openFile(t, path).Store("chat")
	const sessions = 1000
	for done := 0; done < changes; done += 2 * sessions {
		batch := benchBatch(done, sessions)
		for i, r := range batch.Put {
			r.SessionID = fmt.Sprintf("session-%017d", (done/2+i)%(2*sessions))
			batch.Delete = append(batch.Delete, fmt.Sprintf("session-%017d", (done/2+sessions+i)%(2*sessions)))
		}
		commit(t, s, batch)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes after %d puts and deletes of %d sessions", info.Size(), changes, sessions)
	if info.Size() > most {
		t.Errorf("the file has %d bytes, want %d at most", info.Size(), most)
	}
	if kept := load(t, s); len(kept.Records) != sessions {
		t.Errorf("%d records, want %d", len(kept.Records), sessions)
	}
}
