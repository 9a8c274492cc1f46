package sockjs_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// count sends n numbers, some at a time.
func (c *conn) count(n int) error {
	for i := 0; i < n; {
		var batch []string
		for range 1 + i%3 {
			if i < n {
				batch = append(batch, strconv.Itoa(i))
				i++
			}
		}
		if err := c.write(batch...); err != nil {
			return fmt.Errorf("sending %s: %w", batch, err)
		}
	}
	return nil
}

// readCount reads n numbers in order.
func (c *receiver) readCount(n int) error {
	for i := 0; i < n; {
		messages, err := c.messages()
		if err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
		for _, m := range messages {
			if m != strconv.Itoa(i) {
				return fmt.Errorf("got %q, want %d", m, i)
			}
			i++
		}
	}
	return nil
}

// A client that asks again at once is never told that there is another
// receiver: over as many responses as it takes nothing is lost or reordered.
func TestNoFalse2010(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		a := serveApp(t, major, sockjs.Config{ResponseLimit: 1, Buffer: 1}) // one message a response
		r := a.receiver(c, session("/app"))
		r.expect("o")
		conn := <-a.conns
		go func() {
			if err := conn.count(500); err != nil {
				t.Error(err)
			}
		}()
		if err := r.readCount(500); err != nil {
			t.Fatal(err)
		}
		if r.opened < 250 {
			t.Errorf("%d responses only", r.opened)
		}
	})
}

// The same for a client that does not even wait for the response to end, once
// it has the frame that ends it.
func TestNoFalse2010WithinTheResponse(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{})
	path, conn := a.connect()
	var conns [2]io.Writer
	var readers [2]*bufio.Reader
	for i := range conns {
		conns[i], readers[i] = a.dialTCP()
	}
	for i := range 1000 {
		w, r := conns[i%2], readers[i%2]
		_, _ = fmt.Fprintf(w, "POST %s/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", path)
		conn.send(strconv.Itoa(i))
		st := &stream{nil, t, r}
		st.head(200)
		if got, want := st.chunk(), fmt.Sprintf("a[\"%d\"]\n", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if i > 0 { // only now the end of the response before
			if end := (&stream{nil, t, readers[(i+1)%2]}).chunk(); end != "" {
				t.Fatalf("got %q after a frame", end)
			}
		}
	}
}

// Many sessions at once: nothing is lost, everything in order, both ways; and
// nothing is left of them.
func TestThousandPollingSessions(t *testing.T) {
	sessions, each := 1000, 6
	if testing.Short() {
		sessions = 100
	}
	a := serveApp(t, 1, sockjs.Config{DisconnectDelay: 10 * time.Second}) // a client has its share of the machine
	transport := a.client.Transport.(*http.Transport)
	transport.MaxIdleConnsPerHost = sessions * 2
	a.client.Timeout = time.Minute
	_, warm := a.connect()
	warm.Close(1000, "")
	before, heap := runtime.NumGoroutine(), heapAlloc()

	var all sync.WaitGroup
	var errs atomic.Int64
	for range sessions {
		all.Go(func() {
			if err := a.converse(each); err != nil && errs.Add(1) < 5 {
				t.Error(err)
			}
		})
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		var serving sync.WaitGroup
		for range sessions {
			conn := <-a.conns
			serving.Go(func() {
				if err := conn.count(each); err != nil {
					t.Error(err)
					return
				}
				for i := range each {
					conn.expect(strconv.Itoa(i))
				}
				conn.Close(1000, "")
				conn.expectEnd(1000)
			})
		}
		serving.Wait()
	}()
	all.Wait()
	<-served
	if t.Failed() {
		return
	}
	a.client.CloseIdleConnections()
	eventually(t, "goroutines to be gone", func() bool { return runtime.NumGoroutine() <= before+20 })
	eventually(t, "sessions to be forgotten", func() bool { return a.config.Sessions.Len() == 0 })
	eventually(t, "memory to be given back", func() bool { return heapAlloc()-heap < 12<<20 }) // the client keeps some
}

