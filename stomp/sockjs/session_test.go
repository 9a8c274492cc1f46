package sockjs_test

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// What goes in comes out, and what comes in goes out, on each transport.
func TestBothWays(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		a := serveApp(t, major, sockjs.Config{})
		r := a.receiver(c, session("/app"))
		r.expect("o")
		conn := <-a.conns
		if conn.Connection.Transport != "sockjs-"+c.name || !conn.HTTP() || conn.Server != "000" || !strings.HasSuffix(r.path, "/"+conn.Session) {
			t.Errorf("connection %+v", conn.Connection)
		}
		if err := r.push("one", "two\x00\n\u2028"); err != nil {
			t.Fatal(err)
		}
		conn.expect("one")
		conn.expect("two\x00\n\u2028")
		conn.send("</script>", "\xff")
		r.expect(`a["</script>","\ufffd"]`)
		conn.Close(3001, "that's it")
		for range 3 {
			r.expect(`c[3001,"that's it"]`)
		}
		if e := conn.expectEnd(1000); e.Err != nil {
			t.Errorf("ended with %+v", e)
		}
		if err := conn.write("late"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing after the end: %v", err)
		}
	})
}

// A receiver that is gone ends its session at once: the bodies of requests
// are drained, so that the HTTP server notices.
func TestAbortedReceiver(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		a := serveApp(t, major, sockjs.Config{})
		for _, body := range []string{"", strings.Repeat("x", 100_000)} {
			r := a.receiver(c, session("/app"))
			r.body = body
			r.expect("o")
			conn := <-a.conns
			over := make(chan error)
			go func() {
				_, err := r.next()
				over <- err
			}()
			eventually(t, "a response to be open", func() bool { return conn.alive.Load() > 1 || !c.polling })
			r.abort()
			if err := <-over; err == nil {
				t.Error("a frame came")
			}
			conn.expectEnd(1006)
			for range 3 {
				a.receiver(c, r.path).expect(`c[1002,"Connection interrupted"]`)
			}
			if len(conn.ended) > 0 {
				t.Error("told of the end twice")
			}
			if c.method == "GET" {
				break // has no body
			}
		}
	})
}

// Who comes second is refused, and changes nothing for who is there.
func TestTwoReceivers(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, major int, c carrier) {
		a := serveApp(t, major, sockjs.Config{})
		path := session("/app")
		first := a.receiver(c, path)
		first.expect("o")
		conn := <-a.conns
		done := make(chan error, 1)
		go func() {
			m, err := first.messages()
			if err == nil && !slices.Equal(m, []string{"x"}) {
				err = errors.New(strings.Join(m, ","))
			}
			done <- err
		}()
		eventually(t, "the first to be there", func() bool { return conn.alive.Load() > 1 || !c.polling })
		for _, other := range carriers {
			r := a.receiver(other, path)
			r.expect(`c[2010,"Another connection still open"]`)
			if _, err := r.read(); err == nil {
				t.Error("the refusal does not end the response")
			}
		}
		conn.send("x")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A session belongs to the owner that opened it; to others it does not exist.
func TestOwner(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{Owner: func(r *http.Request) string { return r.Header.Get("X-User") }})
	path := session("/app")
	a.post(path+"/xhr", "", "X-User: mina").says("o\n")
	conn := <-a.conns
	for _, other := range []string{"X-User: nemo", "X-Nobody: x"} {
		a.post(path+"/xhr_send", `["stolen"]`, other).is(404)
		a.post(path+"/jsonp_send", `["stolen"]`, other).is(404)
		for _, c := range carriers {
			a.do(c.method, c.url(path), "", other).is(404)
		}
	}
	a.post(path+"/xhr_send", `["mine"]`, "X-User: mina").taken()
	conn.expect("mine")
	conn.send("yours")
	a.post(path+"/xhr", "", "X-User: mina").says("a[\"yours\"]\n")
	if n := a.config.Sessions.Len(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// A session may change its transport, and the server segment.
func TestTransportChanges(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{ResponseLimit: 1})
	id := session("")
	a.receiver(carriers[0], "/app"+id).expect("o")
	conn := <-a.conns
	for _, c := range carriers {
		conn.send(c.name)
		a.receiver(c, "/app"+strings.Replace(id, "/000/", "/"+c.name+"/", 1)).expect(`a["` + c.name + `"]`)
	}
	if len(a.conns) > 0 {
		t.Error("another session was opened")
	}
	if conn.Connection.Transport != "sockjs-xhr" {
		t.Errorf("transport %q", conn.Connection.Transport)
	}
}

// An ended session takes no messages and says so to nobody: the client learns
// of the end by its receiver.
func TestSendAfterEnd(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{DisconnectDelay: 300 * time.Millisecond})
	path, conn := a.connect()
	conn.Close(3000, "Go away!")
	conn.expectEnd(1000)
	a.post(path+"/xhr_send", `["late"]`).taken()
	a.post(path+"/xhr", "").says(goAway) // and Alive is not called either
	if len(conn.received) > 0 {
		t.Error("received a message after the end")
	}
	eventually(t, "the session to be forgotten", func() bool { return a.config.Sessions.Len() == 0 })
	a.post(path+"/xhr_send", `["later"]`).is(404)
}

