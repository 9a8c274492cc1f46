package stomp_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// roster mounts a feed whose newcomers get a snapshot, as presence does.
type roster struct {
	echoMount
	mu       sync.Mutex
	snapshot *stomp.Snapshot
}

func (m *roster) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.feed, m.snapshot, nil
}

func (m *roster) take(pages ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var bodies [][]byte
	for _, p := range pages {
		bodies = append(bodies, []byte(p))
	}
	m.snapshot = m.feed.NewSnapshot(bodies)
}

func newRoster(w *world, keep int) *roster {
	m := &roster{}
	m.feed = stomp.NewFeed(stomp.FeedConfig{
		Keep:   keep,
		Header: frame.Header{{Name: "content-type", Value: "text/plain"}},
		Reset:  func(seq uint64) []byte { return fmt.Appendf(nil, "reset %d", seq) },
	})
	w.SetMounts(mounts{"/roster": m})
	return m
}

func (m *roster) append(from, to int) {
	for i := from; i <= to; i++ {
		m.feed.Append(uint64(i), fmt.Appendf(nil, "change %d", i))
	}
}

func expectFeed(t *testing.T, c *stomptest.Client, bodies ...string) {
	t.Helper()
	for _, want := range bodies {
		if f := c.Expect(frame.Message, "content-type:text/plain", "destination:/roster"); string(f.Body) != want {
			t.Fatalf("got %q, want %q", f.Body, want)
		}
	}
}

func changes(from, to int) (bodies []string) {
	for i := from; i <= to; i++ {
		bodies = append(bodies, fmt.Sprintf("change %d", i))
	}
	return bodies
}

// Every reader gets everything from its SUBSCRIBE on, in order.
func TestFeedOrder(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		m := newRoster(w, 0)
		a, _, _ := w.connect(t)
		m.append(1, 3)
		a.Subscribe("a", "/roster")
		m.append(4, 100)
		b, _, _ := w.connect(t, "accept-version:1.0")
		b.Subscribe("b", "/roster")
		m.append(101, 200)
		expectFeed(t, a, changes(4, 200)...)
		expectFeed(t, b, changes(101, 200)...)
		a.Send(frame.Unsubscribe, "", "id:a", "receipt:1")
		a.Expect(frame.Receipt)
		m.append(201, 202)
		expectFeed(t, b, changes(201, 202)...)
		a.ExpectNothing()
		b.ExpectNothing()
		if n := m.feed.Readers(); n != 1 {
			t.Errorf("%d readers", n)
		}
	})
}

// A newcomer gets the snapshot, then what came after it: nothing missed,
// nothing twice, however old the snapshot is and whatever happens meanwhile.
func TestFeedSnapshotThenChanges(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		m := newRoster(w, 0)
		m.append(1, 10)
		m.take("page 1 to 10", "page 2 to 10")
		m.append(11, 20)

		early, _, _ := w.connect(t)
		early.Send(frame.Subscribe, "", "id:1", "destination:/roster")
		expectFeed(t, early, "page 1 to 10", "page 2 to 10")
		expectFeed(t, early, changes(11, 20)...)

		slow, pipe, _ := w.connect(t)
		pipe.Freeze()
		slow.Send(frame.Subscribe, "", "id:1", "destination:/roster")
		synctest.Wait()
		m.append(21, 30)
		pipe.Thaw()
		expectFeed(t, slow, "page 1 to 10", "page 2 to 10")
		expectFeed(t, slow, changes(11, 30)...)
		expectFeed(t, early, changes(21, 30)...)
		slow.ExpectNothing()
		early.ExpectNothing()
	})
}

