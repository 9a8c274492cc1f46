package stomp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPermissions(t *testing.T) {
	mina := &Handshake{User: "mina", Attributes: []Attribute{{Name: "team", Value: "red/*"}, {Name: "empty"}}}
	star := &Handshake{User: "**"}
	nobody := &Handshake{}
	allow := func(a Action, patterns ...string) Rule { return Rule{Allow: true, Action: a, Patterns: patterns} }
	deny := func(a Action, patterns ...string) Rule { return Rule{Action: a, Patterns: patterns} }
	const sub, send = ActionSubscribe, ActionSend
	for _, tt := range []struct {
		name        string
		rules       []Rule
		hs          *Handshake
		action      Action
		destination string
		want        bool
	}{
		{"no rules", nil, nobody, sub, "/topic/**", true},
		{"a rule of another action", []Rule{allow(send, "/topic/a")}, nobody, sub, "/topic/b", true},
		{"allowed", []Rule{allow(sub, "/topic/a")}, nobody, sub, "/topic/a", true},
		{"the rest of an allowed action", []Rule{allow(sub, "/topic/a")}, nobody, sub, "/topic/b", false},
		{"denied", []Rule{deny(sub, "/topic/a")}, nobody, sub, "/topic/a", false},
		{"the rest of a denied action", []Rule{deny(sub, "/topic/a")}, nobody, sub, "/topic/b", true},
		{"the first decides", []Rule{allow(sub, "/topic/a"), deny(sub, "/topic/**")}, nobody, sub, "/topic/a", true},
		{"the first decides, too", []Rule{deny(sub, "/topic/a"), allow(sub, "/topic/**")}, nobody, sub, "/topic/a", false},
		{"a later pattern", []Rule{allow(sub, "/topic/a", "/topic/b/*")}, nobody, sub, "/topic/b/c", true},
		{"a segment is one", []Rule{allow(sub, "/topic/*")}, nobody, sub, "/topic/a/b", false},
		{"the rest may be nothing", []Rule{allow(sub, "/topic/a/**")}, nobody, sub, "/topic/a", true},
		{"a user", []Rule{{Allow: true, Action: sub, Patterns: []string{"/topic/a"}, Users: []string{"mina"}}}, mina, sub, "/topic/a", true},
		{"another user", []Rule{{Allow: true, Action: sub, Patterns: []string{"/topic/a"}, Users: []string{"mina"}}}, star, sub, "/topic/a", false},
		{"an attribute", []Rule{{Allow: true, Action: sub, Patterns: []string{"/topic/a"}, Attribute: "team", Value: "red/*"}}, mina, sub, "/topic/a", true},
		{"no attribute", []Rule{{Allow: true, Action: sub, Patterns: []string{"/topic/a"}, Attribute: "team", Value: "red/*"}}, nobody, sub, "/topic/a", false},
		{"a name", []Rule{allow(sub, "/topic/{stomp.user}/x")}, mina, sub, "/topic/mina/x", true},
		{"somebody else's name", []Rule{allow(sub, "/topic/{stomp.user}/x")}, mina, sub, "/topic/tom/x", false},
		{"inside of a segment", []Rule{allow(sub, "/topic/u-{stomp.user}-x")}, mina, sub, "/topic/u-mina-x", true},
		{"nobody's name", []Rule{allow(sub, "/topic/{stomp.user}/x")}, nobody, sub, "/topic//x", false},
		{"a name that is a wildcard", []Rule{allow(sub, "/topic/{stomp.user}")}, star, sub, "/topic/**", false},
		{"and what it stands for", []Rule{allow(sub, "/topic/{stomp.user}")}, star, sub, "/topic/mina", false},
		{"and how it is written", []Rule{allow(sub, "/topic/{stomp.user}")}, star, sub, "/topic/%2A%2A", true},
		{"a value with a slash", []Rule{allow(sub, "/topic/{stomp.attribute.team}")}, mina, sub, "/topic/red%2F%2A", true},
		{"its segments", []Rule{allow(sub, "/topic/{stomp.attribute.team}")}, mina, sub, "/topic/red/*", false},
		{"an empty value", []Rule{allow(sub, "/topic/{stomp.attribute.empty}")}, mina, sub, "/topic/", false},
		{"a session id", []Rule{allow(sub, "/topic/{stomp.session_id}")}, nobody, sub, "/topic/session-1", true},

		{"a pattern within", []Rule{allow(sub, "/topic/a/**")}, nobody, sub, "/topic/a/*", true},
		{"the same pattern", []Rule{allow(sub, "/topic/a/**")}, nobody, sub, "/topic/a/**", true},
		{"a wider pattern", []Rule{allow(sub, "/topic/a/**")}, nobody, sub, "/topic/**", false},
		{"a pattern over a denial", []Rule{deny(sub, "/topic/private/**")}, nobody, sub, "/topic/**", false},
		{"a pattern beside a denial", []Rule{deny(sub, "/topic/private/**")}, nobody, sub, "/topic/public/**", true},
		{"a segment over a denial", []Rule{deny(sub, "/topic/private")}, nobody, sub, "/topic/*", false},
		{"a segment that is too few for it", []Rule{deny(sub, "/topic/private/x")}, nobody, sub, "/topic/*", true},
		{"nothing may follow either", []Rule{deny(sub, "/topic/a")}, nobody, sub, "/topic/a/**", false},
		{"allowed before it is denied", []Rule{allow(sub, "/topic/**"), deny(sub, "/topic/private")}, nobody, sub, "/topic/*", true},
		{"a pattern over somebody's own", []Rule{allow(sub, "/topic/{stomp.user}/*")}, mina, sub, "/topic/*/x", false},
		{"a pattern over a denied name", []Rule{deny(sub, "/topic/{stomp.user}/*")}, mina, sub, "/topic/*/x", false},
		{"a pattern over nobody's", []Rule{deny(sub, "/topic/{stomp.user}/*")}, nobody, sub, "/topic/*/x", true},

		{"connect", []Rule{{Allow: true, Action: ActionConnect, Users: []string{"mina"}}}, mina, ActionConnect, "", true},
		{"connect as another", []Rule{{Allow: true, Action: ActionConnect, Users: []string{"mina"}}}, nobody, ActionConnect, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPermissions(tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := NewPermissions(tt.rules); !p.same(again) || p.same(nil) {
				t.Error("not the same as itself")
			}
			if got := p.Allows(tt.action, tt.hs, "session-1", tt.destination); got != tt.want {
				t.Errorf("%v", got)
			}
			if n := testing.AllocsPerRun(100, func() { p.Allows(tt.action, tt.hs, "session-1", tt.destination, "/topic/other") }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestPermissionErrors(t *testing.T) {
	for _, pattern := range []string{"topic/a", "/topic/**/a", "/topic/{user}", "/topic/{stomp.user", "/topic/{stomp.attribute.}", "/topic/a/", "/", ""} {
		if _, err := NewPermissions([]Rule{{Action: ActionSend, Patterns: []string{pattern}}}); err == nil {
			t.Errorf("%q is taken", pattern)
		}
	}
	for name, r := range map[string]Rule{
		"no pattern":            {Action: ActionSend},
		"a pattern of connect":  {Action: ActionConnect, Patterns: []string{"/topic/a"}},
		"an empty name":         {Action: ActionConnect, Users: []string{"mina", ""}},
		"an empty value":        {Action: ActionConnect, Attribute: "team"},
		"a value of nothing":    {Action: ActionConnect, Value: "red"},
		"an action that is not": {Action: numActions, Patterns: []string{"/topic/a"}},
	} {
		if _, err := NewPermissions([]Rule{r}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Whatever the rules are, a wildcard that is allowed matches nothing that a
// direct SUBSCRIBE would be denied.
func TestWildcardsDoNotWalkAround(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	words := []string{"a", "b", "mina", "{stomp.user}", "*", "x{stomp.user}"}
	path := func(words []string, rest bool) string {
		var b strings.Builder
		for range 1 + random.IntN(3) {
			b.WriteString("/" + words[random.IntN(len(words))])
		}
		if rest && random.IntN(3) == 0 {
			b.WriteString("/**")
		}
		return b.String()
	}
	allowed := 0
	for range 200_000 {
		var rules []Rule
		for range 1 + random.IntN(4) {
			r := Rule{Allow: random.IntN(2) == 0, Action: ActionSubscribe, Patterns: []string{path(words, true)}}
			if random.IntN(4) == 0 {
				r.Users = []string{"mina"}
			}
			rules = append(rules, r)
		}
		p, err := NewPermissions(rules)
		if err != nil {
			t.Fatal(err)
		}
		hs := &Handshake{User: []string{"", "mina", "*"}[random.IntN(3)]}
		wildcard := path([]string{"a", "b", "mina", "*"}, true)
		direct := path([]string{"a", "b", "mina", "xmina", "c", "%2A"}, false)
		if !Matches(wildcard, direct) || !p.Allows(ActionSubscribe, hs, "", wildcard) {
			continue
		}
		allowed++
		if !p.Allows(ActionSubscribe, hs, "", direct) {
			var text []string
			for _, r := range rules {
				text = append(text, fmt.Sprintf("allow=%v %v %v", r.Allow, r.Patterns, r.Users))
			}
			t.Fatalf("seed %d: %q of %q: %s lets %s through", seed, hs.User, text, wildcard, direct)
		}
	}
	if allowed < 1000 {
		t.Errorf("only %d cases said something", allowed)
	}
}

func TestEncodeSegment(t *testing.T) {
	for value, want := range map[string]string{"": "", "mina": "mina", "a/b": "a%2Fb", "**": "%2A%2A", "ä": "%C3%A4", "a b%": "a%20b%25", "{x}": "%7Bx%7D"} {
		if got := EncodeSegment(value); got != want {
			t.Errorf("%q: %q", value, got)
		}
		if rest, ok := cutEncoded(EncodeSegment(value)+"/x", value); value != "" && (!ok || rest != "/x") {
			t.Errorf("%q is not found again", value)
		}
	}
}
