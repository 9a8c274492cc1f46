package stomp_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// SEND to a user reaches all sessions of it that have subscribed to their own
// destination, and nobody else.
func TestUserDestinations(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		mina := stomp.Handshake{User: "mina"}
		tab1, tab2 := w.join(t, mina), w.join(t, mina)
		elsewhere, silent := w.join(t, mina), w.join(t, mina)
		otto, nobody := w.join(t, stomp.Handshake{User: "otto"}), w.client(t)
		for _, c := range []*stomptest.Client{tab1, tab2, otto, nobody} {
			c.Subscribe("1", "/user/queue/x")
		}
		elsewhere.Subscribe("1", "/user/queue/y")
		sender := w.client(t)
		sender.Publish("/user/mina/queue/x", "hello", "x:1")
		sender.ExpectNothing()
		for _, c := range []*stomptest.Client{tab1, tab2} {
			f := expectBodies(t, c, "hello")[0]
			if f.Header.Get(frame.HdrDestination) != "/user/queue/x" || f.Header.Get(frame.HdrSubscription) != "1" || f.Header.Get("x") != "1" {
				t.Errorf("got %s", stomptest.Show(f))
			}
		}
		for _, c := range []*stomptest.Client{tab1, tab2, elsewhere, silent, otto, nobody} {
			c.ExpectNothing()
		}
		tab1.Send(frame.Unsubscribe, "", "id:1")
		tab1.ExpectNothing()
		sender.Publish("/user/mina/queue/x", "again")
		sender.ExpectNothing()
		tab1.ExpectNothing()
		expectBodies(t, tab2, "again")
	})
}

// ";session=" reaches one session of the user.
func TestUserSession(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		mina := stomp.Handshake{User: "mina"}
		one, two, otto := w.join(t, mina), w.join(t, mina), w.join(t, stomp.Handshake{User: "otto"})
		for _, c := range []*stomptest.Client{one, two, otto} {
			c.Subscribe("1", "/user/queue/x")
			c.Subscribe("2", "/user/queue/x")
		}
		sender := w.client(t)
		for _, s := range w.Sessions() {
			sender.Publish("/user/mina;session="+s.ID()+"/queue/x", s.ID())
		}
		sender.ExpectNothing()
		got := make(map[string]int)
		for _, c := range []*stomptest.Client{one, two} {
			bodies := bodiesOf(t, c)
			if len(bodies) != 2 || bodies[0] != bodies[1] { // both subscriptions
				t.Errorf("a session got %q", bodies)
				continue
			}
			got[bodies[0]]++
		}
		if len(got) != 2 {
			t.Errorf("messages by session %v", got)
		}
		otto.ExpectNothing() // its id, but not its name
	})
}

// A session that is named, but not told, is not all of them.
func TestUserEmptySession(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.join(t, stomp.Handshake{User: "mina"})
		c.Subscribe("1", "/user/queue/x")
		w.client(t).Publish("/user/mina;session=/queue/x", "x")
		wantBodies(t, "every session", c)
	})
}

// Names with what has a meaning in a destination are percent-encoded.
func TestUserNames(t *testing.T) {
	for _, name := range []string{
		"mina", "a/b", "a;b", "a;session=b", "per%cent", "%2F", "m\u00fcller", "with space", "plus+plus", "..", "*", "**", "a@b.example",
		"CN=x,O=y/z", `back\slash`, "col:on",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.join(t, stomp.Handshake{User: name})
				c.Subscribe("1", "/user/queue/x")
				c.Publish("/user/"+url.PathEscape(name)+"/queue/x", "x")
				expectBodies(t, c, "x")
				if !strings.ContainsAny(name, "/%") && !strings.Contains(name, ";session=") { // need not be encoded
					c.Publish("/user/"+name+"/queue/x", "y")
					expectBodies(t, c, "y")
				}
				id := w.Sessions()[0].ID()
				c.Publish("/user/"+url.PathEscape(name)+";session="+id+"/queue/x", "z")
				expectBodies(t, c, "z")
				c.ExpectNothing()
			})
		})
	}
}

// An anonymous session is known by its id; nobody can pose as its user.
func TestUserAnonymous(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		a, b := w.client(t), w.client(t)
		for _, c := range []*stomptest.Client{a, b} {
			c.Subscribe("1", "/user/queue/x")
		}
		for _, s := range w.Sessions() {
			b.Publish("/user/"+s.ID()+"/queue/x", s.ID())
		}
		one, two := bodiesOf(t, a), bodiesOf(t, b)
		if len(one) != 1 || len(two) != 1 || one[0] == two[0] {
			t.Errorf("got %q and %q", one, two)
		}
	})
}

// A user destination is no topic: nobody reads it by its name.
func TestUserIsPrivate(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		mina, spy := w.join(t, stomp.Handshake{User: "mina"}), w.client(t)
		mina.Subscribe("1", "/user/queue/x")
		for _, d := range []string{"/user/mina/queue/x", "/topic/mina/**", "/topic/*/queue/x", "/queue/x"} {
			spy.Subscribe(d, d)
		}
		mina.Publish("/user/mina/queue/x", "secret")
		expectBodies(t, mina, "secret")
		spy.ExpectNothing()
	})
}

func TestUserRefused(t *testing.T) {
	for _, d := range []string{"/user/mina", "/user/", "/user/mina/", "/user//queue/x", "/user/%zz/queue/x", "/user/%2/queue/x"} {
		t.Run(d, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t)
				c.Publish(d, "x")
				c.ExpectError("user")
			})
		})
	}
}

// Nobody of that name, or no such session: nothing happens.
func TestUserNobody(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		c.Publish("/user/nobody/queue/x", "x")
		c.Publish("/user/nobody;session=12345678/queue/x", "x", "receipt:1")
		c.Expect(frame.Receipt, "receipt-id:1")
		c.ExpectNothing()
	})
}

// Attack: an anonymous client whose SockJS URL makes its session id the name of
// a user, to read what is sent to him.
func TestUserNameAsSessionID(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		admin, thief := w.join(t, stomp.Handshake{User: "administrator"}), w.join(t, stomp.Handshake{SessionID: "administrator"})
		admin.Subscribe("1", "/user/queue/secrets")
		thief.Subscribe("1", "/user/queue/secrets")
		sender := w.client(t)
		sender.Publish("/user/administrator/queue/secrets", "secret")
		expectBodies(t, admin, "secret")
		thief.ExpectNothing()
		// nor while he is away
		admin.Close(1000)
		sender.Publish("/user/administrator/queue/secrets", "secret")
		thief.ExpectNothing()
		// its own it can be sent by its session
		sender.Publish("/user/administrator;session=administrator/queue/secrets", "for you")
		expectBodies(t, thief, "for you")
	})
}
