package stomp

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// segment is what lies between two slashes of a pattern.
type segment struct {
	wild  string // "*" or "**"
	parts []segmentPart
}

type segmentPart struct {
	literal string
	value   func(hs *Handshake, id string) string // of a placeholder
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
		parts, err := parseSegment(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", pattern, err)
		}
		segments[i].parts = parts
	}
	return segments, nil
}

// parseSegment takes placeholders and literals apart. Where the value of one
// placeholder ends and the next begins must be beyond doubt: of
// {stomp.user}-{stomp.attribute.team} the user a-b of team c would be the user
// a of team b-c.
func parseSegment(text string) (parts []segmentPart, err error) {
	apart := true // nothing of a value may go on
	for text != "" {
		literal, rest, found := strings.Cut(text, "{")
		if strings.Contains(literal, "*") { // no topic is called so, and a denial would deny nothing
			return nil, errors.New("a wildcard is a whole segment")
		}
		if literal != "" {
			apart = apart || strings.ContainsFunc(literal, inNoValue)
			parts = append(parts, segmentPart{literal: literal})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		value := Placeholder(name)
		switch {
		case !closed || value == nil:
			return nil, fmt.Errorf("expected {stomp.user}, {stomp.session_id} or {stomp.attribute.<name>}, not {%s}", name)
		case !apart:
			return nil, fmt.Errorf("where {%s} begins is in doubt; expected it in a segment of its own, or after a character that values are written without, such as a comma", name)
		}
		parts = append(parts, segmentPart{value: value})
		text, apart = after, false
	}
	return parts, nil
}

// inNoValue says that no percent-encoded value has a character.
func inNoValue(c rune) bool { return c != '%' && (c >= utf8.RuneSelf || !unreserved(byte(c))) }

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
