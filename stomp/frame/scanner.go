package frame

import (
	"bytes"
	"strings"
)

// scanner finds the end of one frame and checks on the way what can be checked without taking the frame apart. It is shown
// the bytes of the frame from its first on, each time with more of them, and goes on where it stopped.
//
// What is wrong first in the stream is what is reported, whether the bytes that follow are there already or not: limits
// and NULs count at their byte, the syntax of a line at its LF, everything else at the end of the frame.
type scanner struct {
	limits  *Limits
	pos     int   // everything before is scanned
	line    int   // start of the current line
	colon   int   // of the current line, from its start; -1 if there was none so far
	max     int   // how long the current line may be
	exempt  int   // bytes that do not count towards the frame limit
	headers int   // header lines so far
	named   int   // lines so far that had a limit of their own
	fields  int   // start of the header lines, 0 in the command line
	body    int   // start of the body, 0 in the head
	length  int   // content-length, -1 if there is none
	over    bound // which limit max is
	version Version
}

// bound is what limits the current line.
type bound uint8

const (
	boundCommand bound = iota
	boundHeaderLine
	boundHeaders
	boundFrame
	boundNamed
)

func newScanner(limits *Limits, v Version) scanner {
	s := scanner{limits: limits, version: v, length: -1, colon: -1}
	s.limitLine(limits.command(), boundCommand)
	return s
}

// scan returns the length of the frame that b begins with, or 0 if b does not hold all of it.
func (s *scanner) scan(b []byte) (int, error) {
	for s.body == 0 {
		end, whole := len(b), false
		if i := bytes.IndexByte(b[s.pos:], '\n'); i >= 0 {
			end, whole = s.pos+i, true
		}
		if err := s.scanLine(b[:end]); err != nil {
			return 0, err
		}
		s.pos = end
		if !whole {
			return 0, nil
		}
		if err := s.endLine(b[:end]); err != nil {
			return 0, err
		}
	}
	if s.length >= 0 {
		return s.scanCounted(b)
	}
	return s.scanToNUL(b)
}

// wants returns how much of p, which follows the have bytes that were scanned, to look at next. It never goes beyond the
// end of the frame, so that what follows the frame is not copied into its buffer.
func (s *scanner) wants(p []byte, have int) int {
	end := byte('\n')
	if s.body > 0 {
		if s.length >= 0 {
			return min(len(p), s.body+s.length+1-have)
		}
		end = 0
	}
	if i := bytes.IndexByte(p, end); i >= 0 {
		return i + 1
	}
	return len(p)
}

// scanLine checks what has come of the current line, which is the last in b.
func (s *scanner) scanLine(b []byte) error {
	if s.fields > 0 && s.colon < 0 {
		if i := bytes.IndexByte(b[s.pos:], ':'); i >= 0 {
			s.colon = s.pos + i - s.line
			s.limitNamed(b[s.line : s.pos+i])
		}
	}
	// Beyond the limit a NUL does not matter any more: the line was too long before it came.
	if i := min(len(b), s.line+s.max); i > s.pos && bytes.IndexByte(b[s.pos:i], 0) >= 0 {
		return syntaxError("NUL in the head of a frame")
	}
	if len(s.text(b[s.line:])) > s.max {
		return s.limitError(b)
	}
	return nil
}

// text is the line without the CR that belongs, or may turn out to belong, to its end.
func (s *scanner) text(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' && s.version.crlf() {
		return line[:n-1]
	}
	return line
}

