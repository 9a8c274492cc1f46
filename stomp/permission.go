package stomp

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Action is what a client asks for with a destination.
type Action uint8

// The actions that rules are about.
const (
	ActionConnect Action = iota
	ActionSubscribe
	ActionSend
	// ActionRegister is SEND to a destination of the server's own, such as
	// that of client data.
	ActionRegister

	numActions
)

var actionNames = [numActions]string{"connect", "subscribe", "send", "register"}

// String is the action's name in a configuration.
func (a Action) String() string { return actionNames[a] }

// ParseAction takes the names of actions.
func ParseAction(name string) (Action, error) {
	if i := slices.Index(actionNames[:], name); i >= 0 {
		return Action(i), nil
	}
	return 0, fmt.Errorf("expected one of %s, not %q", strings.Join(actionNames[:], ", "), name)
}

// Rule allows or denies an action to some clients.
type Rule struct {
	Allow  bool
	Action Action
	// Patterns are destinations, with wildcards as in SUBSCRIBE and the
	// placeholders {stomp.user}, {stomp.session_id} and
	// {stomp.attribute.<name>}. Their values are percent-encoded, so that they
	// are always one segment and no wildcard; without a value nothing
	// matches. A destination of the server's own comes without a trailing
	// slash, one of a user with the name percent-encoded and without a
	// session. Connect has none.
	Patterns []string
	// Users are those that the rule is about. Default: all.
	Users []string
	// Attribute and Value, which is not empty, are what a client must have for
	// the rule to be about it. Default: nothing.
	Attribute, Value string
}

// Permissions are rules in order: the first that matches decides. Once an
// action has a rule that allows, all else of that action is denied; otherwise
// all else is allowed. Nil allows everything.
type Permissions struct {
	source []Rule
	rules  [numActions][]rule
	deny   [numActions]bool // what no rule matches
}

// rule is one pattern of a Rule.
type rule struct {
	*Rule
	segments []segment // nil: any destination
}

// segment is what lies between two slashes of a pattern.
type segment struct {
	wild  string // "*" or "**"
	parts []segmentPart
}

type segmentPart struct {
	literal string
	value   func(hs *Handshake, id string) string // of a placeholder
}

// NewPermissions compiles rules.
func NewPermissions(rules []Rule) (*Permissions, error) {
	p := &Permissions{source: slices.Clone(rules)}
	for i := range p.source {
		r := &p.source[i]
		if err := r.validate(); err != nil {
			return nil, err
		}
		if r.Allow {
			p.deny[r.Action] = true
		}
		if r.Action == ActionConnect {
			p.rules[r.Action] = append(p.rules[r.Action], rule{Rule: r})
		}
		for _, pattern := range r.Patterns {
			segments, err := parsePattern(pattern)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Action, err)
			}
			p.rules[r.Action] = append(p.rules[r.Action], rule{r, segments})
		}
	}
	return p, nil
}

func (r *Rule) validate() error {
	switch {
	case r.Action >= numActions:
		return fmt.Errorf("there is no action %d", r.Action)
	case r.Action == ActionConnect && len(r.Patterns) > 0:
		return fmt.Errorf("connect: takes no destinations, got %q", r.Patterns[0])
	case r.Action != ActionConnect && len(r.Patterns) == 0:
		return fmt.Errorf("%s: expected destinations such as /topic/**", r.Action)
	case slices.Contains(r.Users, ""):
		return fmt.Errorf("%s: a user's name must not be empty", r.Action)
	case (r.Attribute == "") != (r.Value == ""): // or it would be about those who have no such attribute
		return fmt.Errorf("%s: expected an attribute and its value, neither of them empty", r.Action)
	}
	return nil
}

// same says that other allows the same.
func (p *Permissions) same(other *Permissions) bool {
	return p == other || p != nil && other != nil && reflect.DeepEqual(p.source, other.source)
}

func parsePattern(pattern string) ([]segment, error) {
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return nil, fmt.Errorf("%q: a destination begins with /", pattern)
	case strings.HasSuffix(pattern, "/"): // the server's own come without
		return nil, fmt.Errorf("%q: expected a destination that does not end in /", pattern)
	}
	texts := strings.Split(pattern, "/")
	segments := make([]segment, len(texts))
	for i, text := range texts {
		switch {
		case text == "**" && i < len(texts)-1:
			return nil, fmt.Errorf("%q: ** stands for the rest, so it must be the last segment", pattern)
		case text == "*", text == "**":
			segments[i].wild = text
			continue
		}
		for text != "" {
			literal, rest, found := strings.Cut(text, "{")
			if literal != "" {
				segments[i].parts = append(segments[i].parts, segmentPart{literal: literal})
			}
			if !found {
				break
			}
			name, after, closed := strings.Cut(rest, "}")
			value := Placeholder(name)
			if !closed || value == nil {
				return nil, fmt.Errorf("%q: expected {stomp.user}, {stomp.session_id} or {stomp.attribute.<name>}, not {%s}", pattern, name)
			}
			segments[i].parts = append(segments[i].parts, segmentPart{value: value})
			text = after
		}
	}
	return segments, nil
}

