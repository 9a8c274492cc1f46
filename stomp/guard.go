package stomp

import (
	"fmt"
	"runtime/debug"
)

// A panic, in a Mount, an Observer, an Authenticator or in this package, ends
// the session that it belongs to and nobody else's, nor the process. It is
// caught where a goroutine of the session's begins, around each turn that a
// worker gives it, and around each guest that is called on the way of an end.
//
// Locks that are held while others' code runs are released by defer. Where one
// is not (outbox, shard, wheel), only this package's own few statements run under it.

// panicked logs a panic and returns the refusal that the client gets. It is
// called by the deferred function that recovered, so that the stack is there.
func (s *Session) panicked(v any) error {
	err := fmt.Errorf("panic: %v", v)
	s.broker.Logger().Error("panic: the session ends", "session_id", s.id, "endpoint", s.endpoint.name,
		"error", err, "stack", string(debug.Stack()))
	return &Error{Message: internalError, Reason: ReasonInternalError, Err: err}
}

// shield keeps a panic in f from its caller, who has to go on.
func (s *Session) shield(f func()) {
	defer func() {
		if v := recover(); v != nil {
			_ = s.panicked(v) // the session ends already
		}
	}()
	f()
}