// Newcomers beside a writer that does not wait for them.
func TestFeedConcurrently(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		m := newRoster(w, 0)
		const n = 2000
		go func() {
			for i := 1; i <= n; i++ {
				m.mu.Lock()
				m.feed.Append(uint64(i), fmt.Appendf(nil, "change %d", i))
				m.snapshot = m.feed.NewSnapshot([][]byte{fmt.Appendf(nil, "all %d", i)})
				m.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		}()
		for range 20 {
			time.Sleep(10 * time.Millisecond)
			c, _, _ := w.connect(t)
			c.Send(frame.Subscribe, "", "id:1", "destination:/roster")
			first := c.Expect(frame.Message)
			var seen int
			if _, err := fmt.Sscanf(string(first.Body), "all %d", &seen); err != nil {
				t.Fatalf("the first is %q", first.Body)
			}
			expectFeed(t, c, changes(seen+1, n)[:50]...)
		}
	})
}

// A reader that is slow, but within what is kept, gets all of it, and is no
// slow consumer however much that is.
func TestFeedAtTheReadersPace(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 1000}}, func(t *testing.T, w *world) {
		m := newRoster(w, 0)
		slow, pipe, _ := w.connect(t)
		slow.Subscribe("1", "/roster")
		fast, _, _ := w.connect(t)
		fast.Subscribe("1", "/roster")
		pipe.Freeze()
		m.append(1, 5000)
		expectFeed(t, fast, changes(1, 5000)...)
		pipe.Thaw()
		expectFeed(t, slow, changes(1, 5000)...)
		slow.ExpectNothing()
	})
}

// One that falls behind further is told so once, and goes on from then.
func TestFeedReset(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		m := newRoster(w, 1000)
		slow, pipe, _ := w.connect(t)
		slow.Subscribe("1", "/roster")
		fast, _, _ := w.connect(t)
		fast.Subscribe("1", "/roster")
		for round := range 3 {
			first := 1000*round + 1
			pipe.Freeze()
			for i := range 1000 {
				m.append(first+i, first+i)
				if i == 0 {
					synctest.Wait() // the reader has taken it
				}
				expectFeed(t, fast, changes(first+i, first+i)...)
			}
			pipe.Thaw()
			// the one that was being written when the reader stopped, and no more
			expectFeed(t, slow, changes(first, first)...)
			expectFeed(t, slow, fmt.Sprintf("reset %d", first+999))
			slow.ExpectNothing()
			fast.ExpectNothing()
			if n := w.Stats().Resets; n != uint64(round+1) {
				t.Errorf("%d resets", n)
			}
		}
	})
}

// A snapshot behind which something is missing is followed by a reset, not by
// a gap.
func TestFeedSnapshotTooOld(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		m := newRoster(w, 100)
		m.append(1, 5)
		m.take("to 5")
		m.append(6, 100)
		c, _, _ := w.connect(t)
		c.Send(frame.Subscribe, "", "id:1", "destination:/roster")
		expectFeed(t, c, "to 5", "reset 100")
		m.append(101, 102)
		expectFeed(t, c, changes(101, 102)...)
		c.ExpectNothing()
	})
}

// Nobody there yet: a snapshot without pages.
func TestFeedEmptySnapshot(t *testing.T) {
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic: %v", p)
		}
	}()
	w := newWorld(stomp.Policy{})
	m := newRoster(w, 0)
	m.take()
	stomp.ReadSnapshot(w.endpoint, m.feed, m.snapshot)
}

func TestFeedSharedByDestinations(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		feed := stomp.NewFeed(stomp.FeedConfig{})
		w.SetMounts(mounts{"/one": &echoMount{feed: feed}, "/two": &echoMount{feed: feed}})
		c, _, _ := w.connect(t)
		c.Subscribe("1", "/one")
		c.Subscribe("2", "/two")
		feed.Append(1, []byte("x"))
		got := map[string]string{}
		for range 2 {
			f := c.Expect(frame.Message)
			got[f.Header.Get("subscription")] = f.Header.Get("destination")
		}
		if got["1"] != "/one" || got["2"] != "/two" {
			t.Errorf("destinations by subscription %v", got)
		}
	})
}
