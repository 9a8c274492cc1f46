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
	// matches. Two placeholders in one segment have something between them
	// that no value is written with, such as a comma. A destination of the
	// server's own comes without a trailing slash, one of a user with the name
	// percent-encoded and without a session. Connect has none.
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
