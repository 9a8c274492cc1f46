package websocket

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// openedSecure is a connection over TLS to somebody who reads when the test does.
func openedSecure(t testing.TB) (*secureConn, *websocket.Conn) {
	t.Helper()
	transports := make(chan stomp.Transport, 1)
	s := newSecureServer(t)
	s.open = func(tr stomp.Transport) { transports <- tr }
	d := websocket.Dialer{TLSClientConfig: secure, NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		if err == nil {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10) // so that it is full soon
		}
		return c, err
	}}
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
func TestTryWriteSecure(t *testing.T) {
	for _, tt := range []struct{ messages, size int }{{1, 1}, {1, 128}, {64, 128}, {1, 4000}, {10, 6000}, {1, 60 << 10}, {1, 200 << 10}} {
		t.Run(fmt.Sprintf("%dx%d", tt.messages, tt.size), func(t *testing.T) {
			q, ws := openedSecure(t)
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

// What is delivered over TLS allocates nothing.
func TestAllocationsPerSecureTry(t *testing.T) {
	q, ws := openedSecure(t)
	batch := messages(3, 128)
	const runs = 100
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
