package presence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// pages asks for page after page; between is called after each but the last.
func (s *server) pages(t *testing.T, l List, between func()) (ids []string) {
	t.Helper()
	for {
		p, err := s.registry.List(l)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Sessions) > l.Limit {
			t.Fatalf("%d sessions, the limit is %d", len(p.Sessions), l.Limit)
		}
		for _, listed := range p.Sessions {
			ids = append(ids, listed.SessionID)
		}
		if p.Next == "" {
			return ids
		}
		l.After = p.Next
		between()
	}
}

// Whoever stays from the first page to the last is in one page, once, whoever
// else comes and goes, and whether many connected in the same instant.
func TestListUnderChurn(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 50, 1000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				random := rand.New(rand.NewPCG(uint64(limit), 1))
				var stay, leavers []*client
				for i := range 120 {
					c := s.connect(t, fmt.Sprintf("session-%03d", random.IntN(1000)*1000+i))
					if i%3 == 0 {
						leavers = append(leavers, c)
					} else {
						stay = append(stay, c)
					}
					if i%10 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				random.Shuffle(len(leavers), func(i, j int) { leavers[i], leavers[j] = leavers[j], leavers[i] })
				left := make(map[string]bool)
				ids := s.pages(t, List{Limit: limit}, func() {
					if len(leavers) > 0 {
						left[leavers[0].session.ID()] = true
						leavers[0].hangUp(1000)
						leavers = leavers[1:]
						s.connect(t, "")
					}
				})
				for _, c := range append(stay, leavers...) {
					if n := len(slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id != c.session.ID() })); n != 1 {
						t.Errorf("%s is in %d pages", c.session.ID(), n)
					}
				}
				if limit < 50 && len(left) == 0 {
					t.Error("nobody left meanwhile")
				}
				if slices.Sort(ids); len(slices.Compact(ids)) != len(ids) {
					t.Error("somebody is in two pages")
				}
			})
		})
	}
}

// The order is that of connecting, then of ids.
func TestListOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for _, id := range []string{"session-c", "session-a", "later"} {
			if id == "later" {
				time.Sleep(time.Second)
				id = "session-0"
			}
			s.connect(t, id)
		}
		want := []string{"session-a", "session-c", "session-0"}
		for limit := 1; limit <= 4; limit++ {
			if got := s.pages(t, List{Limit: limit}, func() {}); !slices.Equal(got, want) {
				t.Errorf("limit %d: %v, want %v", limit, got, want)
			}
		}
		if p, _ := s.registry.List(List{Limit: 3}); p.Next != "" {
			t.Error("there is a page after all")
		}
	})
}

func TestListOfUser(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for i := range 9 {
			s.connectAs(t, stomp.Handshake{SessionID: fmt.Sprintf("session-%d", i), User: []string{"", "mina", "jon"}[i%3]})
		}
		for user, want := range map[string]string{
			"": "[session-0 session-3 session-6]", "mina": "[session-1 session-4 session-7]", "nobody": "[]",
		} {
			if got := s.pages(t, List{Limit: 2, OfUser: true, User: user}, func() {}); fmt.Sprint(got) != want {
				t.Errorf("of %q: %v, want %s", user, got, want)
			}
		}
	})
}

func TestListCursor(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for _, cursor := range []string{"!", "x", "AAAA", "eA", position{}.String()[1:]} {
			if _, err := s.registry.List(List{Limit: 1, After: cursor}); !errors.Is(err, ErrCursor) {
				t.Errorf("%q: %v", cursor, err)
			}
		}
		p := position{-5, "a.b"}
		if got, err := parsePosition(p.String()); err != nil || got != p {
			t.Errorf("%v, %v, want %v", got, err, p)
		}
	})
}

