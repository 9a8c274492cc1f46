package sockjs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// httpConn is an HTTP transport as a [stomptest.Conn].
type httpConn struct {
	*receiver
	pings    int
	messages []string
}

func (c *httpConn) Write(p []byte) error { return c.push(string(p)) }

func (c *httpConn) Read() ([]byte, error) {
	for len(c.messages) == 0 {
		frame, err := c.next()
		if err != nil {
			return nil, &stomptest.Closing{Code: 1006, Err: err}
		}
		switch frame[0] {
		case 'h':
			c.pings++
		case 'c':
			var code int
			var text string
			if err := json.Unmarshal([]byte(frame[1:]), &[]any{&code, &text}); err != nil {
				return nil, &stomptest.Closing{Code: 1006, Err: fmt.Errorf("frame %q: %w", frame, err)}
			}
			return nil, &stomptest.Closing{Code: code, Text: text}
		case 'a':
			if err := json.Unmarshal([]byte(frame[1:]), &c.messages); err != nil {
				return nil, &stomptest.Closing{Code: 1006, Err: err}
			}
		}
	}
	p := c.messages[0]
	c.messages = c.messages[1:]
	return []byte(p), nil
}

// Close cannot say a code: a client over HTTP goes away.
func (c *httpConn) Close(int) error { c.abort(); return nil }
func (c *httpConn) Abort()          { c.abort() }
func (c *httpConn) Pings() int      { return c.pings }

// The conformance suite for STOMP servers, over each HTTP transport.
func TestConformanceOverHTTP(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			stomptest.CheckLeaks(t)
			p := stomp.DefaultPolicy()
			p.HeartBeatSend = 200 * time.Millisecond
			endpoint := stomp.NewBroker(stomp.Config{Observer: stomptest.NewObserver()}).Endpoint("/app", p)
			a := serveApp(t, 1, sockjs.Config{
				DisconnectDelay: time.Second,
				Open: func(_ *http.Request, c sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
					return endpoint.NewSession(tr, &stomp.Handshake{Transport: c.Transport, User: "mina"})
				},
			})
			t.Cleanup(func() { endpoint.Broker().Drain(t.Context(), stomp.End{Code: 1001}, 0) })
			stomptest.Run(t, func(t *testing.T) *stomptest.Client {
				conn := &httpConn{receiver: a.with(t).receiver(c, session("/app"))}
				if frame, err := conn.next(); err != nil || frame != "o" {
					t.Fatal(frame, errors.Join(err))
				}
				client := stomptest.NewClient(t, conn)
				client.User = "mina"
				return client
			})
		})
	}
}
