package stomp

import (
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test of the package's inside in a bubble of testing/synctest,
// until its wheels have stopped.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { // runs after the sessions were closed
			time.Sleep(time.Second)
			synctest.Wait()
		})
		f(t)
	})
}

// A publish that nobody listens to leaves nothing behind.
func TestPublishToNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := NewBroker(Config{})
		s := open(t, b.Endpoint("/", unlimited()), discard{})
		for i := range 1000 {
			say(t, s, "SEND\ndestination:/topic/%d\n\nx\x00", i)
		}
		if n := leftTopics(b); n != 0 {
			t.Errorf("%d topics", n)
		}
	})
}

// A consumer that is gone, but not yet known to be, is given nothing: neither
// what is sent next, nor the backlog that others could have.
func TestQueueGivesNothingToTheGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := NewBroker(Config{})
		e := b.Endpoint("/", unlimited())
		gone, sender := open(t, e, discard{}), open(t, e, discard{})
		say(t, gone, "SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\x00")
		// as Closed, and a failed write, leave it until end detaches its subscriptions
		gone.out.mu.Lock()
		gone.out.state = outboxClosed
		gone.out.mu.Unlock()
		const n = 5
		for range n {
			say(t, sender, "SEND\ndestination:/queue/a\n\nx\x00")
		}
		gone.End(End{Reason: ReasonConnectionLost})
		held := 0
		b.queues.with("/queue/a", func(q *queue) { held = len(q.backlog) })
		if held != n {
			t.Errorf("%d of %d messages are held for others, %d were dropped", held, n, b.Stats().Dropped)
		}
	})
}
