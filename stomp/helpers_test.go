package stomp

import (
	"fmt"
	"testing"
	"time"
)

// discard is a transport on which everything is said and nothing heard.
type discard struct{}

func (discard) Write([]*Message) error { return nil }
func (discard) Ping() error            { return nil }
func (discard) Close(int, string)      {}
func (discard) Abort()                 {}

// stuck is a transport whose peer does not read until it is released.
type stuck struct {
	discard
	released chan struct{}
}

func (t stuck) Write(batch []*Message) error {
	if len(batch) > 0 {
		<-t.released
	}
	return nil
}

// newTestBroker is a broker whose wheel has stopped when the test is over, so
// that the next one may reset the clock.
func newTestBroker(t testing.TB) *Broker {
	b := NewBroker(Config{})
	t.Cleanup(func() {
		for running := true; running; time.Sleep(time.Millisecond) {
			b.wheel.mu.Lock()
			running = b.wheel.running
			b.wheel.mu.Unlock()
		}
	})
	return b
}

// open makes a connected session, which is closed when the test ends.
func open(t testing.TB, e *Endpoint, transport Transport) *Session {
	t.Helper()
	s, err := e.NewSession(transport, &Handshake{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Closed(Ending{Code: 1000}) })
	say(t, s, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00")
	return s
}

// say gives a session bytes from its client.
func say(t testing.TB, s *Session, format string, args ...any) {
	t.Helper()
	if err := s.Receive(fmt.Appendf(nil, format, args...), false); err != nil {
		t.Fatal(err)
	}
}

// unlimited is a policy under which nobody is too slow or too fast.
func unlimited() Policy {
	p := DefaultPolicy()
	p.Limits.Pending = 1 << 30
	p.Limits.Subscriptions = 1 << 20
	p.Limits.FramesPerSecond = -1
	return p
}
