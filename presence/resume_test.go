package presence

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Only a token that is right in every way resumes; with any other a client is
// welcome as somebody new.
func TestResumeToken(t *testing.T) {
	team := func(name string) []stomp.Attribute { return []stomp.Attribute{{Name: "team", Value: name}} }
	red := stomp.Handshake{User: "mina", Attributes: team("red")}
	other := func(t *testing.T, change func(v *View, key []byte)) func(s *server, token string) string {
		return func(s *server, _ string) string {
			v, key := *s.registry.Get("mina-0001"), slices.Clone(s.registry.key)
			change(&v, key)
			return token(key, &v)
		}
	}
	same := func(_ *server, token string) string { return token }
	for _, tt := range []struct {
		name     string
		hs       stomp.Handshake
		token    func(s *server, token string) string
		wait     time.Duration
		settings Settings
		resumed  bool
	}{
		{"right", red, same, 0, Settings{}, true},
		{"right, at the last moment", red, same, grace - 300*time.Millisecond, Settings{}, true},
		{"expired", red, same, grace + time.Millisecond, Settings{}, false},
		{"another user's", stomp.Handshake{User: "zoe", Attributes: team("red")}, same, 0, Settings{}, false},
		{"a user's, without a user", stomp.Handshake{Attributes: team("red")}, same, 0, Settings{}, false},
		{"another announce scope", stomp.Handshake{User: "mina", Attributes: team("blue")}, same, 0, Settings{Announce: "/topic/teams/{stomp.attribute.team}"}, false},
		{"the same announce scope", red, same, 0, Settings{Announce: "/topic/teams/{stomp.attribute.team}"}, true},
		{"an equal id, no token", stomp.Handshake{User: "mina", SessionID: "mina-0001"}, func(*server, string) string { return "" }, 0, Settings{}, false},
		{"an equal id, a bad token", stomp.Handshake{User: "mina", SessionID: "mina-0001"}, func(*server, string) string { return "mina-0001.1.0.AAAAAAAAAAAAAAAAAAAAAA" }, 0, Settings{}, false},
		{"empty", red, func(*server, string) string { return "" }, 0, Settings{}, false},
		{"dots", red, func(*server, string) string { return "..." }, 0, Settings{}, false},
		{"no dot", red, func(*server, string) string { return "mina-0001" }, 0, Settings{}, false},
		{"cut", red, func(_ *server, token string) string { return token[:len(token)-1] }, 0, Settings{}, false},
		{"longer", red, func(_ *server, token string) string { return token + "A" }, 0, Settings{}, false},
		{"another session's id", red, func(_ *server, token string) string { return strings.Replace(token, "mina-0001", "mina-0002", 1) }, 0, Settings{}, false},
		{"another epoch", red, func(_ *server, token string) string { return strings.Replace(token, ".1.", ".2.", 1) }, 0, Settings{}, false},
		{"of another stream", red, other(t, func(_ *View, key []byte) { key[0] ^= 1 }), 0, Settings{}, false},
		{"of an earlier session with that id", red, other(t, func(v *View, _ []byte) { v.ConnectedAt = v.ConnectedAt.Add(-time.Hour) }), 0, Settings{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.settings.Grace = grace
			inBubbleWith(t, tt.settings, func(t *testing.T, s *server) {
				hs := red
				hs.SessionID = "mina-0001"
				c := s.connectAs(t, hs)
				given := tt.token(s, c.token(t))
				c.hangUp(1006)
				time.Sleep(tt.wait)
				back := s.comeBack(t, tt.hs, given)
				settle()
				if resumed := back.session.ID() == "mina-0001"; resumed != tt.resumed {
					t.Errorf("the session id is %s", back.session.ID())
				}
				if got := back.refusal(t); got != "" {
					t.Errorf("ERROR: %s", got)
				}
				if got := back.token(t); got == "" {
					t.Error("no token")
				}
				time.Sleep(2 * grace)
				settle()
				if v := s.registry.Get("mina-0001"); (v != nil) != tt.resumed {
					t.Errorf("the registry has %+v", v)
				}
				if v := s.registry.Get(back.session.ID()); v == nil || v.Unreachable {
					t.Errorf("of the new connection the registry has %+v", v)
				}
			})
		})
	}
}

// A token is good for one use, whoever comes first.
func TestTokenIsUsedUp(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		token := c.token(t)
		c.hangUp(1006)
		var everybody sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			everybody.Go(func() { ids[i] = s.comeBack(t, stomp.Handshake{}, token).session.ID() })
		}
		everybody.Wait()
		resumed := 0
		for _, id := range ids {
			if id == "mina-0001" {
				resumed++
			}
		}
		if resumed != 1 {
			t.Errorf("%d of 8 resumed: %v", resumed, ids)
		}
		wantTypes(t, "listener", s.told.types("mina-0001"), Connected, Joined, Unreachable, Returned)
	})
}

// Where nothing outlives its connection there is no token.
func TestNoTokenWithoutGrace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		if got := s.connect(t, "mina-0001").token(t); got != "" {
			t.Errorf("token %q", got)
		}
	})
}

// A CONNECT that is refused after its token was taken leaves the token good.
func TestResumeRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		lost   bool
	}{
		{"bad client data, unreachable", []string{stomp.ClientDataHeader, `{`}, true},
		{"bad client data, connected", []string{stomp.ClientDataHeader, `{`}, false},
		{"bad will, unreachable", []string{willDestinationHeader, announceAt}, true},
		{"bad will, connected", []string{willDestinationHeader, announceAt}, false},
		{"too many, unreachable", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
				c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
				token := c.token(t)
				if tt.lost {
					c.hangUp(1006)
				}
				if tt.header == nil {
					s.connectAs(t, stomp.Handshake{})
					p := testPolicy()
					p.Limits.Sessions = 1
					s.endpoint.SetPolicy(p)
				}
				refused := s.dial(t, stomp.Handshake{})
				if err := refused.connect(append([]string{ResumeTokenHeader, token}, tt.header...)...); err == nil {
					t.Fatal("not refused")
				}
				s.endpoint.SetPolicy(testPolicy())
				time.Sleep(time.Second)
				if back := s.comeBack(t, stomp.Handshake{}, token); back.session.ID() != "mina-0001" {
					t.Errorf("came back as %s", back.session.ID())
				}
				time.Sleep(2 * grace)
				if types := s.told.types("mina-0001"); types[len(types)-1] != Returned {
					t.Errorf("told %v", types)
				}
			})
		})
	}
}

// A client whose token has expired may ask for the same id again, and is
// somebody new.
func TestExpiredTokenWithTheSameID(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		token := c.token(t)
		c.hangUp(1006)
		time.Sleep(2 * grace)
		s.registry.SetListener(nil)
		for range 10_000 { // the id is not a recent one any more
			s.connectAs(t, stomp.Handshake{}).hangUp(1000)
		}
		s.registry.SetListener(s.told)
		back := s.comeBack(t, stomp.Handshake{SessionID: "mina-0001"}, token, stomp.ClientDataHeader, `2`)
		settle()
		if back.session.ID() != "mina-0001" || back.refusal(t) != "" || s.clientData("mina-0001") != `2` {
			t.Errorf("id %s, ERROR %q, client data %s", back.session.ID(), back.refusal(t), s.clientData("mina-0001"))
		}
		// and the token of its namesake is of no use against it
		if thief := s.comeBack(t, stomp.Handshake{}, token); thief.session.ID() == "mina-0001" {
			t.Error("a token of an earlier session resumed a later one")
		}
	})
}
