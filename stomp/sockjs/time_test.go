package sockjs_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// exchange is a request without a network, so that time is the test's: what
// was written, and when.
type exchange struct {
	header http.Header
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	start    time.Time
	writes   []string
	at       []time.Duration
	flushed  int // writes
	flushes  int
	deadline time.Time
	set      int // how often the deadline was
	err      error
}

func (e *exchange) Header() http.Header { return e.header }
func (e *exchange) WriteHeader(int)     {}

func (e *exchange) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if until := time.Until(e.deadline); until < 5*time.Second || until > 10*time.Second {
		panic(fmt.Sprintf("a write with a deadline in %v", until))
	}
	if e.err != nil {
		return 0, e.err
	}
	e.writes = append(e.writes, string(p))
	e.at = append(e.at, time.Since(e.start))
	return len(p), nil
}

func (e *exchange) FlushError() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flushed = len(e.writes)
	e.flushes++
	return nil
}

func (e *exchange) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deadline = t
	e.set++
	return nil
}

// exchange makes a request, which goes on.
func (a *app) exchange(c carrier, path string) *exchange { return a.exchangeOver(1, nil, c, path) }

// exchangeOver is exchange over that version of HTTP, and TLS unless it is nil.
func (a *app) exchangeOver(version int, secure *tls.ConnectionState, c carrier, path string) *exchange {
	ctx, cancel := context.WithCancel(context.Background())
	e := &exchange{header: make(http.Header), cancel: cancel, done: make(chan struct{}), start: time.Now()}
	go func() {
		defer close(e.done)
		r := httptest.NewRequest(c.method, c.url(path), nil).WithContext(ctx)
		r.ProtoMajor, r.TLS = version, secure
		a.handler.ServeHTTP(e, r)
	}()
	return e
}

// frames are those that were flushed, without the prelude.
func (e *exchange) frames(c carrier) []string {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	writes := e.writes[:e.flushed]
	if c.prelude > 0 && len(writes) > 0 {
		writes = writes[1:]
	}
	var frames []string
	for _, w := range writes {
		frames = append(frames, strings.TrimSuffix(strings.TrimPrefix(w, c.before), c.after))
	}
	return frames
}

func (e *exchange) over() bool {
	synctest.Wait()
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// quote is a frame as the carrier has it.
func (c carrier) quote(frame string) string {
	if c.script {
		return `"` + strings.ReplaceAll(frame, `"`, `\"`) + `"`
	}
	return frame
}

func (e *exchange) expect(t *testing.T, c carrier, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = c.quote(want[i])
	}
	if got := e.frames(c); !slices.Equal(got, want) {
		t.Fatalf("frames %q, want %q", got, want)
	}
}

// inBubble runs a test for each HTTP transport with a clock of its own.
func inBubble(t *testing.T, config sockjs.Config, test func(t *testing.T, a *app, c carrier, path string, conn *conn, open *exchange)) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, config)
				path := session("/app")
				e := a.exchange(c, path)
				e.expect(t, c, "o")
				if e.over() != c.polling {
					t.Fatal("the response of a polling transport ends with its frame, that of a streaming one does not")
				}
				conn := <-a.conns
				if c.polling {
					e = a.exchange(c, path)
				}
				test(t, a, c, path, conn, e)
				conn.Abort()
				synctest.Wait()
				time.Sleep(time.Minute) // until everything is forgotten
				synctest.Wait()
				if n := a.config.Sessions.Len(); n != 0 {
					t.Errorf("%d sessions left", n)
				}
			})
		})
	}
}

