//go:build unix

package websocket

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// A peer that breaks the rules while the answer to its ping, or a message, waits
// to be written is told so, whoever writes first.
func TestViolationWhileSomethingIsWritten(t *testing.T) {
	s := newBareServer(t, Config{})
	sender, _ := s.dial(t)
	sender.Connect()
	const subscribe = "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00"
	for i := range 1000 {
		ws := dialRaw(t, s, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00", subscribe)
		for range 2 { // CONNECTED, RECEIPT
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			sender.Publish("/topic/a", "hi")
		}
		violation := append(clientFrame(0x89, "a"), clientFrame(0xf1, "")...)
		if _, err := ws.NetConn().Write(violation); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil {
			_, _, err = ws.ReadMessage()
		}
		if !websocket.IsCloseError(err, websocket.CloseProtocolError) {
			t.Fatalf("connection %d: %v", i, err)
		}
		if end := s.observer.NextEnd(t); end.Reason != stomp.ReasonProtocolError {
			t.Fatalf("connection %d ended as %s", i, end.Reason)
		}
	}
}

// dialRaw says some messages on a connection that nobody reads yet.
func dialRaw(t *testing.T, s *server, messages ...string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{TLSClientConfig: secure}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	for _, m := range messages {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	return ws
}

// Pongs are no heart-beats: a client that pings more often than it wants to hear
// from the server hears from it.
func TestPingsLeaveHeartBeats(t *testing.T) {
	for name, serve := range map[string]func(testing.TB) *server{
		"wrapped":         func(t testing.TB) *server { return newServer(t, Config{}, nil) },
		"bare":            func(t testing.TB) *server { return newBareServer(t, Config{}) },
		"TLS":             secureServers["TLS"],
		"TLS on a socket": secureServers["TLS on a socket"],
	} {
		t.Run(name, func(t *testing.T) {
			ws := dialRaw(t, serve(t), "CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,1000\n\n\x00")
			got := make(chan error, 1)
			go func() {
				for range 2 { // CONNECTED, and an EOL
					if _, _, err := ws.ReadMessage(); err != nil {
						got <- err
						return
					}
				}
				got <- nil
			}()
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
				select {
				case err := <-got:
					if err != nil {
						t.Error(err)
					}
					return
				case <-time.After(100 * time.Millisecond):
					if err := ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Error("no heart-beat comes")
		})
	}
}
