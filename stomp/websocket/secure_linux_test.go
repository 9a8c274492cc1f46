package websocket

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// openedSecure is a connection over TLS to somebody who reads when the test does.
func openedSecure(t testing.TB, serve func(testing.TB) *server) (*secureConn, *websocket.Conn) {
	t.Helper()
	return openedSecureOn(t, serve, peer{buffer: 64 << 10}) // so that it is full soon
}

// peer is what the other end makes of its socket before it connects.
type peer struct{ buffer, segment int } // bytes; 0: the system's

func (p peer) dialer() *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			if p.segment > 0 {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, p.segment)
			}
			if p.buffer > 0 {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, p.buffer))
			}
		}), err)
	}}
}

func openedSecureOn(t testing.TB, serve func(testing.TB) *server, p peer) (*secureConn, *websocket.Conn) {
	t.Helper()
	transports := make(chan stomp.Transport, 1)
	s := serve(t)
	s.open = func(tr stomp.Transport) { transports <- tr }
	d := websocket.Dialer{TLSClientConfig: secure, NetDial: p.dialer().Dial}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	q, ok := (<-transports).(*secureConn)
	if !ok {
		t.Fatal("the connection is not one that can write without waiting")
	}
	return q, ws
}

// A socket that nobody reads fills up, and nothing waits for it, whatever it is
// filled with: a write that did would end with an error. Write brings the rest, in
// order, and then it can be tried again.
func TestTryWriteSecure(t *testing.T) { overTLS(t, testTryWriteSecure) }

func testTryWriteSecure(t *testing.T, serve func(testing.TB) *server) {
	for _, tt := range []struct{ messages, size int }{{1, 1}, {1, 128}, {64, 128}, {1, 4000}, {10, 6000}, {1, 60 << 10}, {1, 200 << 10}} {
		t.Run(fmt.Sprintf("%dx%d", tt.messages, tt.size), func(t *testing.T) {
			q, ws := openedSecure(t, serve)
			for range 2 {
				var offered, rest []*stomp.Message
				for more := false; !more; {
					batch := messages(tt.messages, tt.size)
					offered = append(offered, batch...)
					n, m, err := q.TryWrite(batch)
					if err != nil {
						t.Fatalf("after %d messages: %v", len(offered), err)
					}
					more = m || n < len(batch)
					rest = batch[n:]
				}
				written := make(chan error, 1)
				go func() { written <- q.Write(rest) }()
				for i, m := range offered {
					if _, p, err := ws.ReadMessage(); err != nil || string(p) != string(m.Data) {
						t.Fatalf("message %d of %d: %d bytes, %v", i, len(offered), len(p), err)
					}
				}
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
			if n, more, err := q.TryWrite(messages(1, 10)); n != 1 || more || err != nil {
				t.Errorf("%d, %v, %v", n, more, err)
			}
			if _, p, err := ws.ReadMessage(); err != nil || !strings.HasPrefix(string(p), "MESSAGE\n") {
				t.Errorf("%q, %v", p, err)
			}
		})
	}
}

// A peer whose segments or whose window are small makes the kernel cut what it is
// given into small pieces, each with its own costs. Nothing waits for it either,
// nor for one whose pieces are so large that notSent is the bound.
func TestTryWriteSecureInPieces(t *testing.T) { overTLS(t, testTryWriteSecureInPieces) }

func testTryWriteSecureInPieces(t *testing.T, serve func(testing.TB) *server) {
	for _, p := range []peer{{0, 88}, {0, 1460}, {1, 88}, {1, 536}, {1, 1460}, {0, 0}} {
		for _, tt := range []struct{ messages, size int }{{1, 1}, {1, 1000}, {64, 128}, {1, 8 << 10}, {1, 10 << 10}, {1, 15 << 10}, {1, 20 << 10}, {1, 28 << 10}} {
			for _, ours := range []int{32 << 10, 200 << 10, 0} {
				t.Run(fmt.Sprintf("buffers %d to %d, segment %d, %dx%d", ours, p.buffer, p.segment, tt.messages, tt.size), func(t *testing.T) {
					q, _ := openedSecureOn(t, serve, p)
					q.SetSilenceTimeout(30 * time.Second) // which sets notSent
					if ours > 0 {                         // it does not grow then
						if err := tcpConn(q.out.Conn).SetWriteBuffer(ours); err != nil {
							t.Fatal(err)
						}
					}
					for more := false; !more; {
						batch := messages(tt.messages, tt.size)
						n, m, err := q.TryWrite(batch)
						if err != nil {
							t.Fatal(err)
						}
						more = m || n < len(batch)
					}
				})
			}
		}
	}
}

// settle returns when the reading goroutine waits, again since then, and does not
// use the connection any more.
func settle(t *testing.T, q *secureConn, since uint32) {
	t.Helper()
	waiting := func() bool { n := q.idle.waits.Load(); return n > since && n%2 == 1 }
	for deadline := time.Now().Add(30 * time.Second); !waiting(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the reading goroutine does not wait")
		}
	}
}

// What is delivered over TLS allocates nothing.
func TestAllocationsPerSecureTry(t *testing.T) { overTLS(t, testAllocationsPerSecureTry) }

func testAllocationsPerSecureTry(t *testing.T, serve func(testing.TB) *server) {
	q, ws := openedSecure(t, serve)
	settle(t, q, 0)
	batch := messages(3, 128)
	const runs = 20 // which the socket has room for
	allocs := testing.AllocsPerRun(runs, func() {
		if n, more, err := q.TryWrite(batch); n != 3 || more || err != nil {
			t.Fatalf("%d, %v, %v", n, more, err)
		}
	})
	for range 3 * (runs + 1) {
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	if !raceEnabled && allocs >= 1 { // with it, sync.Pool drops things at random
		t.Errorf("%v allocations", allocs)
	}
}

// The kernel is asked again when what it has said is used up, and when others may
// have written: a KeyUpdate is answered by the goroutine that reads.
func TestRoomIsAskedFor(t *testing.T) { overTLS(t, testRoomIsAskedFor) }

func testRoomIsAskedFor(t *testing.T, serve func(testing.TB) *server) {
	q, ws := openedSecure(t, serve)
	asks, ask := 0, q.ask
	q.ask = func(fd uintptr) {
		asks++
		ask(fd)
	}
	try := func(times int) {
		t.Helper()
		for range times {
			if n, more, err := q.TryWrite(messages(1, 100)); n != 1 || more || err != nil {
				t.Fatalf("%d, %v, %v", n, more, err)
			}
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle(t, q, 0)
	try(5)
	if asks != 1 {
		t.Errorf("asked %d times for 5 small messages", asks)
	}
	try(200)
	if asks < 5 || asks > 100 {
		t.Errorf("asked %d times for 205 small messages", asks)
	}

	before, waits := asks, q.idle.waits.Load()
	if err := ws.WriteMessage(websocket.TextMessage, []byte("\n")); err != nil {
		t.Fatal(err)
	}
	settle(t, q, waits)
	try(1)
	if asks != before+1 {
		t.Errorf("asked %d times after something was read", asks-before)
	}

	before = asks
	if err := q.Write(messages(1, 100)); err != nil {
		t.Fatal(err)
	}
	try(1)
	if asks != before+1 {
		t.Errorf("asked %d times after somebody else has written", asks-before)
	}
}
