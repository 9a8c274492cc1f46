package presence

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// rule puts rules in force, beside the policy of tests.
func (s *server) rule(t testing.TB, rules ...stomp.Rule) {
	t.Helper()
	permissions, err := stomp.NewPermissions(rules)
	if err != nil {
		t.Fatal(err)
	}
	p := testPolicy()
	p.Permissions = permissions
	s.endpoint.SetPolicy(p)
}

func deny(a stomp.Action, patterns ...string) stomp.Rule {
	return stomp.Rule{Action: a, Patterns: patterns}
}

func allow(a stomp.Action, patterns ...string) stomp.Rule {
	return stomp.Rule{Allow: true, Action: a, Patterns: patterns}
}

// Whatever name the same has, who is denied it does not get it by another.
func TestRulesOfPresence(t *testing.T) {
	const subscribe = stomp.ActionSubscribe
	for _, tt := range []struct {
		name        string
		rule        stomp.Rule
		destination string
		allowed     bool
	}{
		{"the changes", deny(subscribe, announceAt), announceAt, false},
		{"the changes, with a slash", deny(subscribe, announceAt), announceAt + "/", false},
		{"the changes by a wildcard", deny(subscribe, announceAt), "/topic/*", false},
		{"the changes behind the roster", deny(subscribe, announceAt), registerAt, false},
		{"the roster", deny(subscribe, registerAt), registerAt, false},
		{"the changes without the roster", deny(subscribe, registerAt), announceAt, true},
		{"a room", deny(subscribe, "/topic/rooms/a"), "/topic/rooms/a", false},
		{"who comes into it", deny(subscribe, "/topic/rooms/a"), "/topic/rooms/a/presence", false},
		{"who is in it", deny(subscribe, "/topic/rooms/a"), registerAt + "/topic/rooms/a", false},
		{"who is in it, with a slash", deny(subscribe, "/topic/rooms/a"), registerAt + "/topic/rooms/a/", false},
		{"its changes behind its roster", deny(subscribe, "/topic/rooms/a/presence"), registerAt + "/topic/rooms/a", false},
		{"another room", deny(subscribe, "/topic/rooms/a"), registerAt + "/topic/rooms/b", true},
		{"the roster of all rooms", deny(subscribe, "/topic/x"), registerAt + "/topic/rooms/*", false},
		{"the changes of all rooms", deny(subscribe, "/topic/x"), "/topic/rooms/*/presence", true}, // an empty topic
		{"only what is allowed", allow(subscribe, "/topic/**"), registerAt, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				s.configure(t, Settings{Rooms: []string{"/topic/rooms/*"}})
				s.rule(t, tt.rule)
				c := s.connect(t, "session-1")
				if err := c.subscribe(tt.destination, "1"); (err == nil) != tt.allowed {
					t.Errorf("SUBSCRIBE %s: %v", tt.destination, err)
				}
			})
		})
	}
}

// Law 9: no rule allows what nobody may.
func TestRulesAllowNoForgery(t *testing.T) {
	for destination, body := range map[string]string{
		announceAt:                `[]`,
		announceAt + "/":          `[]`,
		"/topic/rooms/a/presence": `[]`,
		registerAt:                `{"sessionId":"session-2","clientData":1}`,
	} {
		inBubble(t, func(t *testing.T, s *server) {
			s.configure(t, Settings{Rooms: []string{"/topic/rooms/*"}})
			s.rule(t, allow(stomp.ActionSend, "/**"), allow(stomp.ActionRegister, "/**"), allow(stomp.ActionSubscribe, "/**"))
			s.connect(t, "session-2")
			c := s.connect(t, "session-1")
			if err := c.send(frame.Send, body, frame.HdrDestination, destination); err == nil {
				t.Errorf("%s: a forgery", destination)
			}
		})
	}
}

// A wildcard reads many rooms, and is in none of them.
func TestWildcardIsNoRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, Settings{Rooms: []string{"/topic/rooms/*"}})
		c := s.connect(t, "session-1", stomp.ClientDataHeader, "1")
		if err := c.subscribe("/topic/rooms/*", "1"); err != nil {
			t.Fatal(err)
		}
		settle()
		for _, change := range s.told.all() {
			if change.Room != "" {
				t.Errorf("%v in %s", change.Type, change.Room)
			}
		}
	})
}