// Placeholder returns what a placeholder of a session stands for, by its name
// without braces; nil if there is none of that name.
func Placeholder(name string) func(hs *Handshake, sessionID string) string {
	attribute, ok := strings.CutPrefix(name, "stomp.attribute.")
	switch {
	case name == "stomp.user":
		return func(hs *Handshake, _ string) string { return hs.User }
	case name == "stomp.session_id":
		return func(_ *Handshake, id string) string { return id }
	case ok && attribute != "":
		return func(hs *Handshake, _ string) string { return hs.Attribute(attribute) }
	default:
		return nil
	}
}

// Attribute is the value of an attribute, "" if there is none of that name.
func (hs *Handshake) Attribute(name string) string {
	for i := range hs.Attributes {
		if hs.Attributes[i].Name == name {
			return hs.Attributes[i].Value
		}
	}
	return ""
}

// Allows says whether a client may do something with a destination; for
// ActionSubscribe it may be a pattern, and is allowed if all that it can match
// surely is. Who is denied one of the others, which are where the same can be
// had, is denied the destination. It allocates nothing. From any goroutine.
func (p *Permissions) Allows(action Action, hs *Handshake, sessionID, destination string, others ...string) bool {
	if p == nil {
		return true
	}
	rules := p.rules[action]
	for i := range rules {
		r := &rules[i]
		if !r.about(hs) {
			continue
		}
		switch compare(r.segments, hs, sessionID, destination) {
		case covers:
			return r.Allow
		case disjoint:
		case overlaps:
			// what it allows of a pattern is not all of it, so the rest
			// decides; of what it denies, something would come through
			if !r.Allow {
				return false
			}
		}
		if r.Allow {
			continue
		}
		for _, other := range others {
			if compare(r.segments, hs, sessionID, other) != disjoint {
				return false
			}
		}
	}
	return !p.deny[action]
}

func (r *Rule) about(hs *Handshake) bool {
	if len(r.Users) > 0 && (hs.User == "" || !slices.Contains(r.Users, hs.User)) {
		return false
	}
	return r.Attribute == "" || hs.Attribute(r.Attribute) == r.Value
}

// relation is how what a rule's pattern matches relates to what a destination,
// or a pattern of a SUBSCRIBE, does.
type relation uint8

const (
	disjoint relation = iota
	overlaps          // some of it
	covers            // all of it
)

// compare goes through both, segment by segment.
func compare(segments []segment, hs *Handshake, id, destination string) relation {
	if segments == nil {
		return covers
	}
	result := covers
	rest, more := destination, true
	for i := range segments {
		s := &segments[i]
		if s.wild == "**" {
			return result // the rest, whatever it is
		}
		if !more {
			return disjoint
		}
		var d string
		d, rest, more = strings.Cut(rest, "/")
		switch {
		case d == "**": // and the rule goes on with something narrower
			return overlaps
		case s.wild == "*":
		case d == "*":
			if !s.hasValue(hs, id) {
				return disjoint
			}
			result = overlaps
		case !s.is(d, hs, id):
			return disjoint
		}
		// nothing follows here, and the rule's ** may stand for nothing
		if !more && i == len(segments)-2 && segments[i+1].wild == "**" {
			return result
		}
	}
	if !more {
		return result
	}
	if rest == "**" { // which may stand for nothing
		return overlaps
	}
	return disjoint
}

// hasValue says whether the segment can be anything at all.
func (s *segment) hasValue(hs *Handshake, id string) bool {
	for i := range s.parts {
		if v := s.parts[i].value; v != nil && v(hs, id) == "" {
			return false
		}
	}
	return true
}

// is says whether the segment of a destination is what this one stands for.
func (s *segment) is(d string, hs *Handshake, id string) bool {
	for i := range s.parts {
		part := &s.parts[i]
		var ok bool
		if part.value == nil {
			d, ok = strings.CutPrefix(d, part.literal)
		} else {
			d, ok = cutEncoded(d, part.value(hs, id))
		}
		if !ok {
			return false
		}
	}
	return d == ""
}

// cutEncoded cuts a percent-encoded value from the beginning of d. No value is
// no match.
func cutEncoded(d, value string) (rest string, ok bool) {
	if value == "" {
		return d, false
	}
	for i := range len(value) {
		c := value[i]
		if unreserved(c) {
			if d == "" || d[0] != c {
				return d, false
			}
			d = d[1:]
			continue
		}
		if len(d) < 3 || d[0] != '%' || d[1] != hexDigits[c>>4] || d[2] != hexDigits[c&15] {
			return d, false
		}
		d = d[3:]
	}
	return d, true
}

const hexDigits = "0123456789ABCDEF"

// unreserved are the characters that stand for themselves (RFC 3986 section
// 2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// EncodeSegment makes one segment of a destination, without wildcards, of any
// value: all but the unreserved characters of RFC 3986 section 2.3 is
// percent-encoded.
func EncodeSegment(value string) string {
	n := 0
	for i := range len(value) {
		if !unreserved(value[i]) {
			n++
		}
	}
	if n == 0 {
		return value
	}
	encoded := make([]byte, 0, len(value)+2*n)
	for i := range len(value) {
		if c := value[i]; unreserved(c) {
			encoded = append(encoded, c)
		} else {
			encoded = append(encoded, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(encoded)
}
