package stomp

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
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
	for _, pattern := range []string{
		"topic/a", "/topic/**/a", "/topic/{user}", "/topic/{stomp.user", "/topic/{stomp.attribute.}", "/topic/a/", "/", "",
		"/topic/private*", "/topic/*-{stomp.user}", "/topic/{stomp.user}**", "/topic/***",
	} {
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

// Attack: a user called a-b, of the team c, for what is the user a's of the team
// b-c. Two values in one segment are told apart by what no value is written
// with, or else the rule is refused.
func TestValuesAreToldApart(t *testing.T) {
	const user, team, id = "{stomp.user}", "{stomp.attribute.team}", "{stomp.session_id}"
	mallory := func(sep string) (his, hers *Handshake) {
		of := func(user, team string) *Handshake {
			return &Handshake{User: user, Attributes: []Attribute{{Name: "team", Value: team}}}
		}
		return of("a"+sep+"b", "c"), of("a", "b"+sep+"c")
	}
	for _, sep := range []string{"", "-", ".", "_", "~", "x", "7", "--", "%", "%2C", "-%-"} {
		for _, pattern := range []string{user + sep + team, "x," + id + sep + user, user + "," + team + sep + id} {
			if _, err := NewPermissions([]Rule{{Allow: true, Action: ActionSubscribe, Patterns: []string{"/topic/" + pattern}}}); err == nil || !strings.Contains(err.Error(), pattern) {
				t.Errorf("%s: %v", pattern, err)
			}
		}
	}
	for _, sep := range []string{"/", ",", ";", ":", "@", "+", "-,-", "\u00e4", "="} {
		p, err := NewPermissions([]Rule{{Allow: true, Action: ActionSubscribe, Patterns: []string{"/topic/u-" + user + sep + team + "-x"}}})
		if err != nil {
			t.Error(err)
			continue
		}
		his, hers := mallory(sep)
		destination := func(hs *Handshake) string {
			return "/topic/u-" + EncodeSegment(hs.User) + sep + EncodeSegment(hs.Attribute("team")) + "-x"
		}
		for _, d := range []string{destination(hers), "/topic/u-" + hers.User + sep + hers.Attribute("team") + "-x"} {
			if p.Allows(ActionSubscribe, his, "", d) {
				t.Errorf("%s is his, too", d)
			}
		}
		if !p.Allows(ActionSubscribe, hers, "", destination(hers)) {
			t.Errorf("%s is not hers", destination(hers))
		}
	}
}

// What rules say of a destination without wildcards, by regular expressions.
type plainRules struct {
	rules []Rule
	known map[string]*regexp.Regexp
}

func (o *plainRules) allows(hs *Handshake, destination string) bool {
	allowed := true
	for i := range o.rules {
		r := &o.rules[i]
		allowed = allowed && !r.Allow
		if len(r.Users) > 0 && (hs.User == "" || !slices.Contains(r.Users, hs.User)) ||
			r.Attribute != "" && hs.Attribute(r.Attribute) != r.Value {
			continue
		}
		for _, pattern := range r.Patterns {
			if o.expression(pattern, hs).MatchString(destination) {
				return r.Allow
			}
		}
	}
	return allowed
}

func (o *plainRules) expression(pattern string, hs *Handshake) *regexp.Regexp {
	key := pattern + "\x00" + hs.User + "\x00" + hs.Attribute("team")
	if e := o.known[key]; e != nil {
		return e
	}
	text := regexp.QuoteMeta(pattern)
	for name, value := range map[string]string{"{stomp.user}": hs.User, "{stomp.attribute.team}": hs.Attribute("team")} {
		var encoded strings.Builder
		for _, c := range []byte(value) {
			if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz-", rune(c)) {
				encoded.WriteByte(c)
			} else {
				fmt.Fprintf(&encoded, "%%%02X", c)
			}
		}
		if value == "" {
			encoded.WriteString(`[^\x00-\x{10FFFF}]`) // nothing
		}
		text = strings.ReplaceAll(text, regexp.QuoteMeta(name), encoded.String())
	}
	text = regexp.MustCompile(`/\\\*\\\*$`).ReplaceAllLiteralString(text, "(/.*)?")
	text = strings.ReplaceAll(text, `/\*`, "/[^/]*")
	o.known[key] = regexp.MustCompile("^" + text + "$")
	return o.known[key]
}

