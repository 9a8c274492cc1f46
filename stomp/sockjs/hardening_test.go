package sockjs_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// A connection that the application refuses has no receiver: nothing may be
// left that calls one later.
func TestOpenRefuses(t *testing.T) {
	refused := errors.New("come back later")
	for name, before := range map[string]func(stomp.Transport){
		"at once":      func(stomp.Transport) {},
		"after Close":  func(tr stomp.Transport) { tr.Close(3000, "Go away!") },
		"after Abort":  func(tr stomp.Transport) { tr.Abort() },
		"after a wait": func(stomp.Transport) { time.Sleep(20 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			transports := make(chan stomp.Transport, 1)
			a := serveApp(t, 1, sockjs.Config{
				DisconnectDelay: 5 * time.Millisecond,
				Open: func(_ *http.Request, _ sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
					before(tr)
					transports <- tr
					return nil, refused
				},
			})
			path := session("/app")
			a.post(path+"/xhr", "").is(503).mentions("come back later").has("Retry-After", "1")
			a.post(path+"/xhr_send", "[]").is(404)
			tr := <-transports
			if err := tr.Write([]*stomp.Message{{Data: []byte("x")}}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("writing: %v", err)
			}
			tr.Close(1000, "")
			time.Sleep(20 * time.Millisecond) // more than the delay, after which sessions are lost
			if n := a.config.Sessions.Len(); n != 0 {
				t.Errorf("%d sessions", n)
			}
		})
	}
}

// A session may be over before Open returns: its receiver is told then.
func TestEndInsideOpen(t *testing.T) {
	for name, end := range map[string]func(stomp.Transport){
		"c[3000,\"Go away!\"]\n": func(tr stomp.Transport) { tr.Close(3000, "Go away!") },
		lost:                     func(tr stomp.Transport) { tr.Abort() },
	} {
		var a *app
		a = serveApp(t, 1, sockjs.Config{Open: func(_ *http.Request, _ sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
			c := &conn{Transport: tr, t: t, ended: make(chan stomp.Ending, 2)}
			end(tr)
			time.Sleep(5 * time.Millisecond) // if somebody calls the receiver now, there is none
			a.conns <- c
			return c, nil
		}})
		path := session("/app")
		a.post(path+"/xhr", "").says("o\n")
		c := <-a.conns
		<-c.ended
		a.post(path+"/xhr", "").says(name)
	}
}

// brokenWriter is a client that is gone, as the server learns by writing.
type brokenWriter struct {
	*httptest.ResponseRecorder
	writes int // that still work
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.writes--; w.writes < 0 {
		return 0, errors.New("broken pipe")
	}
	return w.ResponseRecorder.Write(p)
}

// A write that fails ends the session, whatever was written, and no response
// of it stays open.
func TestBrokenWrite(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			for writes := range 4 {
				stomptest.CheckLeaks(t)
				a := newApp(t, sockjs.Config{DisconnectDelay: 20 * time.Millisecond, Heartbeat: 10 * time.Millisecond})
				path := session("/app")
				ask := func(writes int) string {
					w := &brokenWriter{httptest.NewRecorder(), writes}
					a.handler.ServeHTTP(w, httptest.NewRequest(c.method, c.url(path), nil))
					return w.Body.String()
				}
				// o, then heartbeats
				for range writes + 1 {
					ask(writes)
				}
				conn := <-a.conns
				conn.t = t
				if c.polling && writes > 0 {
					conn.Abort() // one write each: none of them was broken
				}
				conn.expectEnd(1006)
				if got := ask(100); !strings.Contains(got, "1002") && !strings.Contains(got, `"o"`) && !strings.Contains(got, "o\n") {
					t.Errorf("%d writes, then %q", writes, got)
				}
				eventually(t, "the session to be forgotten", func() bool { return a.config.Sessions.Len() == 0 })
			}
		})
	}
}

// Who is refused as the second receiver cannot end the session of the first
// by going away.
func TestBrokenSecondReceiver(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{})
	path := session("/app")
	st := a.xhrStreaming(path)
	st.expect("o\n")
	conn := <-a.conns
	for _, c := range carriers {
		for writes := range 2 {
			w := &brokenWriter{httptest.NewRecorder(), writes}
			a.handler.ServeHTTP(w, httptest.NewRequest(c.method, c.url(path), nil))
		}
	}
	conn.send("x")
	st.expect("a[\"x\"]\n")
	if len(conn.ended) > 0 {
		t.Error("the session ended")
	}
}

// An application that answers from within Receive may have to wait for room:
// the request that makes it must not wait for the application.
func TestEchoOfMoreThanTheBuffer(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{Buffer: 100, Open: echoes})
	r := a.receiver(carriers[0], session("/app"))
	r.expect("o")
	big := strings.Repeat("x", 60)
	done := make(chan error)
	go func() { done <- r.push(big, big, big, big) }()
	for n := 0; n < 4; {
		m, err := r.messages()
		if err != nil {
			t.Fatal(err)
		}
		n += len(m)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An origin, a callback or a cookie cannot break out of where they are echoed.
func TestEchoedHeaders(t *testing.T) {
	s := serve(t, testApplications(), 1)
	path := session("/cookie_needed_echo")
	s.post(path+"/xhr", "", `Cookie: JSESSIONID="a b,c"`, "Origin: a, b").says("o\n").
		has("Access-Control-Allow-Origin", "a, b")
	for _, line := range s.post(path+"/xhr_send", "[]", "Cookie: JSESSIONID=a\\b; JSESSIONID=c").header.Values("Set-Cookie") {
		if strings.Count(line, ";") != 1 || !strings.HasSuffix(line, "; path=/") {
			t.Errorf("Set-Cookie: %q", line)
		}
	}
}

// Sessions are of all who have the key: none is lost when many ask at once for
// one that does not exist yet.
func TestManyOpenAtOnce(t *testing.T) {
	a := serveApp(t, 1, sockjs.Config{})
	for range 20 {
		path := session("/app")
		var polls []*poll
		for range 5 {
			polls = append(polls, a.poll(path))
		}
		opens, refusals := 0, 0
		// the one that opened it may be the last to be answered
		for opens == 0 || opens+refusals < 4 {
			for _, p := range polls {
				select {
				case got := <-p.body:
					switch got {
					case "o\n":
						opens++
					case stillOpen:
						refusals++
					}
				default:
				}
			}
			time.Sleep(time.Millisecond)
		}
		if opens != 1 {
			t.Errorf("opened %d times", opens)
		}
		conn := <-a.conns
		conn.Close(1000, "")
		conn.expectEnd(1000)
		if len(a.conns) > 0 {
			t.Fatal("two connections for one key")
		}
	}
}
