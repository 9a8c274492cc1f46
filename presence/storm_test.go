package presence

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// crowd connects n sessions which are known, and subscribes them.
func (s *server) crowd(t *testing.T, n int, destination string) []*client {
	t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = s.connect(t, fmt.Sprintf("session-%05d", i), stomp.ClientDataHeader, `{"name":"somebody"}`)
	}
	settle()
	for _, c := range clients {
		if err := c.subscribe(destination, "p"); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	return clients
}

// A switch dies: 1,000 of 10,000 sessions leave. That are not 9,000,000
// messages, and nobody who stays is cut for it.
func TestMassLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		clients := s.crowd(t, 10_000, registerAt)
		lost, survivors := clients[:1000], clients[1000:]
		before := len(survivors[0].received())

		var everybody sync.WaitGroup
		for part := range slices.Chunk(lost, 250) {
			everybody.Go(func() {
				for i, c := range part {
					c.hangUp(1006)
					if i%50 == 0 {
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
		everybody.Wait()
		settle()

		first := survivors[0].received()
		if n := len(first) - before; n > 10 {
			t.Errorf("1,000 leaves became %d messages for each survivor", n)
		}
		s.wantRight(t, survivors[0], "p")
		for _, c := range survivors[1:] { // bytes are shared: what is the same to the pointer is right too
			if got := c.received(); !slices.Equal(got[1:], first[1:]) {
				s.wantRight(t, c, "p")
			}
		}
		if got := s.endpoint.Sessions(); got != 9000 {
			t.Errorf("%d sessions are left, want 9,000", got)
		}
		stats := s.broker.Stats()
		if got := stats.Ends[stomp.ReasonConnectionLost]; got != 1000 || stats.Resets != 0 || stats.Dropped != 0 {
			t.Errorf("%d lost, %d resets, %d dropped, want 1000, 0, 0", got, stats.Resets, stats.Dropped)
		}
	})
}

// A single change goes out at once; what happens while an announcement is
// under way goes out together in the next.
func TestPace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.registry.updateEvery = 0
		clients := s.crowd(t, 1000, announceAt) // 10 ms
		began := time.Now()
		clients[0].register(`{"clientData":1}`)
		synctest.Wait()
		if got := len(clients[1].bodies(t, "p")); got != 1 || !time.Now().Equal(began) {
			t.Fatalf("a single change became %d messages after %v", got, time.Since(began))
		}
		for i := range 20 {
			clients[0].register(fmt.Sprintf(`{"clientData":%d}`, i))
			time.Sleep(400 * time.Microsecond)
		}
		settle()
		if got := len(clients[1].bodies(t, "p")); got != 2 {
			t.Errorf("the changes of 8 ms became %d messages, want 1 more", got-1)
		}
		if got := len(clients[1].news(t, "p")); got != 21 {
			t.Errorf("%d changes, want 21", got)
		}
	})
}

// Announcements alone never make a slow consumer: who does not read misses
// them, is told so once, and is right again as soon as he asks.
func TestReaderThatDoesNotRead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.registry.updateEvery = 0
		clients := s.crowd(t, 3, registerAt)
		reader, idle, talker := clients[0], clients[1], clients[2]
		idle.stall()
		for n := range 1200 { // 4.8 MB, of which 4 MiB are kept
			talker.register(fmt.Sprintf(`{"clientData":"%d%s"}`, n, strings.Repeat("x", 4000)))
			synctest.Wait()
		}
		settle()
		s.wantRight(t, reader, "p")
		idle.resume()
		settle()
		if idle.refusal(t) != "" || s.endpoint.Sessions() != 3 {
			t.Fatalf("cut: %s", idle.refusal(t))
		}
		p := idle.picture(t, "p")
		if !p.reset || p.seq != 1203 || p.changes > 5 { // what was on the way, the reset, nothing more
			t.Errorf("reset %v, seq %d, %d changes", p.reset, p.seq, p.changes)
		}
		if got := s.broker.Stats().Resets; got != 1 {
			t.Errorf("%d resets", got)
		}

		idle.unsubscribe("p")
		idle.subscribe(registerAt, "again")
		talker.register(`{"clientData":"after"}`)
		settle()
		s.wantRight(t, idle, "again")
		s.wantRight(t, reader, "p")
	})
}

// overflow makes more changes than may wait to be announced.
func (s *server) overflow(t *testing.T, c *client) {
	t.Helper()
	s.atOnce(func() {
		for range maxPending + 10 {
			if err := s.registry.Register(c.session, []byte(`"again"`)); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(s.all().pending); got > maxPending {
			t.Errorf("%d changes wait", got)
		}
	})
}

func TestTooManyPending(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.registry.updateEvery = 0
		s.registry.SetListener(nil) // it would remember them all
		clients := s.crowd(t, 100, announceAt)
		reader := clients[1]
		announced := s.registry.Announced()
		s.overflow(t, clients[0])
		clients[0].register(`{"clientData":"after"}`)
		settle()
		n := reader.news(t, "p")
		if len(n) < 1 || n[0].Type != "reset" || n[0].Stream != streamName || n[0].Seq < 100+maxPending {
			t.Fatalf("told %.300s", reader.bodies(t, "p"))
		}
		last := n[len(n)-1]
		if n[0].Seq < 100+maxPending+11 && (len(n) != 2 || last.Type != "updated" || last.Seq != n[0].Seq+1) {
			t.Errorf("told %.300s", reader.bodies(t, "p"))
		}
		if got := s.registry.Announced() - announced; got > 1 {
			t.Errorf("%d changes count as announced", got)
		}
	})
}

// Who asks for the roster because of a reset must be given one from after it;
// otherwise he is told again to ask.
func TestRosterAfterTooManyPending(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.registry.updateEvery = 0
		s.registry.SetListener(nil)
		for i := range 5000 {
			s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `1`)
		}
		settle()
		reader := s.clients[1]
		reader.subscribe(registerAt, "p")
		s.overflow(t, s.clients[0])
		synctest.Wait()
		if !reader.picture(t, "p").reset {
			t.Fatal("no reset")
		}
		reader.unsubscribe("p")
		reader.subscribe(registerAt, "again")
		settle()
		s.wantRight(t, reader, "again")
	})
}

// What is kept of the announcements is bounded, however many there are.
func TestFeedIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.registry.updateEvery = 0
		s.registry.SetListener(nil)
		c := s.connect(t, "mina-0001")
		grown := heapDelta(func() any {
			for range 2500 { // 10 MB
				c.register(`{"clientData":"` + strings.Repeat("x", 4000) + `"}`)
				synctest.Wait()
			}
			return s
		})
		if grown > 7<<20 {
			t.Errorf("%d bytes are kept", grown)
		}
	})
}