// converse is a client that sends numbers while it reads numbers.
func (a *app) converse(n int) error {
	r := a.receiver(carriers[0], session("/app"))
	if frame, err := r.next(); err != nil || frame != "o" {
		return fmt.Errorf("got %q, %w", frame, err)
	}
	sent := make(chan error, 1)
	go func() {
		for i := 0; i < n; i += 2 {
			if err := r.push(strconv.Itoa(i), strconv.Itoa(i+1)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	if err := r.readCount(n); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	if frame, err := r.next(); err != nil || frame != `c[1000,""]` {
		return fmt.Errorf("got %q, %w", frame, err)
	}
	return nil
}

func heapAlloc() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Handlers come and go: each ends its responses at the end of a frame, and the
// next one with the same sessions goes on where it stopped.
func TestHandover(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		const rounds = 100
		a := newApp(t, sockjs.Config{})
		var current atomic.Pointer[sockjs.Handler]
		current.Store(a.handler)
		a.server = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) }), major)
		r := a.receiver(c, session("/app"))
		r.expect("o")
		conn := <-a.conns
		done := make(chan error, 1)
		go func() { done <- r.readCount(rounds * 2) }()
		for i := range rounds {
			old := current.Swap(sockjs.NewHandler(a.config))
			conn.send(strconv.Itoa(2 * i))
			old.Close()
			old.Close() // once more does no harm
			conn.send(strconv.Itoa(2*i + 1))
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(conn.ended) > 0 {
			t.Errorf("ended: %+v", <-conn.ended)
		}
		current.Load().Close()
	})
}

// A closed handler whose responses are open holds nobody up, and who asks it
// nevertheless is sent on.
func TestClosedHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		a := serveApp(t, major, sockjs.Config{})
		r := a.receiver(c, session("/app"))
		r.expect("o")
		conn := <-a.conns
		done := make(chan error, 1)
		go func() {
			frame, err := r.next()
			if err == nil && frame != "h" {
				err = fmt.Errorf("got %q", frame)
			}
			done <- err
		}()
		eventually(t, "a response to be open", func() bool { return conn.alive.Load() > 1 || !c.polling })
		started := time.Now()
		a.handler.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		r.expect("h")
		conn.send("x")
		r.expect(`a["x"]`)
	})
}

// unwrapping is a writer as Caddy's are: it has neither Flush nor Hijack, only
// Unwrap.
type unwrapping struct {
	w      http.ResponseWriter
	writes *atomic.Int64
}

func (u unwrapping) Header() http.Header         { return u.w.Header() }
func (u unwrapping) WriteHeader(status int)      { u.w.WriteHeader(status) }
func (u unwrapping) Write(p []byte) (int, error) { u.writes.Add(1); return u.w.Write(p) }
func (u unwrapping) Unwrap() http.ResponseWriter { return u.w }

func TestStreamingThroughUnwrap(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		var writes atomic.Int64
		a := newApp(t, sockjs.Config{})
		a.server = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a.handler.ServeHTTP(unwrapping{unwrapping{w, new(atomic.Int64)}, &writes}, r)
		}), major)
		t.Cleanup(a.handler.Close)
		r := a.receiver(c, session("/app"))
		r.expect("o")
		conn := <-a.conns
		before := writes.Load()
		for i := range 10 {
			conn.send(strconv.Itoa(i))
			r.expect(fmt.Sprintf(`a["%d"]`, i)) // comes at once: it was flushed
		}
		if n := writes.Load() - before; n != 10 {
			t.Errorf("%d writes for 10 frames", n)
		}
	})
}

// A response may be as long as its limit, and a frame longer than that.
func TestResponseLimit(t *testing.T) {
	for _, c := range carriers {
		if c.polling {
			continue
		}
		a := serveApp(t, 1, sockjs.Config{ResponseLimit: 1000})
		r := a.receiver(c, session("/app"))
		r.expect("o")
		conn := <-a.conns
		for i := range 30 {
			m := strings.Repeat("x", 100*i)
			conn.send(m)
			r.expect(`a["` + m + `"]`)
		}
		if r.opened < 20 {
			t.Errorf("%s: %d responses", c.name, r.opened)
		}
	}
}
