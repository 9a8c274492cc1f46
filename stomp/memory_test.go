package stomp

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Attacks on memory that hide where nothing counts: what is kept must not be
// much more than what is counted.

const mib = 1 << 20

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// padding is a header that is stripped, of 31 lines, in front of whatever
// small thing is kept.
var padding = strings.Repeat("login:"+strings.Repeat("p", 1900)+"\n", 31)

// grows says by how much the heap grew, at most.
func grows(t *testing.T, most int64, keep any, fill func()) {
	t.Helper()
	before := heapInUse()
	fill()
	if grown := heapInUse() - before; grown > most {
		t.Errorf("%d MiB are kept, want %d at most", grown/mib, most/mib)
	}
	runtime.KeepAlive(keep)
}

// Attack: a consumer that never acknowledges, and leaves.
func TestUnacknowledgedCountsAndIsBounded(t *testing.T) {
	b := NewBroker(Config{})
	b.SetQueues(QueueConfig{BacklogBytes: mib, TotalBytes: 8 * mib})
	e := b.Endpoint("/", unlimited())
	s, sender := open(t, e, discard{}), open(t, e, discard{})
	body := strings.Repeat("x", 60<<10)
	grows(t, 16*mib, b, func() {
		for q := range 20 {
			say(t, s, "SUBSCRIBE\nid:%d\ndestination:/queue/%d\nack:client-individual\n\n\x00", q, q)
			for range 100 {
				say(t, sender, "SEND\ndestination:/queue/%d\n\n%s\x00", q, body)
			}
		}
		if n := b.queues.bytes.Load(); n < mib || n > 8*mib {
			t.Errorf("%d bytes are counted", n)
		}
		s.End(End{Reason: ReasonClosed})
	})
	if n := b.queues.bytes.Load(); n > 8*mib {
		t.Errorf("%d bytes are counted after it left", n)
	}
	// and all of it is given back when somebody takes it
	reader := open(t, e, discard{})
	for q := range 20 {
		say(t, reader, "SUBSCRIBE\nid:%d\ndestination:/queue/%d\n\n\x00", q, q)
	}
	eventuallyZero(t, b)
}

func eventuallyZero(t *testing.T, b *Broker) {
	t.Helper()
	for range 1_000_000 {
		if b.queues.bytes.Load() == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d bytes are counted although the queues were read", b.queues.bytes.Load())
}

// Attack: small headers from large heads. A header is part of the string that
// its whole head is.
func TestQueueKeepsNoHeads(t *testing.T) {
	b := NewBroker(Config{})
	s := open(t, b.Endpoint("/", unlimited()), discard{})
	grows(t, 4*mib, b, func() {
		for i := range 1000 {
			say(t, s, "SEND\ndestination:/queue/%d\nx:1\n%s\n\x00", i%5, padding)
		}
	})
}

func TestTransactionsKeepNoHeads(t *testing.T) {
	b := NewBroker(Config{})
	s := open(t, b.Endpoint("/", unlimited()), discard{})
	grows(t, mib, s, func() {
		for i := range 100 {
			say(t, s, "BEGIN\ntransaction:%d\n%s\n\x00", i, padding)
		}
	})
}

// Attack: a thousand subscriptions to the roster by somebody who does not read.
func TestFeedsAreNotPulledAllAtOnce(t *testing.T) {
	b := NewBroker(Config{})
	feed := NewFeed(FeedConfig{Reset: func(uint64) []byte { return nil }})
	page := []byte(strings.Repeat("x", 60<<10))
	b.SetMounts(map[string]Mount{"/app/presence": snapshots{feed, feed.NewSnapshot([][]byte{page})}})
	released := make(chan struct{})
	defer close(released)
	s := open(t, b.Endpoint("/", unlimited()), stuck{released: released})
	grows(t, 4*mib, s, func() {
		for i := range 900 {
			say(t, s, "SUBSCRIBE\nid:%s\ndestination:/app/presence\n\n\x00", fmt.Sprint(i))
		}
		released <- struct{}{} // CONNECTED was written: now the feeds are asked
		for range 1000 {
			runtime.Gosched()
		}
	})
}

type snapshots struct {
	feed     *Feed
	snapshot *Snapshot
}

func (snapshots) Send(*Session, *frame.Frame) error { return nil }

func (m snapshots) Subscribe(*Session) (*Feed, *Snapshot, error) { return m.feed, m.snapshot, nil }

// Attack: a few sessions that subscribe to one destination a thousand times each,
// under ids of their own, by name or by patterns, and do not read; one SEND.
// Without a bound it is encoded 20,000 times, which is 1.2 GiB; it may be only
// as often as there is room in the sessions' queues.
func TestSubscriptionsDoNotAmplify(t *testing.T) {
	for name, destination := range map[string]func(i int) string{
		"one destination": func(int) string { return "/topic/a/a/a/a/a/a/a/a/a/a" },
		"patterns": func(i int) string { // each matches
			d := []byte("/topic")
			for bit := range 10 {
				d = append(d, "/a/*"[2*(i>>bit&1):][:2]...)
			}
			return string(d)
		},
		"user": func(int) string { return "/user/a/a" },
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBroker(Config{})
			p := DefaultPolicy()
			p.Limits.FramesPerSecond = -1
			e := b.Endpoint("/", p)
			released := make(chan struct{})
			defer close(released)
			const sessions = 20
			ids := make([]string, 0, sessions)
			for n := range sessions {
				s := open(t, e, stuck{released: released})
				for i := range 1000 {
					say(t, s, "SUBSCRIBE\nid:%d-%d\ndestination:%s\n\n\x00", n, i, destination(i))
				}
				ids = append(ids, s.ID())
			}
			sender := open(t, e, discard{})
			body := strings.Repeat("x", 60<<10)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if name == "user" {
				for _, id := range ids {
					say(t, sender, "SEND\ndestination:/user/%s/a/a\n\n%s\x00", id, body)
				}
			} else {
				say(t, sender, "SEND\ndestination:%s\n\n%s\x00", destination(0), body)
			}
			runtime.ReadMemStats(&after)
			spent := int64(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%d MiB were allocated, %d MiB are in use", spent/mib, int64(after.HeapAlloc)/mib)
			if most := int64(sessions * (p.Limits.Pending + mib/2)); spent > most {
				t.Errorf("%d MiB were allocated, want %d at most", spent/mib, most/mib)
			}
			if b.Stats().Dropped == 0 {
				t.Error("nobody was refused anything: this is no attack")
			}
		})
	}
}
