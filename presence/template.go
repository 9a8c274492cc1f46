package presence

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// template is a destination with placeholders of a session.
type template struct {
	text   string
	prefix string         // before the first placeholder
	parts  []templatePart // in order
	shape  *regexp.Regexp // what it evaluates to; nil without placeholders
}

type templatePart struct {
	literal string
	name    string                                             // of the placeholder
	value   func(hs *stomp.Handshake, sessionID string) string // nil: literal
}

// parseTemplate takes {stomp.user}, {stomp.session_id} and
// {stomp.attribute.<name>} for placeholders, and no others.
func parseTemplate(text string) (*template, error) {
	t := &template{text: text}
	var shape strings.Builder
	shape.WriteString("^")
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{")
		if literal != "" {
			t.parts = append(t.parts, templatePart{literal: literal})
			shape.WriteString(regexp.QuoteMeta(literal))
		}
		if len(t.parts) <= 1 && t.shape == nil && t.prefix == "" {
			t.prefix = literal
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		value := stomp.Placeholder(name)
		if !closed || value == nil {
			return nil, fmt.Errorf("%s: expected {stomp.user}, {stomp.session_id} or {stomp.attribute.<name>}, not {%s}", text, name)
		}
		t.parts = append(t.parts, templatePart{name: name, value: value})
		shape.WriteString("[^/*]*")
		rest = after
		if rest == "" {
			break
		}
	}
	if strings.Contains(text, "{") {
		t.shape = regexp.MustCompile(shape.String() + "$")
	}
	return t, nil
}

// matches says whether the template can evaluate to a destination, which has no
// trailing slash: an empty value at the end leaves none either.
func (t *template) matches(destination string) bool {
	if t.shape == nil {
		return t.text == destination
	}
	slashed := destination + "/"
	return strings.HasPrefix(slashed, t.prefix) && (t.shape.MatchString(destination) || t.shape.MatchString(slashed))
}

// destination is what the template evaluates to for sessions of a scope.
func (t *template) destination(scopeValues []string) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.value == nil {
			b.WriteString(p.literal)
			continue
		}
		for _, value := range scopeValues { // none, if the template has changed since
			if value, ok := strings.CutPrefix(value, p.name+"="); ok {
				b.WriteString(value)
				break
			}
		}
	}
	return stomp.WithoutSlash(b.String())
}

// values are those of the placeholders, as <placeholder>=<value>, so that the
// same value of another placeholder, in a template of later, is not the same.
// They are percent-encoded, so that nobody gets into another scope by his name.
func (t *template) values(v *View) []string {
	hs := &stomp.Handshake{User: v.User, Attributes: v.Attributes}
	var values []string
	for _, p := range t.parts {
		if p.value != nil {
			values = append(values, p.name+"="+stomp.EncodeSegment(p.value(hs, v.SessionID)))
		}
	}
	return values
}
