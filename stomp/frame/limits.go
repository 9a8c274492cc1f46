package frame

import "math"

// Defaults of [Limits].
const (
	defaultCommand    = 32
	defaultHeaderLine = 2 << 10
	defaultHeaders    = 64
	defaultFrame      = 64 << 10
)

// Limits bounds what a peer can make a [Decoder] hold. A number that is not positive stands for its default.
//
// STOMP 1.2, Size Limits.
type Limits struct {
	// Command is the length of the command line in bytes, without its end. Default: 32.
	Command int
	// HeaderLine is the length of one header line in bytes as it is on the wire (escaped), without its end. Default: 2048.
	HeaderLine int
	// Headers is the number of header lines of a frame, repeated names included. Default: 64.
	Headers int
	// Frame is the size of a whole frame in bytes, from the command to the NUL, both included. Default: 65536.
	Frame int
	// Named gives headers a limit of their own: the length of the value in bytes as it is on the wire. It takes the place of
	// HeaderLine, and the value does not count towards Frame. A frame has at most as many such lines as there are names
	// here; further ones are ordinary. So a frame can grow to Frame plus len(Named) times the largest of these. Default: none.
	Named map[string]int
}

// DefaultLimits returns the limits that a [Decoder] has if none are set.
func DefaultLimits() Limits {
	return Limits{
		Command:    defaultCommand,
		HeaderLine: defaultHeaderLine,
		Headers:    defaultHeaders,
		Frame:      defaultFrame,
	}
}

var noLimits Limits // all defaults

func (l *Limits) command() int    { return limit(l.Command, defaultCommand) }
func (l *Limits) headerLine() int { return limit(l.HeaderLine, defaultHeaderLine) }
func (l *Limits) headers() int    { return limit(l.Headers, defaultHeaders) }
func (l *Limits) frame() int      { return limit(l.Frame, defaultFrame) }

// mostBytes is the largest limit there is: sums of a few of them and offsets do not overflow, nor does ten times one.
const mostBytes = math.MaxInt / 16

func limit(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return min(n, mostBytes)
}