// After an error of the receiver what comes is read and discarded.
func TestReceiverRefuses(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{})
	path, conn := a.connect()
	conn.err = errors.New("no more")
	a.post(path+"/xhr_send", `["one","two"]`).taken()
	a.post(path+"/xhr_send", `["three"]`).taken()
	conn.expect("one")
	if len(conn.received) > 0 {
		t.Errorf("received %q after an error", <-conn.received)
	}
	conn.Close(1002, "no more")
	conn.expectEnd(1000)
}

// What waits is delivered before the end, and what came after the loss of a
// response is not: something would be missing before it.
func TestEndAndQueue(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{})
	path, conn := a.connect()
	conn.send("a", "b")
	conn.Close(3000, "Go away!")
	a.post(path+"/xhr", "").says("a[\"a\",\"b\"]\n")
	a.post(path+"/xhr", "").says(goAway)

	path, conn = a.connect()
	conn.send("a", "b")
	conn.Abort()
	conn.expectEnd(1006)
	a.post(path+"/xhr", "").says(lost)
}

// Bodies have a limit, the largest message; a request beyond it changes
// nothing.
func TestBodyLimit(t *testing.T) {
	config := sockjs.Config{}
	config.WebSocket.MaxMessage = 1000
	a := serveApp(t, 1, config)
	path, conn := a.connect()
	at := `["` + strings.Repeat("x", 996) + `"]`
	over := `["` + strings.Repeat("x", 997) + `"]`
	a.post(path+"/xhr_send", over).is(413)
	a.post(path+"/jsonp_send", over).is(413)
	a.post(path+"/jsonp_send", "d="+over, form).is(413)
	a.post(path+"/xhr_send", at).taken()
	conn.expect(at[2:998])
	conn.send("y")
	a.post(path+"/xhr", strings.Repeat("x", 5000)).says("a[\"y\"]\n")
	if len(conn.received) > 0 {
		t.Errorf("received %.20q", <-conn.received)
	}
}

// Each transport comes with what its client sends with.
func TestTransportsOption(t *testing.T) {
	for _, on := range sockjs.Transports() {
		t.Run(on, func(t *testing.T) {
			a := serveApp(t, 1, sockjs.Config{Transports: []string{on}})
			for _, c := range carriers {
				path := session("/app")
				want := 404
				if c.name == on {
					want = 200
					defer func(p *poll) { p.cancel() }(a.pollWith(c, path, ""))
					conn := <-a.conns
					send := a.receiver(c, path)
					err := send.push("x")
					for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); err = send.push("x") {
						time.Sleep(time.Millisecond) // conn is told of before the session can be found
					}
					if err != nil {
						t.Errorf("sending: %v", err)
					}
					conn.expect("x")
				}
				if want == 404 {
					a.do(c.method, c.url(path), "").is(404)
					a.do("OPTIONS", c.url(path), "").is(404)
				}
			}
			a.post("/app/a/b/xhr_send", "[]").is(404)
			a.post("/app/a/b/jsonp_send", "[]").is(404)
			if got := *a.get("/app/info").info().WebSocket; got != (on == "websocket") {
				t.Errorf("websocket: %v", got)
			}
		})
	}
}