// One write and one flush for each frame, each with a deadline that is at least
// half as far as it should be. Over HTTP/2 there is none in between, as an idle
// stream would be reset, nor over TLS, whose keys may be renewed meanwhile; over
// plain HTTP/1.1 it is left as long as that will do.
func TestWritesAndFlushes(t *testing.T) {
	inBubble(t, sockjs.Config{}, func(t *testing.T, a *app, c carrier, _ string, _ *conn, _ *exchange) {
		for _, over := range []struct {
			name    string
			version int
			secure  *tls.ConnectionState
		}{{"HTTP/1.1", 1, nil}, {"HTTP/1.1 over TLS", 1, new(tls.ConnectionState)}, {"HTTP/2", 2, nil}} {
			path := session("/app")
			e := a.exchangeOver(over.version, over.secure, c, path)
			e.expect(t, c, "o")
			conn := <-a.conns
			if c.polling {
				e = a.exchangeOver(over.version, over.secure, c, path)
			}
			frames, sets := 6, 2 // at 0 s and at 6 s
			if c.polling {
				frames, sets = 1, 1
			}
			for range frames {
				conn.send("a", "b", "c")
				time.Sleep(2 * time.Second)
			}
			e.mu.Lock()
			if n := len(e.writes); e.flushes != n || e.flushed != n {
				t.Errorf("%s: %d writes, %d flushes", over.name, n, e.flushes)
			}
			if n := len(e.writes); n < frames || c.polling && n > 1 {
				t.Errorf("%s: %d writes", over.name, n)
			}
			mayStay := over.version == 1 && over.secure == nil
			if left := !e.deadline.IsZero(); left != mayStay {
				t.Errorf("%s: a deadline is set: %v", over.name, left)
			}
			if mayStay && e.set != sets {
				t.Errorf("a deadline was set %d times for %d writes", e.set, len(e.writes))
			}
			e.mu.Unlock()
			conn.Abort()
		}
	})
}

// A write that does not end is a client that does not read; one that fails, one
// that is gone.
func TestWritesThatFail(t *testing.T) {
	timeout := &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
	for err, reason := range map[error]stomp.Reason{timeout: stomp.ReasonSlowConsumer, syscall.EPIPE: 0} {
		inBubble(t, sockjs.Config{}, func(t *testing.T, _ *app, _ carrier, _ string, conn *conn, e *exchange) {
			synctest.Wait()
			e.mu.Lock()
			e.err = err
			e.mu.Unlock()
			conn.send("x")
			synctest.Wait()
			if len(conn.ended) != 1 {
				t.Fatalf("%d ends", len(conn.ended))
			}
			end := <-conn.ended
			refused, _ := errors.AsType[*stomp.Error](end.Err)
			if !errors.Is(end.Err, err) || reason != 0 && (refused == nil || refused.Reason != reason) || reason == 0 && refused != nil {
				t.Errorf("%v: it ended with %v", err, end.Err)
			}
		})
	}
}

// A response that is idle carries an "h": exactly as often as it should, and
// not when something else has just come.
func TestHeartbeat(t *testing.T) {
	inBubble(t, sockjs.Config{}, func(t *testing.T, a *app, c carrier, path string, conn *conn, e *exchange) {
		time.Sleep(25*time.Second - time.Nanosecond)
		if c.polling {
			e.expect(t, c)
			time.Sleep(time.Nanosecond)
			e.expect(t, c, "h")
			if !e.over() {
				t.Error("a heartbeat does not end the response")
			}
			return
		}
		e.expect(t, c, "o")
		time.Sleep(time.Nanosecond)
		e.expect(t, c, "o", "h")
		time.Sleep(20 * time.Second)
		conn.send("x")
		time.Sleep(25*time.Second - time.Nanosecond)
		e.expect(t, c, "o", "h", `a["x"]`)
		time.Sleep(time.Nanosecond)
		e.expect(t, c, "o", "h", `a["x"]`, "h")
	})
}

// A ping ends the response with an "h"; that the client asks again is its
// answer.
func TestPing(t *testing.T) {
	inBubble(t, sockjs.Config{}, func(t *testing.T, a *app, c carrier, path string, conn *conn, e *exchange) {
		synctest.Wait()
		alive := conn.alive.Load()
		if err := conn.Ping(); err != nil {
			t.Fatal(err)
		}
		if frames := e.frames(c); frames[len(frames)-1] != c.quote("h") || !e.over() {
			t.Fatalf("frames %q", frames)
		}
		if conn.alive.Load() != alive {
			t.Error("alive before the client has asked again")
		}
		// without a response there is nobody to ask, and who comes need not
		// be asked any more
		if err := conn.Ping(); err != nil {
			t.Fatal(err)
		}
		e = a.exchange(c, path)
		e.expect(t, c)
		if conn.alive.Load() != alive+1 || e.over() {
			t.Errorf("alive %d times, the response is over: %v", conn.alive.Load()-alive, e.over())
		}
		// a ping that falls together with a message is answered as well
		conn.send("x")
		_ = conn.Ping()
		if !e.over() {
			t.Error("the response goes on")
		}
		e = a.exchange(c, path)
		if frames := e.frames(c); len(frames) > 0 && (!c.polling || frames[0] != c.quote(`a["x"]`)) {
			t.Errorf("frames %q in the response after", frames)
		}
		if c.polling {
			return
		}
		if e.over() {
			t.Error("the next response was ended too")
		}
	})
}

