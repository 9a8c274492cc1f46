package stomp_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

func allow(a stomp.Action, patterns ...string) stomp.Rule {
	return stomp.Rule{Allow: true, Action: a, Patterns: patterns}
}

func deny(a stomp.Action, patterns ...string) stomp.Rule {
	return stomp.Rule{Action: a, Patterns: patterns}
}

func permissions(t testing.TB, rules ...stomp.Rule) *stomp.Permissions {
	t.Helper()
	p, err := stomp.NewPermissions(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ruled is a policy with rules.
func ruled(t testing.TB, rules ...stomp.Rule) stomp.Policy {
	t.Helper()
	return stomp.Policy{Permissions: permissions(t, rules...)}
}

// carrier is a mount that carries what /topic/private does, too.
type carrier struct{ echoMount }

func (*carrier) Carries(*stomp.Session) []string { return []string{"/topic/private/x"} }

// Each is a way around a rule that is shut, or one that is open on purpose.
func TestRulesAreAsked(t *testing.T) {
	const (
		connect   = stomp.ActionConnect
		subscribe = stomp.ActionSubscribe
		send      = stomp.ActionSend
		register  = stomp.ActionRegister
	)
	sub := func(destination string) []*frame.Frame {
		return []*frame.Frame{stomptest.Frame(frame.Subscribe, "", "id:1", "destination:"+destination, "receipt:r")}
	}
	to := func(destination string) []*frame.Frame {
		return []*frame.Frame{stomptest.Frame(frame.Send, "x", "destination:"+destination, "receipt:r")}
	}
	for _, tt := range []struct {
		name    string
		rules   []stomp.Rule
		frames  []*frame.Frame
		refused string // "": it is not
	}{
		{"a topic", []stomp.Rule{deny(subscribe, "/topic/a")}, sub("/topic/a"), `/topic/a\" is not permitted`},
		{"another topic", []stomp.Rule{deny(subscribe, "/topic/a")}, sub("/topic/b"), ""},
		{"a queue", []stomp.Rule{deny(subscribe, "/queue/**")}, sub("/queue/a"), "not permitted"},
		{"a wildcard over it", []stomp.Rule{deny(subscribe, "/topic/a")}, sub("/topic/*"), "not permitted"},
		{"one's own destination", []stomp.Rule{deny(subscribe, "/user/queue/a")}, sub("/user/queue/a"), "not permitted"},
		{"a mount", []stomp.Rule{deny(subscribe, "/app/feed")}, sub("/app/feed"), "not permitted"},
		{"a mount with a slash behind it", []stomp.Rule{deny(subscribe, "/app/feed")}, sub("/app/feed/"), `/app/feed\" is not permitted`},
		{"what a mount carries", []stomp.Rule{deny(subscribe, "/topic/private/**")}, sub("/app/carrier"), "not permitted"},
		{"a mount that is allowed before what it carries is denied", []stomp.Rule{
			allow(subscribe, "/app/carrier"), deny(subscribe, "/topic/private/**"),
		}, sub("/app/carrier"), ""},
		{"a mount of which what it carries is allowed only", []stomp.Rule{allow(subscribe, "/topic/private/x")}, sub("/app/carrier"), "not permitted"},

		{"SEND to a topic", []stomp.Rule{deny(send, "/topic/a")}, to("/topic/a"), "message:send: "},
		{"SEND to a queue", []stomp.Rule{allow(send, "/topic/**")}, to("/queue/a"), "not permitted"},
		{"SEND to a mount", []stomp.Rule{deny(register, "/app/feed")}, to("/app/feed"), "message:register: "},
		{"SEND to a mount with a slash behind it", []stomp.Rule{deny(register, "/app/feed")}, to("/app/feed/"), "not permitted"},
		{"SEND to a mount is not to send", []stomp.Rule{deny(send, "/**")}, to("/app/feed"), ""},

		{"SEND to a user", []stomp.Rule{deny(send, "/user/mina/**")}, to("/user/mina/queue/a"), "not permitted"},
		{"to another", []stomp.Rule{deny(send, "/user/mina/**")}, to("/user/tom/queue/a"), ""},
		{"to the same, in other letters", []stomp.Rule{deny(send, "/user/mina/**")}, to("/user/%6Dina/queue/a"), `/user/mina/queue/a\" is not permitted`},
		{"to one of his sessions", []stomp.Rule{deny(send, "/user/mina/**")}, to("/user/mina;session=abcdefgh/queue/a"), "not permitted"},
		{"to both", []stomp.Rule{deny(send, "/user/mina/**")}, to("/user/min%61;session=abcdefgh/queue/a"), "not permitted"},
		{"to a name that need not be encoded", []stomp.Rule{deny(send, "/user/m@x.example/**")}, to("/user/m%40x.example/queue/a"), "not permitted"},
		{"to one that is", []stomp.Rule{deny(send, "/user/m%40x.example/**")}, to("/user/m@x.example/queue/a"), "not permitted"},
		{"to one of the same length", []stomp.Rule{deny(send, "/user/m%40/**")}, to("/user/%6D@/queue/a"), "not permitted"},
		{"to one in small letters", []stomp.Rule{deny(send, "/user/%2A/**")}, to("/user/%2a/queue/a"), "not permitted"},
		{"a name as it is allowed", []stomp.Rule{allow(send, "/user/m%40x.example/**")}, to("/user/m@x.example/queue/a"), ""},
		{"a name that is somebody's segments", []stomp.Rule{allow(send, "/user/*/queue/a")}, to("/user/a%2Fqueue/queue/a"), ""},
		{"one's own name", []stomp.Rule{allow(send, "/user/{stomp.user}/**")}, to("/user/otto/queue/a"), ""},
		{"not one's own name", []stomp.Rule{allow(send, "/user/{stomp.user}/**")}, to("/user/mina/queue/a"), "not permitted"},

		{"in a transaction", []stomp.Rule{deny(send, "/topic/a")}, []*frame.Frame{
			stomptest.Frame(frame.Begin, "", "transaction:t"),
			stomptest.Frame(frame.Send, "x", "destination:/topic/a", "transaction:t", "receipt:r"),
		}, "not permitted"},
		{"nobody who was not asked is replied to", nil, to("/reply-queue/abc"), ""},
		{"to make oneself heard at a reply queue is not to be denied", []stomp.Rule{allow(send, "/topic/**")}, to("/reply-queue/abc"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, ruled(t, tt.rules...), func(t *testing.T, w *world) {
				feed := stomp.NewFeed(stomp.FeedConfig{})
				w.SetMounts(mounts{"/app/feed": &echoMount{feed: feed}, "/app/carrier": &carrier{echoMount{feed: feed}}})
				c := w.join(t, stomp.Handshake{User: "otto"})
				for _, f := range tt.frames {
					c.Raw(string(frame.Append(nil, frame.V12, f)))
				}
				if tt.refused == "" {
					c.Expect(frame.Receipt)
					return
				}
				f, closing := c.ExpectError(tt.refused)
				if closing.Code != 1008 || f.Header.Get("receipt-id") != "r" {
					t.Errorf("%s, closed with %v", stomptest.Show(f), closing)
				}
			})
		})
	}
	t.Run("CONNECT", func(t *testing.T) {
		p := ruled(t, stomp.Rule{Allow: true, Action: connect, Users: []string{"mina"}})
		bubble(t, p, func(t *testing.T, w *world) {
			w.join(t, stomp.Handshake{User: "mina"})
			// an id that a client chose is no name
			c, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{SessionID: "mina-mina"})
			c.Send(frame.Connect, "", "accept-version:1.2", "host:x")
			c.ExpectError("not permitted")
		})
	})
}

