package presence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

func TestRosterWire(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		peer := s.connect(t, "peer-0001")
		peer.subscribe(registerAt, "empty")
		settle() // 200 ms
		s.connectAs(t, mina, stomp.ClientDataHeader, `{"name":"Mina"}`)
		s.connect(t, "anon-0001", stomp.ClientDataHeader, `"<>"`)
		s.forgetRoster()
		peer.subscribe(registerAt, "two")
		settle()
		wantJSON(t, peer.bodies(t, "empty")[0], `{"stream":"stream-1","seq":0,"more":false,"sessions":[]}`)
		wantJSON(t, peer.bodies(t, "two")[0], `{"stream":"stream-1","seq":2,"more":false,"sessions":[
			{"sessionId":"mina-0001","user":"mina","clientData":{"name":"Mina"},"attributes":{"team":"red"},"connectedAt":"2100-01-01T10:00:00.200Z"},
			{"sessionId":"anon-0001","clientData":"<>","connectedAt":"2100-01-01T10:00:00.200Z"}]}`)
		for _, subscription := range []string{"empty", "two"} {
			s.wantRight(t, peer, subscription)
		}
	})
}

// A large roster comes in pages of at most 64 KiB, oldest session first.
func TestRosterPages(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for i := range 300 {
			c := s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `"`+strings.Repeat("x", 1000)+`"`)
			if i%3 == 0 {
				c.hangUp(1000)
			}
		}
		settle()
		peer := s.connect(t, "peer-0001")
		peer.subscribe(registerAt, "p")
		settle()
		bodies := peer.bodies(t, "p")
		if len(bodies) < 4 {
			t.Fatalf("%d pages", len(bodies))
		}
		var ids []string
		for i, body := range bodies {
			var pg page
			if err := json.Unmarshal(body, &pg); err != nil {
				t.Fatal(err)
			}
			if len(body) > 64<<10 || *pg.More != (i < len(bodies)-1) || pg.Seq != 400 || pg.Stream != streamName {
				t.Errorf("page %d of %d: %d bytes, more %v, seq %d", i+1, len(bodies), len(body), *pg.More, pg.Seq)
			}
			for _, session := range pg.Sessions {
				ids = append(ids, session.SessionID)
			}
		}
		if len(ids) != 200 || !slices.IsSorted(ids) {
			t.Errorf("%d sessions, in order: %v", len(ids), slices.IsSorted(ids))
		}
		s.wantRight(t, peer, "p")
	})
}

// The last page says "more":false, which is longer than what the others say.
func TestRosterPageAtTheLimit(t *testing.T) {
	for size := 64<<10 - 300; size < 64<<10; size++ {
		views := []*View{
			{SessionID: "first", ClientData: []byte(`1`)},
			{SessionID: "second", ClientData: []byte(`"` + strings.Repeat("x", size) + `"`)},
		}
		pages := rosterPages(streamName, 1, views)
		for i, body := range pages {
			if len(body) > 64<<10 && (i != 1 || size <= 64<<10-200) { // a single entry may be larger
				t.Fatalf("page %d of %d has %d bytes", i+1, len(pages), len(body))
			}
			if want := fmt.Appendf(nil, `{"stream":"stream-1","seq":1,"more":%v,`, i < len(pages)-1); !bytes.HasPrefix(body, want) || !json.Valid(body) {
				t.Fatalf("page %d of %d begins %.60s", i+1, len(pages), body)
			}
		}
	}
}

// An entry that is larger than a page has one of its own.
func TestRosterLargeEntry(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.setClientDataLimit(100 << 10)
		s.connect(t, "before-01", stomp.ClientDataHeader, `1`)
		s.connect(t, "large-001", stomp.ClientDataHeader, `"`+strings.Repeat("x", 99<<10)+`"`)
		s.connect(t, "after-001", stomp.ClientDataHeader, `1`)
		settle()
		peer := s.connect(t, "peer-0001")
		peer.subscribe(registerAt, "p")
		settle()
		if got := len(peer.bodies(t, "p")); got != 3 {
			t.Errorf("%d pages, want 3", got)
		}
		s.wantRight(t, peer, "p")
	})
}

