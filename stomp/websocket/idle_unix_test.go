//go:build unix

package websocket

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// secureServers have TLS below their connections, as Caddy has.
var secureServers = map[string]func(testing.TB) *server{
	"TLS": func(t testing.TB) *server { return newSecureServer(t, func(l net.Listener) net.Listener { return l }) },
	"TLS on a socket": func(t testing.TB) *server {
		return newSecureServer(t, func(l net.Listener) net.Listener { return socketListener{l} })
	},
}

// overTLS runs a test with each of them.
func overTLS(t *testing.T, test func(t *testing.T, serve func(testing.TB) *server)) {
	for name, serve := range secureServers {
		t.Run(name, func(t *testing.T) { test(t, serve) })
	}
}

// socketListener accepts what is made for TLS to be put above.
type socketListener struct{ net.Listener }

func (l socketListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c, _ = BelowTLS(c)
	}
	return c, err
}

func newSecureServer(t testing.TB, wrap func(net.Listener) net.Listener) *server {
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	s := listen(t, Config{}, nil, func(s *server) {
		s.Listener = tls.NewListener(wrap(s.Listener), &tls.Config{Certificates: certified.TLS.Certificates}) //nolint:gosec // Go's defaults
	})
	s.url = "wss" + strings.TrimPrefix(s.url, "ws")
	return s
}

// heldConn is a connection whose writes go out together.
type heldConn struct {
	net.Conn
	holding bool
	buf     bytes.Buffer
}

func (c *heldConn) Write(p []byte) (int, error) {
	if c.holding {
		return c.buf.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *heldConn) release() error {
	c.holding = false
	_, err := c.buf.WriteTo(c.Conn)
	return err
}

var secure = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // of this process

func dialSecure(t testing.TB, s *server) (*stomptest.Client, *heldConn) {
	t.Helper()
	var held *heldConn
	d := websocket.Dialer{TLSClientConfig: secure, NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		held = &heldConn{Conn: c}
		return held, err
	}}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	c := stomptest.NewClient(t, &stomptest.WebSocket{Conn: ws})
	c.User = "mina"
	return c, held
}

func TestConformanceSecure(t *testing.T) {
	overTLS(t, func(t *testing.T, serve func(testing.TB) *server) {
		s := serve(t)
		stomptest.Run(t, func(t *testing.T) *stomptest.Client {
			c, _ := dialSecure(t, s)
			return c
		})
	})
}

// TLS reads ahead: what came in one packet is not in the socket any more when
// its first record was handled.
func TestRecordsThatCameTogether(t *testing.T) {
	overTLS(t, testRecordsThatCameTogether)
}

func testRecordsThatCameTogether(t *testing.T, serve func(testing.TB) *server) {
	s := serve(t)
	c, conn := dialSecure(t, s)
	conn.holding = true
	c.Raw("CONNECT\naccept-version:1.2\nhost:x\n\n\x00")
	c.Raw("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00")
	c.Raw("SEND\ndestination:/topic/a\nreceipt:2\n\nhello\x00")
	if err := conn.release(); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"CONNECTED", "RECEIPT", "MESSAGE", "RECEIPT"} {
		c.Expect(command)
	}
	c.Raw("SEND\ndestination:/topic/a\nreceipt:3\n\nhello\x00")
	c.Expect("MESSAGE")
}

// What ends TLS may have been read together with the last message, and then the
// socket has nothing more to say: whoever leaves that way without closing the
// socket is gone at once, and not when it has been silent for too long.
func TestEndOfTLSThatCameWithAMessage(t *testing.T) {
	overTLS(t, testEndOfTLSThatCameWithAMessage)
}

func testEndOfTLSThatCameWithAMessage(t *testing.T, serve func(testing.TB) *server) {
	s := serve(t)
	var conn *heldConn
	d := websocket.Dialer{TLSClientConfig: secure, NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		conn = &heldConn{Conn: c}
		return conn, err
	}}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	conn.holding = true
	if err := ws.WriteMessage(websocket.TextMessage, []byte("CONNECT\naccept-version:1.2\nhost:x\n\n\x00")); err != nil {
		t.Fatal(err)
	}
	if err := ws.NetConn().(*tls.Conn).CloseWrite(); err != nil { // close_notify
		t.Fatal(err)
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil { // CloseWrite leaves one
		t.Fatal(err)
	}
	if err := conn.release(); err != nil {
		t.Fatal(err)
	}
	s.observer.ExpectEnd(t, stomp.ReasonConnectionLost)
}

// A connection that waits has the stack that a goroutine begins with, 2 KiB; under
// TLS that grows for a heart-beat, to 4 KiB. Inside of gorilla's reader it had 8.
func TestIdleStacks(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has stacks of its own")
	}
	const godebug = "adaptivestackstart=0" // what a goroutine begins with does not depend on other tests
	if os.Getenv("GODEBUG") != godebug {
		cmd := exec.Command(os.Args[0], "-test.run=^TestIdleStacks$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG="+godebug)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestIdleStacks/TLS")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for _, kind := range []struct {
		name  string
		serve func(testing.TB) *server
		most  int
	}{
		{"plain", func(t testing.TB) *server { return newBareServer(t, Config{}) }, 3 << 10},
		{"TLS", secureServers["TLS"], 5 << 10},
		{"TLS on a socket", secureServers["TLS on a socket"], 5 << 10},
	} {
		t.Run(kind.name, func(t *testing.T) {
			const connections = 500
			s := kind.serve(t)
			before := stacks()
			d := websocket.Dialer{TLSClientConfig: secure}
			for range connections {
				c, resp, err := d.Dial(s.url, nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				t.Cleanup(func() { _ = c.Close() })
				for _, frame := range []string{
					"CONNECT\naccept-version:1.2\nhost:x\nheart-beat:60000,0\n\n\x00",
					"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00",
				} {
					if err := c.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
						t.Fatal(err)
					}
					if _, _, err := c.ReadMessage(); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.WriteMessage(websocket.TextMessage, []byte("\n")); err != nil {
					t.Fatal(err)
				}
			}
			each := 0
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				if each = (stacks() - before) / connections; each <= kind.most {
					return
				}
			}
			t.Errorf("the stacks of an idle connection have %d bytes, more than %d", each, kind.most)
		})
	}
}

// stacks are the bytes of all, of which a collection makes what is not used
// small again.
func stacks() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.StackInuse) //nolint:gosec // far less
}
