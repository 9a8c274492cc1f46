package sockjs

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// socket is a WebSocket that keeps what was written to it.
type socket struct {
	mu     sync.Mutex
	frames []string
	broken error
	ends   []string
}

func (s *socket) Write(batch []*stomp.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		s.frames = append(s.frames, string(m.Data))
	}
	return s.broken
}

func (s *socket) end(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, how)
}

func (*socket) Ping() error         { return nil }
func (s *socket) Close(int, string) { s.end("close") }
func (s *socket) Abort()            { s.end("abort") }

// expect compares what was written since it was called last.
func (s *socket) expect(t *testing.T, frames ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.frames, frames) {
		t.Errorf("frames %q, want %q", s.frames, frames)
	}
	s.frames = nil
}

// An idle WebSocket carries an "h" exactly as often as it should, one that is
// not idle none, and one that is over none.
func TestWebSocketHeartbeat(t *testing.T) {
	const idle = 25 * time.Second
	open := func(s *socket) *framed {
		f := &framed{Transport: s, Receiver: ignoring{}, idle: idle}
		f.startHeartbeat()
		return f
	}
	write := func(t *testing.T, f *framed, batch ...*stomp.Message) {
		t.Helper()
		if err := f.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := new(socket)
		f := open(s)
		time.Sleep(idle - time.Nanosecond)
		s.expect(t)
		time.Sleep(time.Nanosecond)
		s.expect(t, "h")
		time.Sleep(2 * idle)
		s.expect(t, "h", "h")
		for range 10 { // STOMP heart-beats, say
			time.Sleep(idle - time.Nanosecond)
			write(t, f, &stomp.Message{Data: []byte("\n")})
			s.expect(t, `a["\n"]`)
		}
		time.Sleep(idle / 2)
		write(t, f) // a pong at most, which the client's script does not see
		time.Sleep(idle/2 - time.Nanosecond)
		s.expect(t)
		time.Sleep(time.Nanosecond)
		s.expect(t, "h")
		f.Close(3000, "Go away!")
		s.expect(t, `c[3000,"Go away!"]`)
		time.Sleep(10 * idle)
		s.expect(t)
	})
	synctest.Test(t, func(t *testing.T) { // the client closed
		s := new(socket)
		open(s).Closed(stomp.Ending{Code: 1000})
		time.Sleep(10 * idle)
		s.expect(t)
	})
	synctest.Test(t, func(t *testing.T) { // nobody reads
		s := &socket{broken: errors.New("broken pipe")}
		open(s)
		time.Sleep(10 * idle)
		s.expect(t, "h")
		if !slices.Equal(s.ends, []string{"abort"}) {
			t.Errorf("ends %q", s.ends)
		}
	})
}

// The same on the wire, of the package alone; the raw WebSocket has none.
func TestWebSocketHeartbeatOnTheWire(t *testing.T) {
	s := newServer(t, Config{Heartbeat: 50 * time.Millisecond, Open: func(*http.Request, Connection, stomp.Transport) (stomp.Receiver, error) {
		return ignoring{}, nil
	}})
	r := s.raw(t, "session-1")
	r.expect("o")
	started := time.Now()
	for range 4 {
		if got := r.expect("h"); got != "h" {
			t.Errorf("frame %q", got)
		}
	}
	if took := time.Since(started); took < 150*time.Millisecond {
		t.Errorf("four within %s", took)
	}
}

// STOMP heart-beats are on: there is nothing to add.
func TestNoHeartbeatBesideSTOMP(t *testing.T) {
	s := newServer(t, Config{Heartbeat: time.Second}) // the server's heart-beat is 200ms
	r := s.raw(t, "session-1")
	r.expect("o")
	r.send(strings.Replace(connect, `\n\n`, `\nheart-beat:0,200\n\n`, 1))
	r.expect(`a["CONNECTED`)
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); {
		r.expect(`a["\n"]`)
	}
}
