package sockjs_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// app is an application whose connections are the test's.
type app struct {
	*server
	handler *sockjs.Handler
	config  sockjs.Config
	conns   chan *conn
}

// conn is a connection: the receiver of what the client sends, and the way to
// the client.
type conn struct {
	stomp.Transport
	sockjs.Connection
	t        *testing.T
	received chan string
	ended    chan stomp.Ending
	alive    atomic.Int64
	err      error // of Receive
	over     atomic.Bool
}

// serveApp serves an application below /app, to pages of all origins.
func serveApp(t *testing.T, major int, config sockjs.Config) *app {
	t.Helper()
	a := newApp(t, config)
	a.server = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }), major)
	t.Cleanup(a.handler.Close)
	return a
}

func newApp(t *testing.T, config sockjs.Config) *app {
	t.Helper()
	a := &app{conns: make(chan *conn, 2000)}
	config.Prefix = "/app"
	if config.WebSocket.Origins == nil {
		config.WebSocket.Origins = origins(t, "*")
	}
	if config.Sessions == nil {
		config.Sessions = sockjs.NewSessions()
	}
	if config.Open == nil {
		config.Open = func(_ *http.Request, c sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
			c.Server, c.Session = strings.Clone(c.Server), strings.Clone(c.Session)
			conn := &conn{Transport: tr, Connection: c, t: t, received: make(chan string, 100), ended: make(chan stomp.Ending, 10)}
			a.conns <- conn
			return conn, nil
		}
	}
	a.config = config
	a.handler = sockjs.NewHandler(config)
	return a
}

func origins(t *testing.T, patterns ...string) *websocket.Origins {
	t.Helper()
	o, err := websocket.ParseOrigins(patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (c *conn) Receive(p []byte, _ bool) error {
	c.check("Receive")
	c.received <- string(p)
	return c.err
}

func (c *conn) Alive() {
	c.check("Alive")
	c.alive.Add(1)
}

func (c *conn) Flush()         {}
func (c *conn) Fail(err error) { c.Close(1002, err.Error()) }

func (c *conn) Settle() {}

func (c *conn) Closed(e stomp.Ending) {
	c.check("Closed")
	c.over.Store(true)
	c.ended <- e
}

// check: nothing is called after Closed.
func (c *conn) check(method string) {
	if c.over.Load() {
		c.t.Errorf("%s after Closed", method)
	}
}

// write sends messages.
func (c *conn) write(messages ...string) error { return c.Write(batch(messages...)) }

// try says how many were taken.
func (c *conn) try(messages ...string) (int, error) {
	n, more, err := c.Transport.(stomp.QuickTransport).TryWrite(batch(messages...))
	if more {
		c.t.Error("some of what was taken is left")
	}
	return n, err
}

func batch(messages ...string) (all []*stomp.Message) {
	for _, m := range messages {
		all = append(all, &stomp.Message{Data: []byte(m)})
	}
	return all
}

func (c *conn) send(messages ...string) {
	c.t.Helper()
	if err := c.write(messages...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) expect(message string) {
	c.t.Helper()
	select {
	case got := <-c.received:
		if got != message {
			c.t.Errorf("received %q, want %q", got, message)
		}
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%q was not received", message)
	}
}

// expectEnd waits for the end of the connection.
func (c *conn) expectEnd(code int) stomp.Ending {
	c.t.Helper()
	select {
	case e := <-c.ended:
		if e.Code != code {
			c.t.Errorf("ended with %+v, want code %d", e, code)
		}
		return e
	case <-time.After(30 * time.Second):
		c.t.Fatal("not told of the end")
	}
	return stomp.Ending{}
}

// connect opens a session by polling.
func (a *app) connect() (path string, c *conn) {
	a.t.Helper()
	path = session("/app")
	a.post(path+"/xhr", "").says("o\n")
	return path, <-a.conns
}

// carrier is an HTTP transport as its client sees it.
type carrier struct {
	name, method, query string
	polling             bool
	// unwrap takes what a transport puts around a frame off.
	before, after string
	script        bool // the frame is a string in JavaScript
	prelude       int  // lines
}

var carriers = []carrier{
	{name: "xhr", method: "POST", polling: true, after: "\n"},
	{name: "xhr_streaming", method: "POST", after: "\n", prelude: 1},
	{name: "eventsource", method: "GET", before: "data: ", after: "\r\n\r\n", prelude: 1},
	{name: "htmlfile", method: "GET", query: "?c=f", before: "<script>\np(", after: ");\n</script>\r\n", script: true, prelude: 13},
	{name: "jsonp", method: "GET", query: "?c=f", polling: true, before: "/**/f(", after: ");\r\n", script: true},
}

func (c carrier) url(path string) string { return path + "/" + c.name + c.query }

// onEachCarrier runs a test for each HTTP transport, over HTTP/1.1 and HTTP/2.
func onEachCarrier(t *testing.T, test func(t *testing.T, major int, c carrier)) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			for _, major := range []int{1, 2} {
				t.Run([]string{1: "HTTP1", 2: "HTTP2"}[major], func(t *testing.T) { test(t, major, c) })
			}
		})
	}
}
