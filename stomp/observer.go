package stomp

import "github.com/caddy-stomp/caddy-stomp/stomp/frame"

// Observer follows the sessions of a broker. Its methods are called on
// whatever goroutine finds out; for each session that Connected accepted Ended
// is called once, later. An Observer may also be a [Resumer] and a
// [SubscriptionObserver].
type Observer interface {
	// Connected is called with the CONNECT frame, which is valid during the
	// call only, when nothing but the Observer can refuse the session any
	// more; it does so with an *Error. CONNECTED follows, with the header
	// returned. The session's lock is held: it must not block, nor call what
	// changes the session.
	Connected(s *Session, connect *frame.Frame) (frame.Header, error)
	// Ended is called when the session has ended. No lock is held.
	Ended(s *Session, end End)
}

// Resumer is implemented by an [Observer] that lets a new connection go on
// with the id of an earlier one.
type Resumer interface {
	// Hold is called before [Policy].Admit decides, which may take its time. A
	// session that the CONNECT frame has a right to should not be over
	// meanwhile only because it waited too long. When it is decided, and Resume
	// was called if it is to be, release is called, unless it is nil. No lock
	// is held.
	Hold(hs *Handshake, connect *frame.Frame) (release func())
	// Resume returns the id that a CONNECT frame has a right to, "" if it is
	// a new session. A connected session that has it is then ended, and
	// Connected follows unless the new one is refused. When that is over,
	// either way, done is called, unless it is nil. No lock is held.
	Resume(hs *Handshake, connect *frame.Frame) (id string, done func())
	// Reserved says that nobody else may have an id, although no connected
	// session has it.
	Reserved(id string) bool
}

// SubscriptionObserver wants to know who subscribed to what: an [Observer] but
// for mounted destinations, the one of a [Policy] all. Its methods are called
// between Connected and Ended with the session's lock held: they must not
// block, nor call what changes the session. Subscriptions that end with their
// session are not told.
type SubscriptionObserver interface {
	Subscribed(s *Session, destination string)
	Unsubscribed(s *Session, destination string)
}
