//go:build !race

// Under the race detector a sync.Pool drops things at random, and allocations cannot be asserted.

package sockjs_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// sink is a response that says when something was flushed.
type sink struct {
	header  http.Header
	flushed chan struct{}
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) Flush()                      { s.flushed <- struct{}{} }

// What is delivered allocates nothing that is ours: what is left is net/http's.
func TestAllocationsPerFrame(t *testing.T) {
	for name, method := range map[string]string{"xhr_streaming": http.MethodPost, "eventsource": http.MethodGet} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, sockjs.Config{})
			response := &sink{header: make(http.Header), flushed: make(chan struct{})}
			done := make(chan struct{})
			go func() {
				defer close(done)
				a.handler.ServeHTTP(response, httptest.NewRequest(method, session("/app")+"/"+name, nil))
			}()
			conn := <-a.conns
			for range 2 { // the prelude, and "o"
				<-response.flushed
			}
			two := batch("MESSAGE\n\n50 %\x00", "MESSAGE\n\n100 %\x00")
			allocs := testing.AllocsPerRun(100, func() {
				if n, more, err := conn.Transport.(stomp.QuickTransport).TryWrite(two); n != len(two) || more || err != nil {
					t.Fatalf("%d, %v, %v", n, more, err)
				}
				<-response.flushed
			})
			if allocs >= 1 {
				t.Errorf("%v allocations", allocs)
			}
			conn.Abort()
			<-response.flushed // the close frame
			<-done
		})
	}
}
