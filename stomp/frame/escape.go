package frame

import "strings"

// Sets of bytes that cannot stand for themselves in a header. STOMP 1.1 and 1.2, Value Encoding; 1.0 has no escapes.
const (
	plainName  uint8 = 1 << iota // names where there are no escapes
	plainValue                   // values where there are no escapes
	escaped11                    // names and values in 1.1
	escaped12                    // names and values in 1.2

	plain  = plainName | plainValue
	always = plain | escaped11 | escaped12
)

// special says to which of the sets a byte belongs. NUL has no escape in any version, CR none in 1.1, where it may stand
// as it is.
var special = [256]uint8{
	0:    always,
	'\n': always,
	'\r': plain | escaped12,
	':':  plainName | escaped11 | escaped12,
	'\\': escaped11 | escaped12,
}

// appendEscaped appends s with the bytes of the set escaped, or replaced by a space if they have no escape.
func appendEscaped(dst []byte, s string, set uint8) []byte {
	done := 0
	for i := 0; i < len(s); i++ {
		if special[s[i]]&set == 0 {
			continue
		}
		dst = append(dst, s[done:i]...)
		done = i + 1
		if set&plain != 0 || s[i] == 0 {
			dst = append(dst, ' ')
			continue
		}
		dst = append(dst, '\\', escapeOf(s[i]))
	}
	return append(dst, s[done:]...)
}

func escapeOf(c byte) byte {
	switch c {
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case ':':
		return 'c'
	}
	return c
}

// unescape undoes the escapes of a name or a value. Undefined ones are errors, as the specifications demand: \t, and \r in
// 1.1, among others.
func unescape(s string, v Version) (string, error) {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for ; i >= 0; i = strings.IndexByte(s, '\\') {
		if i+1 == len(s) {
			return "", syntaxError("header ends in the middle of an escape")
		}
		c, ok := unescapeOf(s[i+1], v)
		if !ok {
			return "", syntaxErrorAt("undefined escape in a header:", s[i:i+2])
		}
		b.WriteString(s[:i])
		b.WriteByte(c)
		s = s[i+2:]
	}
	b.WriteString(s)
	return b.String(), nil
}

func unescapeOf(c byte, v Version) (byte, bool) {
	switch c {
	case 'n':
		return '\n', true
	case 'c':
		return ':', true
	case '\\':
		return '\\', true
	case 'r':
		return '\r', v >= V12
	}
	return 0, false
}