// A session through its life, as an operator sees it.
func TestSessionListed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, Settings{Grace: time.Minute, Rooms: []string{"/topic/rooms/*"}})
		c := s.connectAs(t, stomp.Handshake{
			SessionID: "session-1", User: "mina", Transport: "websocket", RemoteAddr: "192.0.2.1:99",
			Attributes: []stomp.Attribute{{Name: "ip", Value: "<1>"}, {Name: "team", Value: "red", Public: true}},
		}, stomp.ClientDataHeader, `{"name": "Mina"}`)
		for _, room := range []string{"/topic/rooms/b", "/topic/rooms/a", "/topic/other"} {
			if err := c.subscribe(room, room); err != nil {
				t.Fatal(err)
			}
		}
		want := func(want string) {
			t.Helper()
			got, err := json.Marshal(s.registry.Session("session-1"))
			if err != nil || strings.ReplaceAll(string(got), `\u003c1\u003e`, "<1>") != want {
				t.Errorf("%s, %v\nwant\n%s", got, err, want)
			}
		}
		wantStats := func(unreachable, rooms int, resumed uint64) {
			t.Helper()
			st := s.registry.Stats()
			if st.Unreachable != unreachable || st.Rooms != rooms || st.Resumed != resumed || st.Registrations != 1 || st.Store || st.Stream != streamName {
				t.Errorf("%+v, want %d unreachable, %d rooms, %d resumed", st, unreachable, rooms, resumed)
			}
		}
		const what = `"user":"mina","clientData":{"name":"Mina"},` +
			`"attributes":[{"name":"ip","value":"<1>","public":false},{"name":"team","value":"red","public":true}],` +
			`"rooms":["/topic/rooms/a","/topic/rooms/b"],"broker":"test","endpoint":"test","transport":"websocket","version":"1.2",` +
			`"remoteAddr":"192.0.2.1:99",`
		want(`{"sessionId":"session-1","state":"connected",` + what +
			`"epoch":1,"connectedAt":"2100-01-01T10:00:00.000Z","lastSeen":"2100-01-01T10:00:00.000Z"}`)
		wantStats(0, 2, 0)

		time.Sleep(2 * time.Second)
		c.hangUp(1006)
		time.Sleep(time.Second)
		want(`{"sessionId":"session-1","state":"unreachable",` + what +
			`"epoch":1,"connectedAt":"2100-01-01T10:00:00.000Z","lastSeen":"2100-01-01T10:00:00.000Z",` +
			`"reason":"connection-lost","unreachableSince":"2100-01-01T10:00:02.000Z","unreachableUntil":"2100-01-01T10:01:02.000Z"}`)
		wantStats(1, 2, 0)

		token := c.frames(t)[0].Header.Get(ResumeTokenHeader)
		back := s.dial(t, stomp.Handshake{User: "mina"})
		if err := back.connect(ResumeTokenHeader, token); err != nil || back.session.ID() != "session-1" {
			t.Fatalf("%q, %v", back.session.ID(), err)
		}
		want(`{"sessionId":"session-1","state":"connected","user":"mina","clientData":{"name":"Mina"},"attributes":[],` +
			`"rooms":["/topic/rooms/a","/topic/rooms/b"],"broker":"test","endpoint":"test","transport":"","version":"1.2","remoteAddr":"",` +
			`"epoch":2,"connectedAt":"2100-01-01T10:00:00.000Z","lastSeen":"2100-01-01T10:00:03.000Z"}`)
		wantStats(0, 2, 1)
		time.Sleep(resubscribeWithin + time.Second)
		wantStats(0, 0, 1)

		back.hangUp(1006)
		wantStats(1, 0, 1)
		if !s.registry.Kick("session-1", "") || s.registry.Kick("session-1", "") {
			t.Error("kicked: want once")
		}
		wantStats(0, 0, 1)
		if s.registry.Session("session-1") != nil {
			t.Error("it is there still")
		}
	})
}

// readOnlyStore holds what it is given.
type readOnlyStore struct{ kept Kept }

func (m *readOnlyStore) Load() (*Kept, error) { return &m.kept, nil }
func (*readOnlyStore) Commit(*Batch) error    { return nil }
func (*readOnlyStore) Clear() error           { return nil }

// What comes out of a store is counted too, and listed where it was.
func TestListAfterRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, Settings{RecoveryGrace: time.Minute})
		at := morning.Add(-time.Hour)
		s.registry.Open(&readOnlyStore{Kept{Meta: Meta{Stream: "kept", Key: []byte("k"), Alive: at.Add(time.Second)}, Records: []*Record{
			{SessionID: "session-2", ConnectedAt: at.Add(1), Epoch: 1, Rooms: []string{"/topic/r"}, Announced: true},
			{SessionID: "session-1", ConnectedAt: at, Epoch: 1, Rooms: []string{"/topic/r"}, User: "mina"},
		}}})
		first, err := s.registry.List(List{Limit: 1})
		if err != nil || len(first.Sessions) != 1 || first.Sessions[0].SessionID != "session-1" {
			t.Fatalf("%+v, %v", first, err)
		}
		if l := first.Sessions[0]; !l.LastSeen.Equal(at.Add(time.Second)) || l.Lost == nil || !l.Lost.Until.Equal(morning.Add(time.Minute)) {
			t.Errorf("last seen %s, lost %+v", l.LastSeen, l.Lost)
		}
		want := Stats{Stream: "kept", Sessions: 2, Unreachable: 2, Announced: 1, Rooms: 1, Store: true}
		if got := s.registry.Stats(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		time.Sleep(2 * time.Minute)
		if got, want := s.registry.Stats(), (Stats{Stream: "kept", Store: true}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		s.registry.Close()
	})
}

// BenchmarkList is one page of 100,000 sessions; wait-ns is the longest that
// somebody else had to wait for the registry meanwhile.
func BenchmarkList(b *testing.B) {
	s := benchServer(b)
	for range 100_000 {
		s.connectAs(b, stomp.Handshake{}).forget()
	}
	stop, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			select {
			case <-stop:
				longest <- most
				return
			default:
			}
			began := time.Now()
			s.registry.Get("nobody")
			most = max(most, time.Since(began))
			time.Sleep(100 * time.Microsecond)
		}
	}()
	b.ResetTimer()
	for b.Loop() {
		if p, err := s.registry.List(List{Limit: 1000}); err != nil || len(p.Sessions) != 1000 {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	close(stop)
	b.ReportMetric(float64((<-longest).Nanoseconds()), "wait-ns")
}
