package stomptest

import (
	"sync"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Observer is a [stomp.Observer] that remembers.
type Observer struct {
	// Refuse decides about a CONNECT. Default: all are welcome.
	Refuse func(*frame.Frame) error
	// Patience is how long NextEnd waits. Default: 10s.
	Patience time.Duration

	mu        sync.Mutex
	connected map[*stomp.Session]bool
	ended     map[*stomp.Session]int
	ends      *inbox[stomp.End]
}

// NewObserver returns an Observer that has seen nothing.
func NewObserver() *Observer {
	return &Observer{
		Patience:  10 * time.Second,
		connected: make(map[*stomp.Session]bool),
		ended:     make(map[*stomp.Session]int),
		ends:      newInbox[stomp.End](),
	}
}

// Connected implements [stomp.Observer].
func (o *Observer) Connected(s *stomp.Session, f *frame.Frame) (frame.Header, error) {
	if o.Refuse != nil {
		if err := o.Refuse(f); err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connected[s] = true
	return nil, nil
}

// Ended implements [stomp.Observer].
func (o *Observer) Ended(s *stomp.Session, e stomp.End) {
	o.mu.Lock()
	o.ended[s]++
	o.mu.Unlock()
	o.ends.put(e)
}

// NextEnd waits for the next end that nobody has asked for yet.
func (o *Observer) NextEnd(t testing.TB) stomp.End {
	t.Helper()
	e, ok := o.ends.take(o.Patience)
	if !ok {
		t.Fatal("no session ended")
	}
	return e
}

// ExpectEnd is NextEnd, which must have the reason.
func (o *Observer) ExpectEnd(t testing.TB, reason stomp.Reason) stomp.End {
	t.Helper()
	e := o.NextEnd(t)
	if e.Reason != reason {
		t.Errorf("ended with %v (%v), want %v", e.Reason, e.Err, reason)
	}
	return e
}

// ExpectOnce fails unless as many sessions have been connected as told, and
// each of them has ended exactly once.
func (o *Observer) ExpectOnce(t testing.TB, sessions int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.connected) != sessions || len(o.ended) != sessions {
		t.Errorf("%d connected, %d ended, want %d of each", len(o.connected), len(o.ended), sessions)
	}
	for s, n := range o.ended {
		if n != 1 || !o.connected[s] {
			t.Errorf("session %q ended %d times, connected %v", s.ID(), n, o.connected[s])
		}
	}
}