// What was held while it was allowed is not performed when it no longer is, and
// nothing of its transaction is.
func TestRulesAtCommit(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		reader, c := w.client(t), w.client(t)
		reader.Subscribe("1", "/topic/a")
		c.Send(frame.Begin, "", "transaction:t")
		c.Publish("/topic/a", "a", "transaction:t")
		c.Publish("/topic/b", "b", "transaction:t")
		c.ExpectNothing()
		w.endpoint.SetPolicy(ruled(t, deny(stomp.ActionSend, "/topic/b")))
		c.Send(frame.Commit, "", "transaction:t")
		c.ExpectError(`/topic/b\" is not permitted`)
		reader.ExpectNothing()
	})
}

// A policy that is tightened ends the sessions that have what they may no
// longer have, and no others.
func TestSetPolicyEndsWhatIsNoLongerPermitted(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		feed := stomp.NewFeed(stomp.FeedConfig{})
		w.SetMounts(mounts{"/app/carrier": &carrier{echoMount{feed: feed}}})
		direct, wild, carried, beside, other := w.client(t), w.client(t), w.client(t), w.client(t), w.join(t, stomp.Handshake{User: "tom"})
		direct.Subscribe("1", "/topic/private/a")
		wild.Subscribe("1", "/topic/*/a")
		carried.Subscribe("1", "/app/carrier")
		beside.Subscribe("1", "/topic/public/**")
		w.endpoint.SetPolicy(ruled(t, deny(stomp.ActionSubscribe, "/topic/private/**")))
		for _, c := range []*stomptest.Client{direct, wild, carried} {
			if _, closing := c.ExpectError("not permitted"); closing.Code != 1008 {
				t.Errorf("closed with %v", closing)
			}
		}
		beside.ExpectNothing()
		other.ExpectNothing()
		w.endpoint.SetPolicy(ruled(t, stomp.Rule{Action: stomp.ActionConnect, Users: []string{"tom"}}))
		other.ExpectError("not permitted")
		beside.ExpectNothing()
		// what is not looser but as tight, is not looked at again
		w.endpoint.SetPolicy(stomp.Policy{})
		beside.ExpectNothing()
	})
}

