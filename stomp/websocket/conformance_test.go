package websocket

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// server is a STOMP endpoint over raw WebSockets.
type server struct {
	*httptest.Server
	endpoint *stomp.Endpoint
	observer *stomptest.Observer
	url      string // ws://
	open     func(stomp.Transport)
	writes   atomic.Int64 // system calls, as the listener sees them
}

// newServer serves behind wrap, if it is not nil, and counts the writes.
func newServer(t testing.TB, config Config, wrap func(http.Handler) http.Handler) *server {
	return listen(t, config, wrap, func(s *server) { s.Listener = countingListener{s.Listener, &s.writes} })
}

// newBareServer serves on sockets that nobody wraps.
func newBareServer(t testing.TB, config Config) *server {
	return listen(t, config, nil, func(*server) {})
}

func listen(t testing.TB, config Config, wrap func(http.Handler) http.Handler, prepare func(*server)) *server {
	stomptest.CheckLeaks(t)
	s := &server{observer: stomptest.NewObserver()}
	p := stomp.DefaultPolicy()
	p.HeartBeatSend = 200 * time.Millisecond
	s.endpoint = stomp.NewBroker(stomp.Config{Observer: s.observer}).Endpoint("/ws", p)
	if config.Subprotocols == nil {
		config.Subprotocols = Subprotocols()
	}
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = Accept(w, r, config, func(t stomp.Transport) (stomp.Receiver, error) {
			if s.open != nil {
				s.open(t)
			}
			return s.endpoint.NewSession(t, &stomp.Handshake{Transport: "websocket", User: "mina"})
		})
	})
	if wrap != nil {
		handler = wrap(handler)
	}
	s.Server = httptest.NewUnstartedServer(handler)
	prepare(s)
	s.Start()
	s.url = "ws" + strings.TrimPrefix(s.URL, "http")
	t.Cleanup(func() {
		s.Close()
		s.endpoint.Broker().Drain(t.Context(), stomp.End{Code: 1001}, 0)
	})
	return s
}

// dial returns a client that has not sent CONNECT.
func (s *server) dial(t testing.TB) (*stomptest.Client, *stomptest.WebSocket) {
	t.Helper()
	c, ws := stomptest.DialWebSocket(t, s.url, nil, Subprotocols()...)
	c.User = "mina"
	return c, ws
}

// countingListener counts the writes to its connections, as a listener of
// Caddy's wraps them: the TCP connection is to be found below.
type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.writes}, err
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) NetConn() net.Conn { return c.Conn }

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestConformance(t *testing.T) {
	s := newServer(t, Config{}, nil)
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c, _ := s.dial(t)
		return c
	})
}

func TestConformanceBinary(t *testing.T) {
	s := newServer(t, Config{}, nil)
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c, ws := s.dial(t)
		ws.Binary = true
		return c
	})
}