// 1,000 newcomers one after the other cost a few encodings of the roster, and
// nobody keeps one that is not used any more.
func TestRosterIsUsedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for i := range 1000 {
			s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `{"name":"somebody"}`)
		}
		settle()
		var made snapshots
		for i := range 1000 {
			c := s.connect(t, fmt.Sprintf("newcomer-%04d", i), stomp.ClientDataHeader, `{"name":"somebody"}`)
			if i%100 != 0 {
				c.forget()
			}
			c.subscribe(registerAt, "p")
			synctest.Wait()
			made.add(s.all())
		}
		settle()
		if len(made.all) > 10 {
			t.Errorf("the roster was encoded %d times", len(made.all))
		}
		for i := 1000; i < 2000; i += 100 {
			s.wantRight(t, s.clients[i], "p")
		}
		if kept := made.kept(); kept > 1 {
			t.Errorf("%d rosters are kept", kept)
		}
	})
}

// While a site fills up, what is encoded stays in proportion to what is there
// in the end.
func TestRosterFromNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		var made snapshots
		for i := range 1000 {
			c := s.connect(t, fmt.Sprintf("newcomer-%04d", i), stomp.ClientDataHeader, `{"name":"somebody"}`)
			c.forget()
			c.subscribe(registerAt, "p")
			synctest.Wait()
			made.add(s.all())
		}
		if final := s.all().snapshot.Size(); made.bytes > 10*final {
			t.Errorf("%d bytes were encoded in %d rosters, the last of which has %d", made.bytes, len(made.all), final)
		}
	})
}

// A roster that is old is not used again: what happened long before he came is
// no news to a newcomer.
func TestRosterIsFresh(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for i := range 100 {
			s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `1`)
		}
		early := s.connect(t, "early-001")
		early.subscribe(registerAt, "p")
		s.clients[0].hangUp(1000)
		time.Sleep(time.Minute)
		late := s.connect(t, "late-0001")
		late.subscribe(registerAt, "p")
		settle()
		s.wantRight(t, early, "p")
		s.wantRight(t, late, "p")
		if got := late.picture(t, "p").changes; got != 0 {
			t.Errorf("told of %d changes of a minute ago", got)
		}
	})
}

// Newcomers who ask for the roster and then do not read share what they hold.
func TestRosterIsShared(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.connect(t, "first-0001", stomp.ClientDataHeader, `"`+strings.Repeat("x", 4000)+`"`)
		settle()
		var made snapshots
		for i := range 500 {
			c := s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `{"name":"somebody"}`)
			synctest.Wait()
			c.stall()
			c.subscribe(registerAt, "p")
			made.add(s.all())
		}
		settle()
		if kept := made.kept(); kept > 20 {
			t.Errorf("500 newcomers that do not read keep %d rosters", kept)
		}
		for _, c := range s.clients[1:] {
			c.resume()
		}
		settle()
		for _, i := range []int{1, 250, 500} {
			s.wantRight(t, s.clients[i], "p")
		}
	})
}

// snapshots follows which rosters a registry makes, without keeping them.
type snapshots struct {
	all   []weak.Pointer[stomp.Snapshot]
	bytes int
}

func (s *snapshots) add(r *scope) {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	p := weak.Make(r.snapshot.Snapshot)
	if n := len(s.all); n > 0 && s.all[n-1] == p {
		return
	}
	s.all = append(s.all, p)
	s.bytes += r.snapshot.Size()
}

// kept is how many of them somebody holds.
func (s *snapshots) kept() int {
	runtime.GC()
	n := 0
	for _, p := range s.all {
		if p.Value() != nil {
			n++
		}
	}
	return n
}

// Whoever takes long to read a roster must not find, at its end, that the
// changes since are gone: a roster is used again only as long as most of the
// feed's past is still ahead of it.
func TestRosterLeavesTimeToRead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		const kept = 4 << 20  // what a feed keeps by default
		for i := range 2500 { // a roster of 10 MiB
			s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `"`+strings.Repeat("x", 4000)+`"`)
		}
		settle()
		s.all().subscribe()
		s.atOnce(func() {
			for range 900 { // 3.7 MB
				s.clients[0].register(`{"clientData":"` + strings.Repeat("y", 4000) + `"}`)
			}
		})
		synctest.Wait()
		_, snapshot := s.all().subscribe()
		if since, ok := s.all().feed.Since(snapshot); !ok || since > kept/2 {
			t.Errorf("a roster with %d bytes of changes after it is used again, of which %d are kept", since, kept)
		}
	})
}
