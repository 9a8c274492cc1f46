package sockjs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

const prefix = "/connection"

// server is a SockJS endpoint for STOMP as caddymodule makes it.
type server struct {
	*httptest.Server
	endpoint *stomp.Endpoint
	observer *stomptest.Observer
	url      string // ws://
}

func newServer(t *testing.T, config Config) *server {
	stomptest.CheckLeaks(t)
	s := &server{observer: stomptest.NewObserver()}
	p := stomp.DefaultPolicy()
	p.HeartBeatSend = 200 * time.Millisecond
	s.endpoint = stomp.NewBroker(stomp.Config{Observer: s.observer}).Endpoint(prefix, p)
	config.Prefix = prefix
	config.WebSocket.Subprotocols = websocket.Subprotocols()
	if config.Open == nil {
		config.Open = func(_ *http.Request, c Connection, t stomp.Transport) (stomp.Receiver, error) {
			return s.endpoint.NewSession(t, &stomp.Handshake{SessionID: c.Session, Transport: c.Transport, User: "mina"})
		}
	}
	s.Server = httptest.NewServer(NewHandler(config))
	s.url = "ws" + strings.TrimPrefix(s.URL, "http") + prefix
	t.Cleanup(func() {
		s.Close()
		s.endpoint.Broker().Drain(t.Context(), 1001, "")
	})
	return s
}

func (s *server) dial(t *testing.T) *stomptest.Client {
	c, _ := stomptest.DialSockJS(t, s.url, nil)
	c.User = "mina"
	return c
}

func TestConformance(t *testing.T) {
	s := newServer(t, Config{})
	stomptest.Run(t, s.dial)
}

func TestConformanceOfRawWebSocket(t *testing.T) {
	s := newServer(t, Config{})
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c, _ := stomptest.DialWebSocket(t, s.url+"/websocket", nil, websocket.Subprotocols()...)
		c.User = "mina"
		return c
	})
}

func TestSessionIDIsThatOfTheURL(t *testing.T) {
	s := newServer(t, Config{})
	c, conn := stomptest.DialSockJS(t, s.url, nil)
	if got := c.Connect().Header.Get("session"); got != conn.Session {
		t.Errorf("session %q, the URL says %q", got, conn.Session)
	}
	raw, _ := stomptest.DialWebSocket(t, s.url+"/websocket", nil)
	if got := raw.Connect().Header.Get("session"); got == "" || got == conn.Session {
		t.Errorf("session %q of a raw websocket", got)
	}
}

// dialBinary connects to the raw websocket and sends binary messages.
func dialBinary(t *testing.T, s *server) *stomptest.Client {
	c, ws := stomptest.DialWebSocket(t, s.url+"/websocket", nil)
	ws.Binary = true
	return c
}
