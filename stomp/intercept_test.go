package stomp_test

import (
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// intercept is an interceptor.
type intercept func(s *stomp.Session, f *frame.Frame) (bool, error)

func (i intercept) Intercept(s *stomp.Session, f *frame.Frame) (bool, error) { return i(s, f) }

func intercepting(all ...intercept) stomp.Policy {
	var p stomp.Policy
	for _, i := range all {
		p.Interceptors = append(p.Interceptors, i)
	}
	return p
}

// set changes a header.
func set(f *frame.Frame, name, value string) {
	for i := range f.Header {
		if f.Header[i].Name == name {
			f.Header[i].Value = value
			return
		}
	}
	f.Header = append(f.Header, frame.Field{Name: name, Value: value})
}

// Interceptors see the frames that they are told to, in order, the first first.
func TestInterceptorsSee(t *testing.T) {
	var seen []string
	see := func(who string) intercept {
		return func(_ *stomp.Session, f *frame.Frame) (bool, error) {
			seen = append(seen, who+f.Command)
			return false, nil
		}
	}
	bubble(t, intercepting(see("1 "), see("2 ")), func(t *testing.T, w *world) {
		c := w.client(t)
		c.Subscribe("1", "/topic/a")
		c.Send(frame.Begin, "", "transaction:t")
		c.Publish("/topic/a", "x", "transaction:t")
		c.Send(frame.Commit, "", "transaction:t")
		expectBodies(t, c, "x")
		c.Send(frame.Unsubscribe, "", "id:1")
		c.Send(frame.Disconnect, "", "receipt:1")
		c.Expect(frame.Receipt)
		c.ExpectClose(1000)
		var want []string
		for _, command := range []string{frame.Connect, frame.Subscribe, frame.Send, frame.Unsubscribe, frame.Disconnect} {
			want = append(want, "1 "+command, "2 "+command)
		}
		if len(seen) != len(want) {
			t.Fatalf("seen %q, want %q", seen, want)
		}
		for i := range want {
			if seen[i] != want[i] {
				t.Errorf("seen %q, want %q", seen, want)
			}
		}
	})
}

// What an interceptor makes of a frame is asked for by the same rules.
func TestInterceptorsChange(t *testing.T) {
	p := intercepting(func(_ *stomp.Session, f *frame.Frame) (bool, error) {
		switch f.Header.Get("destination") {
		case "/topic/change":
			set(f, "destination", "/topic/a")
			set(f, "by", "interceptor: a\nb")
			f.Body = append([]byte("changed "), f.Body...)
		case "/topic/smuggle":
			set(f, "destination", "/topic/denied")
		case "/topic/announce":
			set(f, "destination", "/app/own/")
		}
		return false, nil
	})
	p.Permissions = permissions(t, deny(stomp.ActionSend, "/topic/denied"), deny(stomp.ActionRegister, "/app/own"))
	bubble(t, p, func(t *testing.T, w *world) {
		w.SetMounts(mounts{"/app/own": &echoMount{}})
		c := w.client(t)
		c.Subscribe("1", "/topic/a")
		c.Publish("/topic/change", "x", "content-length:1")
		f := expectBodies(t, c, "changed x")[0]
		if f.Header.Get("by") != "interceptor: a\nb" || f.Header.Get("content-length") != "9" || f.Header.Get("destination") != "/topic/a" {
			t.Errorf("got %s", stomptest.Show(f))
		}
		old := w.client(t, "accept-version:1.0") // where nothing can be escaped
		old.Subscribe("1", "/topic/a")
		c.Publish("/topic/change", "y", "content-length:1")
		for _, reader := range []*stomptest.Client{c, old} {
			if f := expectBodies(t, reader, "changed y")[0]; f.Header.Get("destination") != "/topic/a" {
				t.Errorf("got %s", stomptest.Show(f))
			}
		}
		for _, destination := range []string{"/topic/smuggle", "/topic/announce"} {
			c := w.client(t)
			c.Publish(destination, "x")
			c.ExpectError("not permitted")
		}
	})
}

// A frame that was answered is seen by nobody else, and its RECEIPT is sent.
func TestInterceptorsAnswer(t *testing.T) {
	second := 0
	p := intercepting(func(s *stomp.Session, f *frame.Frame) (bool, error) {
		switch f.Header.Get("destination") {
		case "/app/time":
			if !s.Deliver(f.Header.Get("answer-to"), "/app/time", frame.Header{{Name: "x", Value: "1"}, {Name: "message-id", Value: "forged"}}, []byte("noon")) {
				return false, stomp.Refuse("no such subscription")
			}
			return true, nil
		case "/app/own":
			return true, nil
		}
		return false, nil
	}, func(*stomp.Session, *frame.Frame) (bool, error) {
		second++
		return false, nil
	})
	p.Permissions = permissions(t, deny(stomp.ActionSend, "/app/**"), deny(stomp.ActionSubscribe, "/app/**"))
	bubble(t, p, func(t *testing.T, w *world) {
		c := w.client(t)
		c.Subscribe("1", "/queue/a")
		c.Send(frame.Subscribe, "", "id:2", "destination:/app/own", "receipt:s")
		c.Expect(frame.Receipt, "receipt-id:s")
		before := second
		c.Publish("/app/time", "", "answer-to:1", "receipt:t")
		f := c.Expect(frame.Message, "subscription:1", "destination:/app/time", "x:1")
		if string(f.Body) != "noon" || f.Header.Get("message-id") == "forged" {
			t.Errorf("got %s", stomptest.Show(f))
		}
		c.Expect(frame.Receipt, "receipt-id:t")
		if second != before {
			t.Error("the second has seen what the first had answered")
		}
		c.Send(frame.Unsubscribe, "", "id:2") // there is none
		c.ExpectError("no such subscription")

		c = w.client(t)
		c.Publish("/app/time", "", "answer-to:9", "receipt:t")
		c.ExpectError("no such subscription")
	})
}

// Who is refused gets an ERROR; an error that is none of ours says nothing.
func TestInterceptorsRefuse(t *testing.T) {
	p := intercepting(func(_ *stomp.Session, f *frame.Frame) (bool, error) {
		switch f.Header.Get("x") {
		case "refuse":
			return true, stomp.Refuse("not today")
		case "leak":
			return false, &time.ParseError{Message: "database password"}
		case "panic":
			panic("interceptor")
		case "answer":
			return true, nil
		}
		return false, nil
	}, func(_ *stomp.Session, f *frame.Frame) (bool, error) {
		if f.Header.Get("y") == "refuse" {
			return false, stomp.Refuse("nor today")
		}
		return false, nil
	})
	bubble(t, p, func(t *testing.T, w *world) {
		stays := w.client(t)
		for _, command := range []string{frame.Connect, frame.Send} {
			for x, want := range map[string]string{"refuse": "not today", "leak": "internal error", "panic": "internal error"} {
				c, _ := w.dial(t)
				if command == frame.Send {
					c.Connect()
				}
				c.Send(command, "", "accept-version:1.2", "host:x", "destination:/topic/a", "x:"+x)
				c.ExpectError(want)
			}
		}
		c, _ := w.dial(t)
		c.Connect("x:answer") // which cannot be answered
		c.ExpectNothing()
		for _, command := range []string{frame.Connect, frame.Stomp} { // nor be hidden from the next
			c, _ := w.dial(t)
			c.Send(command, "", "accept-version:1.2", "host:x", "x:answer", "y:refuse")
			c.ExpectError("nor today")
		}
		stays.ExpectNothing()
	})
}

// An interceptor sees CONNECT before anybody knows who it is, Admit after, and
// both before the session is there.
func TestAdmit(t *testing.T) {
	var order []string
	p := intercepting(func(s *stomp.Session, f *frame.Frame) (bool, error) {
		if f.Command == frame.Connect {
			order = append(order, "intercept "+s.User())
		}
		return false, nil
	})
	p.Authenticator = authenticate(func(hs *stomp.Handshake, f *frame.Frame) (*stomp.Handshake, error) {
		known := *hs
		known.User = f.Header.Get("login")
		return &known, nil
	})
	p.Admit = func(hs *stomp.Handshake, f *frame.Frame) error {
		order = append(order, "admit "+hs.User)
		if hs.User == "eve" {
			return stomp.Refuse("not you")
		}
		return nil
	}
	p.Permissions = permissions(t, stomp.Rule{Action: stomp.ActionConnect, Users: []string{"tom"}})
	bubble(t, p, func(t *testing.T, w *world) {
		c, _ := w.dial(t)
		c.Connect("login:mina")
		for name, want := range map[string]string{"eve": "not you", "tom": "not permitted"} {
			c, _ := w.dial(t)
			c.Send(frame.Connect, "", "accept-version:1.2", "host:x", "login:"+name)
			c.ExpectError(want)
		}
		if len(order) != 5 || order[0] != "intercept " || order[1] != "admit mina" {
			t.Errorf("in the order %q", order)
		}
		if n := len(w.Sessions()); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A policy that went out of force while it decided does not decide: the next one
// is asked, and only if there is none is the client refused.
func TestAdmitSuperseded(t *testing.T) {
	for _, reloads := range []bool{true, false} {
		var w *world
		asked := 0
		next := stomp.DefaultPolicy()
		next.Admit = func(*stomp.Handshake, *frame.Frame) error { asked++; return nil }
		p := stomp.DefaultPolicy()
		p.Admit = func(*stomp.Handshake, *frame.Frame) error {
			if reloads {
				w.endpoint.SetPolicy(next)
			}
			return &stomp.Error{Message: "try again later", Reason: stomp.ReasonPolicy, Err: stomp.ErrSuperseded}
		}
		bubble(t, p, func(t *testing.T, world *world) {
			w = world
			c, _ := w.dial(t)
			if reloads {
				c.Connect()
			} else {
				c.Send(frame.Connect, "", "accept-version:1.2", "host:x")
				c.ExpectError("try again later")
			}
		})
		if want := map[bool]int{true: 1}[reloads]; asked != want {
			t.Errorf("reload %t: the next policy was asked %d times", reloads, asked)
		}
	}
}

type authenticate func(hs *stomp.Handshake, f *frame.Frame) (*stomp.Handshake, error)

func (a authenticate) Authenticate(hs *stomp.Handshake, f *frame.Frame) (*stomp.Handshake, error) {
	return a(hs, f)
}

// told is what a SubscriptionObserver was told.
type told struct{ all []string }

func (o *told) Subscribed(_ *stomp.Session, d string)   { o.all = append(o.all, "+"+d) }
func (o *told) Unsubscribed(_ *stomp.Session, d string) { o.all = append(o.all, "-"+d) }

// The observer of a policy is told of mounts, too, and of nothing that did not
// take effect.
func TestPolicySubscriptions(t *testing.T) {
	o := new(told)
	p := ruled(t, deny(stomp.ActionSubscribe, "/topic/denied"))
	p.Subscriptions = o
	bubble(t, p, func(t *testing.T, w *world) {
		w.SetMounts(mounts{"/app/own": &echoMount{feed: stomp.NewFeed(stomp.FeedConfig{})}})
		c := w.client(t)
		c.Subscribe("1", "/topic/a/*")
		c.Subscribe("2", "/app/own")
		c.Send(frame.Unsubscribe, "", "id:2")
		c.Send(frame.Subscribe, "", "id:3", "destination:/topic/denied")
		c.ExpectError("not permitted")
		if len(o.all) != 3 || o.all[0] != "+/topic/a/*" || o.all[1] != "+/app/own" || o.all[2] != "-/app/own" {
			t.Errorf("told %q", o.all)
		}
	})
}