// endLine takes the current line, which is whole now and ends with b.
func (s *scanner) endLine(b []byte) error {
	text := s.text(b[s.line:])
	next := len(b) + 1
	if s.fields == 0 {
		if !isCommand(text) {
			return syntaxErrorAt("not a command:", text)
		}
		s.fields = next
		s.nextLine(next)
		return nil
	}
	if len(text) == 0 {
		s.pos, s.body = next, next
		return s.checkSize(next + max(s.length, 0) + 1)
	}
	switch {
	case s.colon < 0:
		return syntaxErrorAt("header line without a colon:", text)
	case s.colon == 0:
		return syntaxErrorAt("header line without a name:", text)
	}
	name, value := text[:s.colon], text[s.colon+1:]
	if s.length < 0 && string(name) == HdrContentLength {
		n, ok := parseLength(value)
		if !ok {
			return syntaxErrorAt("content-length is not a decimal number:", value)
		}
		s.length = n
	}
	if s.over == boundNamed {
		s.named++
		s.exempt += len(value)
	}
	s.headers++
	s.nextLine(next)
	return nil
}

// nextLine begins the header line, or the empty line, at this offset.
func (s *scanner) nextLine(at int) {
	s.pos, s.line, s.colon = at, at, -1
	if s.headers >= s.limits.headers() {
		s.max, s.over = 0, boundHeaders
		return
	}
	s.limitLine(s.limits.headerLine(), boundHeaderLine)
}

// limitLine limits the current line to n bytes, or to what remains of the frame if that is less.
func (s *scanner) limitLine(n int, what bound) {
	s.max, s.over = n, what
	if left := s.limits.frame() + s.exempt - s.line; left < n {
		s.max, s.over = max(left, 0), boundFrame
	}
}

// limitNamed gives the current line the limit that its name has of its own. A name that was too long itself has none: it
// would have been refused before its colon came.
func (s *scanner) limitNamed(name []byte) {
	if len(name) > s.max || s.named >= len(s.limits.Named) {
		return
	}
	if n, ok := s.limits.Named[string(name)]; ok {
		s.max, s.over = len(name)+1+min(max(n, 0), mostBytes), boundNamed
	}
}

// limitError says which limit the current line, the last in b, went over.
func (s *scanner) limitError(b []byte) error {
	switch s.over {
	case boundCommand:
		return &LimitError{Limit: limitCommand, Max: s.limits.command()}
	case boundHeaderLine:
		return &LimitError{Limit: limitHeaderLine, Max: s.limits.headerLine()}
	case boundHeaders:
		return &LimitError{Limit: limitHeaders, Max: s.limits.headers()}
	case boundNamed:
		name := string(b[s.line : s.line+s.colon])
		return &LimitError{Limit: strings.ReplaceAll(name, "-", "_"), Max: s.limits.Named[name]}
	default:
		return &LimitError{Limit: limitFrame, Max: s.limits.frame()}
	}
}

// checkSize is an error if a frame of this many bytes would be too large.
func (s *scanner) checkSize(n int) error {
	if n-s.exempt > s.limits.frame() {
		return &LimitError{Limit: limitFrame, Max: s.limits.frame()}
	}
	return nil
}

// scanCounted looks for the NUL after a body of known length. STOMP 1.2, Header content-length.
func (s *scanner) scanCounted(b []byte) (int, error) {
	end := s.body + s.length
	if len(b) <= end {
		return 0, nil
	}
	if b[end] != 0 {
		return 0, syntaxError("body is not followed by NUL: content-length does not fit")
	}
	return end + 1, nil
}

// scanToNUL looks for the NUL that ends a body of unknown length.
func (s *scanner) scanToNUL(b []byte) (int, error) {
	i := bytes.IndexByte(b[s.pos:], 0)
	if i < 0 {
		s.pos = len(b)
		return 0, s.checkSize(len(b) + 1)
	}
	end := s.pos + i + 1
	return end, s.checkSize(end)
}

// isCommand holds what is to be a command against what all commands have in common. Which of them exist is the session's
// to know.
func isCommand(line []byte) bool {
	for _, c := range line {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return len(line) > 0
}

// parseLength reads the value of a content-length. Numbers too large to count with become mostBytes, which no frame limit
// lets pass.
func parseLength(s []byte) (int, bool) {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), mostBytes)
	}
	return n, len(s) > 0
}