// A client without a response is lost after the delay exactly, and its session
// is forgotten after it once more.
func TestDisconnectDelay(t *testing.T) {
	inBubble(t, sockjs.Config{}, func(t *testing.T, a *app, c carrier, path string, conn *conn, e *exchange) {
		synctest.Wait()
		_ = conn.Ping()
		if !e.over() {
			t.Fatal("the response goes on")
		}
		time.Sleep(5*time.Second - time.Nanosecond)
		synctest.Wait()
		if len(conn.ended) > 0 {
			t.Fatal("ended too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if len(conn.ended) != 1 {
			t.Fatal("not ended")
		}
		if end := conn.expectEnd(1006); end.Err == nil {
			t.Error("without a cause")
		}
		for range 3 {
			r := a.exchange(c, path)
			r.expect(t, c, `c[1002,"Connection interrupted"]`)
			if !r.over() {
				t.Error("the close frame does not end the response")
			}
		}
		time.Sleep(5*time.Second - time.Nanosecond)
		synctest.Wait()
		if n := a.config.Sessions.Len(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := a.config.Sessions.Len(); n != 0 {
			t.Errorf("%d sessions after the delay", n)
		}
	})
}

// Who comes back in time stays.
func TestComingBackInTime(t *testing.T) {
	inBubble(t, sockjs.Config{}, func(t *testing.T, a *app, c carrier, path string, conn *conn, e *exchange) {
		for range 20 {
			synctest.Wait()
			_ = conn.Ping()
			if !e.over() {
				t.Fatal("the response goes on")
			}
			time.Sleep(5*time.Second - time.Nanosecond)
			e = a.exchange(c, path)
		}
		synctest.Wait()
		if len(conn.ended) > 0 || e.over() {
			t.Errorf("ended: %d, over: %v", len(conn.ended), e.over())
		}
	})
}

// The bound on what waits: TryWrite takes what there is room for; Write blocks,
// so that the rest waits where it is counted, and goes on with the next response,
// or with the end.
func TestBackpressure(t *testing.T) {
	inBubble(t, sockjs.Config{Buffer: 100}, func(t *testing.T, a *app, c carrier, path string, conn *conn, e *exchange) {
		synctest.Wait()
		_ = conn.Ping()
		if !e.over() {
			t.Fatal("the response goes on")
		}
		big := strings.Repeat("x", 200) // over the bound, but alone
		if n, err := conn.try(big, "next"); n != 1 || err != nil {
			t.Fatalf("%d taken: %v", n, err)
		}
		if n, err := conn.try("next"); n != 0 || err != nil {
			t.Fatalf("%d taken without room: %v", n, err)
		}
		written := make(chan error, 1)
		go func() { written <- conn.write("next", "and", "more") }()
		time.Sleep(time.Second)
		if synctest.Wait(); len(written) > 0 {
			t.Fatal("Write did not wait for room")
		}
		e = a.exchange(c, path)
		if frames := e.frames(c); len(frames) == 0 || frames[0] != c.quote(`a["`+big+`"]`) {
			t.Fatalf("frames %.50q", frames)
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}

		if _ = conn.Ping(); c.polling { // what was written after it
			e = a.exchange(c, path)
			e.expect(t, c, `a["next","and","more"]`)
		}
		if !e.over() {
			t.Fatal("the response goes on")
		}
		conn.send(big)
		go func() { written <- conn.write("never") }()
		start := time.Now()
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Write that waits for a client that is gone: %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it waited %s", took)
		}
		synctest.Wait()
		if len(conn.ended) != 1 || (<-conn.ended).Code != 1006 {
			t.Error("the receiver was not told once of 1006")
		}
		if n, err := conn.try("never"); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d taken after the end: %v", n, err)
		}
		r := a.exchange(c, path)
		r.expect(t, c, `c[1002,"Connection interrupted"]`)
	})
}
