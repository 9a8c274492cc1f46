package stomp_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// world is a broker with one endpoint, and who watches it.
type world struct {
	*stomp.Broker
	endpoint *stomp.Endpoint
	observer *stomptest.Observer
}

func newWorld(p stomp.Policy) *world {
	w := &world{observer: stomptest.NewObserver()}
	w.Broker = stomp.NewBroker(stomp.Config{Name: "test", Observer: w.observer})
	w.endpoint = w.Endpoint("/ws", p)
	return w
}

// bubble runs a test in a bubble of testing/synctest: its time is not real,
// and goroutines that are left behind fail it.
func bubble(t *testing.T, p stomp.Policy, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(p)
		w.observer.Patience = time.Hour // not real
		t.Cleanup(func() {              // runs after the clients were dropped
			time.Sleep(stomp.CloseTimeout + time.Second)
			synctest.Wait()
			if n := w.Connections(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if s := w.Stats(); s.Subscriptions != 0 {
				t.Errorf("%d subscriptions are left", s.Subscriptions)
			}
			w.observer.ExpectOnce(t, int(w.Stats().Connects))
		})
		f(t, w)
	})
}

// dial is a client that has not sent CONNECT.
func (w *world) dial(t testing.TB) (*stomptest.Client, *stomptest.Pipe) {
	t.Helper()
	c, p := stomptest.Dial(t, w.endpoint, nil)
	c.Patience = time.Hour // not real
	return c, p
}

// connect is a client after CONNECTED, and its session.
func (w *world) connect(t testing.TB, header ...string) (*stomptest.Client, *stomptest.Pipe, *stomp.Session) {
	t.Helper()
	c, p := w.dial(t)
	id := c.Connect(header...).Header.Get("session")
	s := w.Session(id)
	if s == nil {
		t.Fatalf("nobody has the session id %q", id)
	}
	return c, p, s
}

// within fails unless took is between least and most.
func within(t *testing.T, what string, took, least, most time.Duration) {
	t.Helper()
	if took < least || took > most {
		t.Errorf("%s after %v, want %v to %v", what, took, least, most)
	}
}

// body of n bytes.
func body(n int) string { return fmt.Sprintf("%0*d", n, 0) }
