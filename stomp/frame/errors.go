package frame

import (
	"fmt"
	"strconv"
)

// SyntaxError says that the stream is not STOMP. Its text is one line of printable ASCII and fits into the message header
// of an ERROR frame: what it cites from the wire is quoted and cut.
//
// STOMP 1.2, ERROR.
type SyntaxError struct {
	// Reason is what was wrong, in words.
	Reason string
}

func (e *SyntaxError) Error() string { return e.Reason }

func syntaxError(reason string) error { return &SyntaxError{Reason: reason} }

// syntaxErrorAt is a syntax error that cites the bytes it is about.
func syntaxErrorAt[T string | []byte](reason string, cited T) error {
	return &SyntaxError{Reason: reason + " " + quote(cited)}
}

// quote keeps an error short and harmless whatever the wire had in it.
func quote[T string | []byte](s T) string {
	const most = 40
	if len(s) > most {
		return strconv.QuoteToASCII(string(s[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(s))
}

// Names of the limits, as operators write them. That of a header in [Limits.Named] is the header's, with '_' for '-'.
const (
	limitCommand    = "command_line"
	limitHeaderLine = "header_line"
	limitHeaders    = "headers"
	limitFrame      = "frame_size"
)

// LimitError says that a frame goes beyond one of the [Limits].
type LimitError struct {
	// Limit is the operator's name of it: command_line, header_line, headers, frame_size, or the name of a header of
	// Limits.Named with '_' for '-', such as client_data.
	Limit string
	// Max is the limit: header lines for headers, bytes for all others.
	Max int
}

func (e *LimitError) Error() string {
	unit := "bytes"
	if e.Limit == limitHeaders {
		unit = "header lines"
	}
	return fmt.Sprintf("frame is over the limit %s of %d %s", e.Limit, e.Max, unit)
}