// A will is a SEND of its session: it is asked for when it is made, and again
// when it is carried out.
func TestRulesOfWills(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.rule(t, deny(stomp.ActionSend, "/topic/denied", "/user/mina/**"))
		for _, destination := range []string{"/topic/denied", "/user/%6Dina/queue/x", announceAt, registerAt} {
			c := s.dial(t, stomp.Handshake{})
			if err := c.connect(willDestinationHeader, destination, willBodyHeader, "x"); err == nil {
				t.Errorf("a will for %s", destination)
			}
		}
		reader := s.connect(t, "session-r")
		if err := reader.subscribe("/topic/wills", "1"); err != nil {
			t.Fatal(err)
		}
		first := s.connect(t, "session-1", willDestinationHeader, "/topic/wills", willBodyHeader, "the first")
		second := s.connect(t, "session-2", willDestinationHeader, "/topic/wills", willBodyHeader, "the second")
		first.hangUp(1006)
		settle()
		s.rule(t, deny(stomp.ActionSend, "/topic/wills"))
		second.hangUp(1006)
		settle()
		var got string
		reader.mu.Lock()
		for _, m := range reader.got {
			got += string(m.Data)
		}
		reader.mu.Unlock()
		if !strings.Contains(got, "the first") || strings.Contains(got, "the second") {
			t.Errorf("got %q", got)
		}
	})
}

// A will that outlives its process is asked for too, by the rules of then; and
// so it is if its session was left just before, and nobody was told.
func TestRulesOfWillsAfterACrash(t *testing.T) {
	onComputer(t, Settings{RecoveryGrace: recovery}, func(t *testing.T, c *computer) {
		for name, user := range map[string]string{"allowed1": "mina", "denied01": "omar"} {
			for after, delay := range map[string]string{"delayed": "5", "at-the-end": "3600"} {
				c.connectAs(t, stomp.Handshake{SessionID: name + after, User: user},
					willDestinationHeader, "/topic/wills", willBodyHeader, name+" "+after, willDelayHeader, delay)
			}
		}
		settle()
		c.crash()
		c.boot(t)
		c.rule(t, stomp.Rule{Action: stomp.ActionSend, Patterns: []string{"/topic/wills"}, Users: []string{"omar"}})
		heir := c.peer(t, "/topic/wills")
		time.Sleep(time.Hour)
		settle()
		var got []string
		for _, body := range heir.bodies(t, "a") {
			got = append(got, string(body))
		}
		slices.Sort(got)
		wantStrings(t, "wills", got, "allowed1 at-the-end", "allowed1 delayed")
	})
}

// A session that comes back is asked again: what it had is no right to have it.
func TestRulesOfResumedSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, Settings{Grace: time.Minute, Rooms: []string{"/topic/rooms/*"}})
		c := s.connect(t, "session-1", stomp.ClientDataHeader, "1")
		if err := c.subscribe("/topic/rooms/a", "1"); err != nil {
			t.Fatal(err)
		}
		given := token(s.registry.key, s.registry.Get("session-1"))
		c.hangUp(1006)
		settle()
		s.rule(t, deny(stomp.ActionSubscribe, "/topic/rooms/**"))
		again := s.dial(t, stomp.Handshake{})
		if err := again.connect(ResumeTokenHeader, given); err != nil || again.session.ID() != "session-1" {
			t.Fatalf("%q: %v", again.session.ID(), err)
		}
		if err := again.subscribe("/topic/rooms/a", "1"); err == nil {
			t.Error("into the room again")
		}
	})
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, Settings{Grace: time.Minute})
		c := s.connectAs(t, stomp.Handshake{SessionID: "session-1", User: "mina"})
		given := token(s.registry.key, s.registry.Get("session-1"))
		s.rule(t, stomp.Rule{Action: stomp.ActionConnect, Users: []string{"mina"}})
		settle()
		_ = c
		again := s.dial(t, stomp.Handshake{User: "mina"})
		if err := again.connect(ResumeTokenHeader, given); err == nil {
			t.Error("resumed by a user who may not connect")
		}
	})
}

// One way to write a value into a destination, which a page can compute:
// encodeURIComponent, and then !'()* too.
func TestAnnounceEncodesAsPagesDo(t *testing.T) {
	for name, want := range map[string]string{
		"mina": "mina", "m@x.example": "m%40x.example", "a/b": "a%2Fb", "**": "%2A%2A", "it's (me)!": "it%27s%20%28me%29%21", "a+b&c=d:e,$;": "a%2Bb%26c%3Dd%3Ae%2C%24%3B", "é": "%C3%A9",
	} {
		inBubble(t, func(t *testing.T, s *server) {
			s.configure(t, Settings{Announce: "/topic/of/{stomp.user}"})
			s.rule(t, allow(stomp.ActionSubscribe, "/topic/of/{stomp.user}"))
			c := s.connectAs(t, stomp.Handshake{User: name})
			if err := c.subscribe("/topic/of/"+want, "1"); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		})
	}
}
