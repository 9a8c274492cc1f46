//go:build unix

package websocket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

func TestConformanceQuick(t *testing.T) {
	s := newBareServer(t, Config{})
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c, _ := s.dial(t)
		return c
	})
}

func TestConformanceDeflated(t *testing.T) {
	s := newBareServer(t, Config{Compression: true})
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		_, c := dialDeflated(t, s)
		return c
	})
}

func dialDeflated(t testing.TB, s *server) (*websocket.Conn, *stomptest.Client) {
	d := websocket.Dialer{EnableCompression: true, Subprotocols: Subprotocols()}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Sec-WebSocket-Extensions") == "" {
		t.Fatal("no compression was agreed on")
	}
	_ = resp.Body.Close()
	c := stomptest.NewClient(t, &stomptest.WebSocket{Conn: ws})
	c.User = "mina"
	return ws, c
}

// openedQuick is a server whose connections are given to the test.
func openedQuick(t testing.TB, config Config) (*quickConn, *stomptest.Client) {
	transports := make(chan stomp.Transport, 1)
	s := newBareServer(t, config)
	s.open = func(tr stomp.Transport) { transports <- tr }
	var c *stomptest.Client
	if config.Compression {
		_, c = dialDeflated(t, s)
	} else {
		c, _ = s.dial(t)
	}
	q, ok := (<-transports).(*quickConn)
	if !ok {
		t.Fatal("the connection is not one that can write without waiting")
	}
	return q, c
}

// fillSocket tries to write until the socket takes no more, and returns all that was
// offered, and what is not taken yet.
func fillSocket(t *testing.T, q *quickConn) (offered, rest []*stomp.Message) {
	t.Helper()
	for range 10_000 {
		batch := messages(10, 5000)
		offered = append(offered, batch...)
		n, more, err := q.TryWrite(batch)
		if err != nil || n > len(batch) || n < len(batch) && !more {
			t.Fatalf("%d messages of %d, more %v: %v", n, len(batch), more, err)
		}
		if more {
			return offered, batch[n:]
		}
	}
	t.Fatal("the socket is never full")
	return nil, nil
}

