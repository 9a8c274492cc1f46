package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// PermissionRule allows or denies clients to do something. Rules are looked at
// in order, and the first that matches decides. Once an action has a rule that
// allows, everything else of that action is denied.
type PermissionRule struct {
	// What is allowed: connect, subscribe, send or register, which is to send
	// to a destination of the server's own, such as that of client data.
	Allow string `json:"allow,omitempty"`
	// What is denied. A rule has either allow or deny.
	Deny string `json:"deny,omitempty"`
	// The destinations that the rule is about, with * for one segment, ** at
	// the end for any rest, and the placeholders {stomp.user},
	// {stomp.session_id} and {stomp.attribute.<name>}, whose values are
	// percent-encoded; between two of them is a slash, or what no value is
	// written with, such as a comma. connect has none.
	Destinations []string `json:"destinations,omitempty"`
	// The users that the rule is about. Default: all, and those without a name.
	Users []string `json:"users,omitempty"`
	// An attribute that a client must have for the rule to be about it.
	// Default: none.
	Attribute string `json:"attribute,omitempty"`
	// The value that the attribute must have.
	Value string `json:"value,omitempty"`
}

func (r *PermissionRule) rule() (stomp.Rule, error) {
	name := r.Allow + r.Deny
	if (r.Allow == "") == (r.Deny == "") {
		return stomp.Rule{}, errors.New("expected either allow or deny")
	}
	action, err := stomp.ParseAction(name)
	return stomp.Rule{
		Allow: r.Allow != "", Action: action, Patterns: r.Destinations, Users: r.Users, Attribute: r.Attribute, Value: r.Value,
	}, err
}

// permissionsOf compiles rules; nil if there are none.
func permissionsOf(rules []PermissionRule) (*stomp.Permissions, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	compiled := make([]stomp.Rule, len(rules))
	for i := range rules {
		var err error
		if compiled[i], err = rules[i].rule(); err != nil {
			return nil, fmt.Errorf("permissions: rule %d: %w", i+1, err)
		}
	}
	p, err := stomp.NewPermissions(compiled)
	if err != nil {
		return nil, fmt.Errorf("permissions: %w", err)
	}
	return p, nil
}

// parseRule parses what follows allow or deny:
//
//	allow | deny  connect | subscribe | send | register  [<destination>...] [user <name>...] [attribute <name> <value>]
func (c *AccessConfig) parseRule(d *caddyfile.Dispenser) error {
	what := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s: expected connect, subscribe, send or register", what)
	}
	var r PermissionRule
	if what == "allow" {
		r.Allow = args[0]
	} else {
		r.Deny = args[0]
	}
	args = args[1:]
	for len(args) > 0 && !isRuleWord(args[0]) {
		r.Destinations, args = append(r.Destinations, args[0]), args[1:]
	}
	for len(args) > 0 {
		word, rest := args[0], args[1:]
		switch {
		case word == "user" && r.Users == nil:
			for len(rest) > 0 && !isRuleWord(rest[0]) {
				r.Users, rest = append(r.Users, rest[0]), rest[1:]
			}
			if len(r.Users) == 0 {
				return d.Errf("%s: user: expected names", what)
			}
		case word == "attribute" && r.Attribute == "":
			if len(rest) < 2 {
				return d.Errf("%s: attribute: expected <name> <value>", what)
			}
			r.Attribute, r.Value, rest = rest[0], rest[1], rest[2:]
		default:
			return d.Errf("%s: expected <action> [<destination>...] [user <name>...] [attribute <name> <value>], got %q", what, word)
		}
		args = rest
	}
	rule, err := r.rule()
	if err == nil {
		_, err = stomp.NewPermissions([]stomp.Rule{rule})
	}
	if err != nil {
		return d.Errf("%s: %v", what, err)
	}
	c.Permissions = append(c.Permissions, r)
	return noBlock(d, what)
}

func isRuleWord(arg string) bool { return arg == "user" || arg == "attribute" }
