package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// queueOf runs Caddy with a handler that hangs and returns the queue of its
// stomp app.
func queueOf(t *testing.T, s *server) *eventQueue {
	t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("stomp")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App).queue
}

func bigChange() presence.Change {
	return presence.Change{Type: presence.Connected, View: &presence.View{
		SessionID: "big", ClientData: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`),
	}}
}

// droppedWarned sums the counts of the warnings.
func droppedWarned(s *server) (sum float64) {
	for _, e := range s.logged(func(e map[string]any) bool {
		return e["level"] == "warn" && strings.Contains(fmt.Sprint(e["msg"]), "events dropped")
	}) {
		n, _ := e["count"].(float64)
		sum += n
	}
	return sum
}

func hanging(n int) func() bool {
	return func() bool {
		recorded.Lock()
		defer recorded.Unlock()
		return recorded.waiting >= n
	}
}

// What does not fit is counted, and the operator is warned.
func TestEventQueueIsBounded(t *testing.T) {
	release := resetEvents(t)
	s := run(t, withEvents("hang"))
	q := queueOf(t, s)
	q.Changed(bigChange())
	eventually(t, "a hanging handler", hanging(1))
	const events = 50
	for range events {
		q.Changed(bigChange())
	}
	q.mu.Lock()
	dropped, bytes := q.dropped, q.bytes
	q.mu.Unlock()
	if bytes > maxEventBytes+2<<20 || dropped < events-10 {
		t.Errorf("%d bytes queued, %d events dropped", bytes, dropped)
	}
	release()
	eventually(t, fmt.Sprintf("a warning of %d dropped events", dropped), func() bool { return droppedWarned(s) == float64(dropped) })
}

// The operator is warned too if nothing is queued after the drops: the queue
// is full while its only batch is being emitted.
func TestEventQueueWarnsAfterTheLastBatch(t *testing.T) {
	release := resetEvents(t)
	s := run(t, withEvents("hang"))
	q := queueOf(t, s)
	q.mu.Lock() // so that all come in one batch
	q.running = true
	q.mu.Unlock()
	for range 8 {
		q.Changed(bigChange())
	}
	go q.run()
	eventually(t, "a hanging handler", hanging(1))
	q.Changed(bigChange())
	q.mu.Lock()
	dropped := q.dropped
	q.mu.Unlock()
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	release()
	eventually(t, "the queue to be empty", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return !q.running })
	if warned := droppedWarned(s); warned != float64(dropped) {
		t.Errorf("%d events dropped, warned of %v", dropped, warned)
	}
}