// A full socket is no error and makes nobody wait; Write brings the rest, in
// order, and then it can be tried again, however long ago its deadline was.
func TestTryWrite(t *testing.T) {
	const timeout = 10 * time.Second
	q, c := openedQuick(t, Config{WriteTimeout: timeout})
	for range 2 {
		offered, rest := fillSocket(t, q)
		written := make(chan error, 1)
		go func() { written <- q.Write(rest) }()
		for _, m := range offered {
			if f := c.Expect(frame.Message); f.Header.Get("n") != header(t, m, "n") {
				t.Fatalf("got n:%s, want %s", f.Header.Get("n"), header(t, m, "n"))
			}
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
	if n, more, err := q.TryWrite(messages(1, 10)); n != 1 || more || err != nil {
		t.Errorf("%d, %v, %v", n, more, err)
	}
	c.Expect(frame.Message)
	q.out.mu.Lock() // the connection's end uses it too
	defer q.out.mu.Unlock()
	if q.out.buf != nil {
		t.Errorf("a buffer of %d bytes is kept", cap(*q.out.buf))
	}
}

func header(t *testing.T, m *stomp.Message, name string) (value string) {
	t.Helper()
	var d frame.Decoder
	if err := d.Decode(m.Data, func(f *frame.Frame) error {
		value = f.Header.Get(name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

// A deadline that has passed is that of the write that it was set for.
func TestTryWriteAfterADeadline(t *testing.T) {
	const timeout = 20 * time.Millisecond
	q, c := openedQuick(t, Config{WriteTimeout: timeout})
	if err := q.Write(messages(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := q.Ping(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 2*timeout; {
		c.Expect(frame.Message)
		if n, more, err := q.TryWrite(messages(1, 10)); n != 1 || more || err != nil {
			t.Fatalf("%d, %v, %v", n, more, err)
		}
	}
}

// More than what goes out in one call is left for Write: it would keep others
// waiting.
func TestTryWriteIsOneBatch(t *testing.T) {
	q, c := openedQuick(t, Config{})
	batch := messages(100, 5000)
	n, _, err := q.TryWrite(batch)
	if err != nil || n < 1 || n > batchSize/5000+1 {
		t.Errorf("%d messages were taken: %v", n, err)
	}
	if err := q.Write(batch[n:]); err != nil {
		t.Error(err)
	}
	for range batch {
		c.Expect(frame.Message)
	}
}

func TestTryWriteToTheGone(t *testing.T) {
	q, _ := openedQuick(t, Config{})
	q.Abort()
	if _, _, err := q.TryWrite(messages(1, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// No message follows a close frame (RFC 6455 section 5.5.1), even one that
// gorilla sent by itself. What is written is gone, and no error: who reads says
// why it ends.
func TestNoMessageAfterAClose(t *testing.T) {
	transports := make(chan stomp.Transport, 1)
	s := newBareServer(t, Config{})
	s.open = func(tr stomp.Transport) { transports <- tr }
	conn := new(heard)
	d := websocket.Dialer{NetDial: func(network, addr string) (_ net.Conn, err error) {
		conn.Conn, err = net.Dial(network, addr)
		return conn, err
	}}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	defer ws.Close()
	q := (<-transports).(*quickConn)
	q.Close(1000, "")
	if n, more, err := q.TryWrite(messages(2, 10)); n != 2 || more || err != nil {
		t.Errorf("%d, %v, %v", n, more, err)
	}
	if err := q.Write(messages(1, 10)); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, conn) // until the server closes
	if !bytes.HasSuffix(conn.all, []byte("\r\n\x88\x02\x03\xe8")) {
		t.Errorf("after the head came %q", conn.all)
	}
}

// heard keeps what was read.
type heard struct {
	net.Conn
	all []byte
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.all = append(h.all, p[:n]...)
	return n, err
}

// What is delivered allocates nothing, compressed or not: a message is
// compressed once.
func TestAllocationsPerTry(t *testing.T) {
	for name, config := range map[string]Config{"plain": {}, "deflated": {Compression: true}} {
		t.Run(name, func(t *testing.T) {
			q, c := openedQuick(t, config)
			batch := messages(3, 128)
			try := func() {
				if n, more, err := q.TryWrite(batch); n != 3 || more || err != nil {
					t.Fatalf("%d, %v, %v", n, more, err)
				}
			}
			try()
			const runs = 100
			allocs := testing.AllocsPerRun(runs, try)
			for range 3 * (runs + 2) {
				c.Expect(frame.Message)
			}
			if !raceEnabled && allocs >= 1 { // with it, sync.Pool drops things at random
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

// The forms of a message are kept apart: SockJS over a compressed WebSocket has
// both.
func TestForms(t *testing.T) {
	m := messages(1, 100)[0]
	twice := func(data []byte) []byte { return slices.Concat(data, data) }
	deflated, array := m.Form(stomp.FormDeflated, deflate), m.Form(stomp.FormSockJS, twice)
	if m.Form(stomp.FormDeflated, twice) != deflated || m.Form(stomp.FormSockJS, deflate) != array {
		t.Error("a form was made again")
	}
	if len(array.Data) != 2*len(m.Data) || len(deflated.Data) >= len(m.Data) {
		t.Errorf("%d and %d bytes", len(array.Data), len(deflated.Data))
	}
}

// What a delivery costs beside the system call is in the difference of these.
func BenchmarkTryWrite(b *testing.B) {
	for name, config := range map[string]Config{"plain": {}, "deflated": {Compression: true}} {
		b.Run(name, func(b *testing.B) {
			q, c := openedQuick(b, config)
			c.Connect() // who does not is cut off after a while
			batch := messages(64, 128)
			b.ReportAllocs()
			for b.Loop() {
				n, more, err := q.TryWrite(batch)
				if err == nil && more {
					err = q.Write(batch[n:])
				}
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for range batch {
					c.Expect(frame.Message)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/message")
		})
	}
}
