package stomp

import (
	"errors"
	"fmt"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// ErrEnded is what a [Session] returns from Receive once it has ended. The
// transport then goes on reading, and discarding, until the closing handshake
// is over.
var ErrEnded = errors.New("session has ended")

// ErrDraining is returned by [Endpoint.NewSession] when the broker is about
// to stop or the endpoint was closed.
var ErrDraining = errors.New("endpoint takes no new sessions")

// ErrSuperseded is in the error of a [Policy]'s Admit that could not decide
// because the configuration it belongs to has ended. The policy that is in force
// by then is asked.
var ErrSuperseded = errors.New("the policy is no longer in force")

// Error is a refusal that a client is told in an ERROR frame (STOMP 1.2,
// "ERROR"), after which its session ends and its connection is closed.
type Error struct {
	// Message is the frame's message header: one line, for a person.
	Message string
	// Detail is the frame's body; empty for none.
	Detail string
	// Reason is how the session ends. Default: ReasonProtocolError.
	Reason Reason
	// Code is the WebSocket close code. Default: the reason's.
	Code int
	// Header holds further headers of the frame, such as version.
	Header frame.Header
	// Err is the cause, for errors.Is and the log; it is not sent.
	Err error
}

// Error is the message and the detail.
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return e.Message + ": " + e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func protocolErrorf(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Reason: ReasonProtocolError}
}

func policyErrorf(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Reason: ReasonPolicy}
}

// Refuse is an Error with [ReasonPolicy] for an operation that is not permitted,
// for use by a [Mount] or an [Observer].
func Refuse(format string, args ...any) *Error { return policyErrorf(format, args...) }

// Malformed is an Error with [ReasonProtocolError] for a frame whose content is
// wrong, for use by a [Mount] or an [Observer].
func Malformed(format string, args ...any) *Error { return protocolErrorf(format, args...) }

// LimitExceeded is an Error with [ReasonPolicy] that names the limit as the
// operator writes it in the configuration.
func LimitExceeded(limit string, max any) *Error {
	return policyErrorf("limit exceeded: %s %v", limit, max)
}

// internalError is all that a client is told of what is wrong with the server.
const internalError = "internal error"

// asError makes a refusal of any error. Those of the frame codec are about the
// client's bytes; what is not known is not for the client to read.
func asError(err error) *Error {
	if refusal, ok := errors.AsType[*Error](err); ok {
		if refusal.Reason == 0 {
			clone := *refusal
			clone.Reason = ReasonProtocolError
			return &clone
		}
		return refusal
	}
	if limit, ok := errors.AsType[*frame.LimitError](err); ok {
		refusal := LimitExceeded(limit.Limit, limit.Max)
		refusal.Err = err
		if limit.Limit == "frame_size" {
			refusal.Code = 1009 // RFC 6455 section 7.4.1: too big to process
		}
		return refusal
	}
	if syntax, ok := errors.AsType[*frame.SyntaxError](err); ok {
		return &Error{Message: syntax.Error(), Reason: ReasonProtocolError, Err: err}
	}
	return &Error{Message: internalError, Reason: ReasonInternalError, Err: err}
}