// However a SUBSCRIBE or a CONNECT and a policy that denies it fall together,
// nobody is left who has what he may not.
func TestSetPolicyAgainstSubscribe(t *testing.T) {
	for name, tt := range map[string]struct {
		rule stomp.Rule
		act  func(c *stomptest.Client)
	}{
		"SUBSCRIBE": {deny(stomp.ActionSubscribe, "/topic/a"), func(c *stomptest.Client) {
			c.Send(frame.Connect, "", "accept-version:1.2", "host:x")
			c.Send(frame.Subscribe, "", "id:1", "destination:/topic/a")
		}},
		"CONNECT": {stomp.Rule{Action: stomp.ActionConnect}, func(c *stomptest.Client) {
			c.Send(frame.Connect, "", "accept-version:1.2", "host:x")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tight := ruled(t, tt.rule)
			for range 200 {
				w := newWorld(stomp.Policy{})
				c, _ := stomptest.Dial(t, w.endpoint, nil)
				var all sync.WaitGroup
				all.Go(func() { tt.act(c) })
				all.Go(func() { w.endpoint.SetPolicy(tight) })
				all.Wait()
				for {
					if f := c.Receive(); f.Command == frame.Error {
						break
					}
				}
				c.ExpectClose(1008)
			}
		})
	}
}

// A policy that is tightened while a client is just being admitted counts: it is
// no session yet that could be looked at again.
func TestSetPolicyWhileBeingAdmitted(t *testing.T) {
	p := stomp.DefaultPolicy()
	var w *world
	p.Admit = func(*stomp.Handshake, *frame.Frame) error {
		w.endpoint.SetPolicy(ruled(t, stomp.Rule{Action: stomp.ActionConnect}))
		return nil
	}
	bubble(t, p, func(t *testing.T, world *world) {
		w = world
		c, _ := w.dial(t)
		c.Send(frame.Connect, "", "accept-version:1.2", "host:x")
		c.ExpectError("not permitted")
		if n := len(w.Sessions()) + w.endpoint.Sessions(); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

// For random rules, no message that a direct SUBSCRIBE would be denied arrives
// through a wildcard.
func TestNoMessageWalksAroundRules(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	path := func(words ...string) string {
		p := "/topic"
		for range 1 + random.IntN(3) {
			p += "/" + words[random.IntN(len(words))]
		}
		return p
	}
	rest := func(p string) string { return p + []string{"", "/**"}[random.IntN(2)] }
	arrived, kept := 0, 0
	for range 3000 {
		var rules []stomp.Rule
		for range 1 + random.IntN(4) {
			r := stomp.Rule{Allow: random.IntN(2) == 0, Action: stomp.ActionSubscribe}
			r.Patterns = []string{rest(path("a", "b", "mina", "{stomp.user}", "*"))}
			if random.IntN(4) == 0 {
				r.Users = []string{"mina"}
			}
			rules = append(rules, r)
		}
		p := permissions(t, rules...)
		w := newWorld(stomp.Policy{Permissions: p})
		sender := w.client(t)
		name := []string{"", "mina", "*"}[random.IntN(3)]
		wildcard := rest(path("a", "b", "mina", "*"))
		c := w.join(t, stomp.Handshake{User: name})
		c.Send(frame.Subscribe, "", "id:1", "destination:"+wildcard, "receipt:1")
		if c.Receive().Command == frame.Error {
			c.Abort()
			sender.Abort()
			kept++
			continue
		}
		for range 20 {
			sender.Publish(path("a", "b", "mina", "c", "%2A"), "x")
		}
		sender.ExpectNothing()
		for _, f := range c.Sync() {
			arrived++
			if d := f.Header.Get("destination"); !p.Allows(stomp.ActionSubscribe, &stomp.Handshake{User: name}, "", d) {
				var text []string
				for _, r := range rules {
					text = append(text, fmt.Sprintf("allow=%v %v %v", r.Allow, r.Patterns, r.Users))
				}
				t.Fatalf("seed %d: %s of %q lets %s through in spite of %s", seed, wildcard, name, d, strings.Join(text, "; "))
			}
		}
		c.Abort()
		sender.Abort()
	}
	if arrived < 500 || kept < 500 {
		t.Errorf("%d messages and %d refusals say nothing", arrived, kept)
	}
}
