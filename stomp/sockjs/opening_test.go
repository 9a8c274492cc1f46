package sockjs_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// Whoever takes long to be let in holds up nobody else; who asks for the same
// session meanwhile waits, and finds it.
func TestSlowOpen(t *testing.T) {
	var a *app
	asked, letIn := make(chan struct{}, 10), make(chan struct{})
	a = serveApp(t, 1, sockjs.Config{Open: func(r *http.Request, _ sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
		if r.Header.Get("X-Slow") != "" {
			asked <- struct{}{}
			<-letIn
		}
		c := &conn{Transport: tr, t: t, received: make(chan string, 10), ended: make(chan stomp.Ending, 2)}
		a.conns <- c
		return c, nil
	}})
	slow := session("/app")
	first := make(chan string, 2)
	go func() { first <- a.post(slow+"/xhr", "", "X-Slow: 1").body }()
	<-asked

	path, other := a.connect()
	a.post(path+"/xhr_send", `["x"]`).taken()
	other.expect("x")
	a.post(slow+"/xhr_send", `["too soon"]`).is(404)
	go func() { first <- a.post(slow+"/xhr", "").body }()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() { // does not wait longer than its client
		defer close(gone)
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, httptest.NewRequest("POST", slow+"/xhr", nil).WithContext(ctx))
	}()
	cancel()
	<-gone
	if len(first) > 0 {
		t.Fatalf("answered %q before the session was open", <-first)
	}

	close(letIn)
	c := <-a.conns
	if got := <-first; got != "o\n" {
		t.Errorf("got %q", got)
	}
	c.send("y")
	if got := <-first; got != stillOpen && got != "a[\"y\"]\n" {
		t.Errorf("got %q", got)
	}
	if len(asked)+len(a.conns) > 0 {
		t.Error("opened twice")
	}
	a.post(slow+"/xhr_send", `["x"]`).taken()
	c.expect("x")
}

// Who is refused leaves the key to who comes next, who waited for it too.
func TestRefusedWhileAnotherWaits(t *testing.T) {
	var opens atomic.Int64
	decide := make(chan struct{})
	var a *app
	a = serveApp(t, 1, sockjs.Config{Open: func(_ *http.Request, _ sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
		if opens.Add(1) == 1 {
			<-decide
			return nil, stomp.ErrDraining
		}
		c := &conn{Transport: tr, t: t, ended: make(chan stomp.Ending, 2)}
		a.conns <- c
		return c, nil
	}})
	path := session("/app")
	answers := make(chan int, 2)
	ask := func() { answers <- a.post(path+"/xhr", "").status }
	go ask()
	eventually(t, "the first to ask", func() bool { return opens.Load() == 1 })
	go ask()
	time.Sleep(10 * time.Millisecond) // whether it waits by then or not, the outcome is the same
	close(decide)
	if x, y := <-answers, <-answers; x+y != 503+200 {
		t.Errorf("answered with %d and %d", x, y)
	}
	if n := a.config.Sessions.Len(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// Attack: a request that makes the application panic. It takes its session
// with it, not the others.
func TestOpenPanics(t *testing.T) {
	a := newApp(t, sockjs.Config{Open: func(*http.Request, sockjs.Connection, stomp.Transport) (stomp.Receiver, error) {
		panic("broken")
	}})
	path := session("/app")
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			a.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path+"/xhr", nil))
		}()
		if n := a.config.Sessions.Len(); n != 0 {
			t.Errorf("%d sessions", n)
		}
	}
}

// Attack: bodies for sessions that do not exist. They are read past, not held,
// and the connection can be used again.
func TestBodyForNobody(t *testing.T) {
	config := sockjs.Config{}
	config.WebSocket.MaxMessage = 1000
	a := serveApp(t, 1, config)
	for _, size := range []int{0, 500, 5000} {
		for _, name := range []string{"/xhr_send", "/jsonp_send"} {
			a.post(session("/app")+name, strings.Repeat("x", size)).is(404)
		}
	}
	c, r := a.dialTCP()
	body := strings.Repeat("x", 900)
	for range 2 {
		if _, err := c.Write([]byte("POST /app/0/nobody/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + body)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 404 || resp.Close {
			t.Errorf("status %d, closed %t", resp.StatusCode, resp.Close)
		}
	}
}

// Drain waits for those who have still to be told, and not for others.
func TestDrain(t *testing.T) {
	drained := func(a *app, within time.Duration) <-chan bool {
		done := make(chan bool, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			a.config.Sessions.Drain(ctx)
			done <- ctx.Err() == nil
		}()
		return done
	}
	a := serveApp(t, 1, sockjs.Config{})
	if !<-drained(a, 10*time.Second) {
		t.Error("waited for nobody")
	}

	poller, polled := a.connect()
	streamer := a.xhrStreaming(session("/app"))
	streamer.expect("o\n")
	streamed := <-a.conns
	_, aborted := a.connect()
	aborted.Abort()
	done := drained(a, 10*time.Second)
	for _, c := range []*conn{polled, streamed} {
		c.send("last")
		c.Close(1001, "gone")
	}
	streamer.expect("a[\"last\"]\nc[1001,\"gone\"]\n")
	a.post(poller+"/xhr", "").says("a[\"last\"]\n")
	time.Sleep(20 * time.Millisecond)
	if len(done) > 0 {
		t.Fatal("did not wait for the poller")
	}
	a.post(poller+"/xhr", "").says("c[1001,\"gone\"]\n")
	if !<-done {
		t.Error("waited for somebody who was told")
	}

	// who does not come is waited for until he is forgotten
	a = serveApp(t, 1, sockjs.Config{DisconnectDelay: 50 * time.Millisecond})
	_, c := a.connect()
	c.Close(1001, "gone")
	if !<-drained(a, 10*time.Second) {
		t.Error("waited for somebody who does not come")
	}
	// or as long as the caller can
	a = serveApp(t, 1, sockjs.Config{})
	_, c = a.connect()
	c.Close(1001, "gone")
	if <-drained(a, 50*time.Millisecond) {
		t.Error("somebody was not told")
	}
}

// Attack: a page of another site lets the visitor's browser open a session,
// with the visitor's cookies and under a key that the page chose, by a request
// that tells no origin: <img src="https://here/ws/0/key/eventsource">.
func TestForeignRequestWithoutOrigin(t *testing.T) {
	for _, tt := range []struct {
		origins []string
		site    string
		status  int
	}{
		{nil, "cross-site", 403},
		{nil, "same-site", 403}, // a subdomain is another origin
		{nil, "same-origin", 200},
		{nil, "none", 200},
		{[]string{"https://friend.example"}, "cross-site", 403},
		{[]string{"*"}, "cross-site", 200},
	} {
		config := sockjs.Config{ResponseLimit: 1} // streams end at once
		config.WebSocket.Origins = origins(t, tt.origins...)
		a := serveApp(t, 1, config)
		site := "Sec-Fetch-Site: " + tt.site
		a.get("/app/info", site).is(tt.status)
		for _, c := range carriers {
			a.do(c.method, c.url(session("/app")), "", site).is(tt.status)
		}
		if tt.status != 200 && a.config.Sessions.Len() > 0 {
			t.Errorf("%v, %s: a session was opened", tt.origins, tt.site)
		}
		if tt.origins != nil { // who tells his origin is judged by it
			a.get("/app/info", site, "Origin: https://friend.example").is(200)
		}
	}
}