// Whatever the rules are, a wildcard that is allowed matches nothing that a
// direct SUBSCRIBE would be denied, and that is denied what they say.
func TestWildcardsDoNotWalkAround(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	path := func(words ...string) string {
		var b strings.Builder
		for range 1 + random.IntN(3) {
			b.WriteString("/" + words[random.IntN(len(words))])
		}
		return b.String()
	}
	rest := func(p string) string { return p + []string{"", "", "/**"}[random.IntN(3)] }
	names := []string{"a", "b", "mina", "xmina", "c", "%2A", "mina,a", "b,mina", "%2A%2Fb", "%2A,%2A%2Fb", ""}
	allowed, denied, later := 0, 0, 0
	plain := plainRules{known: make(map[string]*regexp.Regexp)}
	for range 30_000 {
		plain.rules = nil
		for range 1 + random.IntN(4) {
			r := Rule{Allow: random.IntN(2) == 0, Action: ActionSubscribe}
			for range 1 + random.IntN(2) {
				r.Patterns = append(r.Patterns, rest(path("a", "b", "mina", "{stomp.user}", "*", "x{stomp.user}", "{stomp.attribute.team}", "{stomp.user},{stomp.attribute.team}")))
			}
			if random.IntN(4) == 0 {
				r.Users = []string{"mina", "b"}
			}
			if random.IntN(6) == 0 {
				r.Attribute, r.Value = "team", "a"
			}
			plain.rules = append(plain.rules, r)
		}
		p, err := NewPermissions(plain.rules)
		if err != nil {
			t.Fatal(err)
		}
		hs := &Handshake{User: []string{"", "mina", "*", "b"}[random.IntN(4)]}
		if team := []string{"", "a", "mina", "*/b"}[random.IntN(4)]; team != "" {
			hs.Attributes = []Attribute{{Name: "team", Value: team}}
		}
		wildcard := rest(path("a", "b", "mina", "*"))
		var direct strings.Builder // something that it matches
		for segment := range strings.SplitSeq(strings.TrimSuffix(wildcard[1:], "/**"), "/") {
			if segment == "*" {
				segment = path(names...)[1:]
				segment, _, _ = strings.Cut(segment, "/")
			}
			direct.WriteString("/" + segment)
		}
		if strings.HasSuffix(wildcard, "/**") && random.IntN(3) > 0 {
			direct.WriteString(path(names...))
		}
		d, wrong := direct.String(), ""
		may, wide := plain.allows(hs, d), p.Allows(ActionSubscribe, hs, "", wildcard)
		switch {
		case !Matches(wildcard, d):
			wrong = fmt.Sprintf("%s does not match %s", wildcard, d)
		case p.Allows(ActionSubscribe, hs, "", d) != may:
			wrong = fmt.Sprintf("%s is allowed: %t", d, !may)
		case wide && !may:
			wrong = fmt.Sprintf("%s lets %s through", wildcard, d)
		case wide:
			allowed++
			if plain.rules[0].Allow && slices.ContainsFunc(plain.rules, func(r Rule) bool { return !r.Allow }) {
				later++
			}
		case !may:
			denied++
		}
		if wrong != "" {
			t.Fatalf("seed %d: %+v of %+v: %s", seed, plain.rules, hs, wrong)
		}
	}
	t.Logf("%d wildcards allowed, %d of them with a denial behind an allow, %d denied", allowed, later, denied)
	if allowed < 1000 || denied < 1000 || later < 100 {
		t.Errorf("%d, %d of them with a denial behind an allow, and %d say nothing", allowed, later, denied)
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
