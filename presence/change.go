package presence

import (
	"encoding/json"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// View is what is known about a session at one moment. It is never changed;
// an update makes a new one.
type View struct {
	SessionID string
	// User is the authenticated name; empty for an anonymous client.
	User string
	// ClientData is what the client says about itself: compact JSON, nil if
	// it has said nothing.
	ClientData json.RawMessage
	// Attributes are what the server knows; peers see the public ones.
	Attributes []stomp.Attribute
	// ConnectedAt is when the session was first connected.
	ConnectedAt time.Time
	// Broker, Endpoint, Transport, Version and RemoteAddr tell where it is and
	// how it is connected.
	Broker, Endpoint, Transport, Version, RemoteAddr string
	// Epoch counts the connections that the session has had, from 1.
	Epoch int
	// Unreachable says that the session has lost its connection, and may come
	// back.
	Unreachable bool
}

// Type is the kind of a change; its text is part of the public wire format.
type Type string

// The kinds of changes.
const (
	// Connected is told to the listener and to announcers only, as are
	// Subscribed and Unsubscribed, if an announcer wants them.
	Connected    Type = "connected"
	Subscribed   Type = "subscribed"
	Unsubscribed Type = "unsubscribed"

	Joined  Type = "joined"
	Updated Type = "updated"
	// Unreachable is a session that lost its connection and may come back;
	// Returned one that did.
	Unreachable Type = "unreachable"
	Returned    Type = "returned"
	Left        Type = "left"
	// reset stands for changes that a peer did not get.
	reset Type = "reset"
)

// Change is something that happened to a session.
type Change struct {
	*View
	Type Type
	// Room is the destination of the room that the change is about; empty for
	// the session as a whole.
	Room string
	// Seq numbers the announced changes of a Registry from 1, those of all
	// rooms together; 0 for a change that is not announced to peers, as nobody
	// was told that the session is there.
	Seq uint64
	// Stream names the sequence that Seq is of; see [Registry.Stream].
	Stream string
	At     time.Time
	// Reason, Code and Silence belong to Left and Unreachable. Of a room a
	// session can also be gone by its own will, without a Reason.
	Reason  stomp.Reason
	Code    int
	Silence time.Duration
	// UserSessions is how many sessions of the user there are after the
	// change, in the room if it is about one; 0 without a user.
	UserSessions int
	// Destination is that of Subscribed and Unsubscribed, as the client wrote
	// it.
	Destination string

	event  *Event // nil: no announcer wants it
	scope  *scope
	member *member // of the scope's roster
	will   *Will   // to be carried out
}

// ConnectedFor is how long the session had been connected, by the wall clock.
func (c *Change) ConnectedFor() time.Duration { return max(0, c.At.Sub(c.ConnectedAt)) }

// ReasonName is the reason's name on the wire, "unsubscribed" where a session
// left a room by its own will, and empty where the type of change has none.
func (c *Change) ReasonName() string {
	switch {
	case c.Type != Left && c.Type != Unreachable:
		return ""
	case c.Reason == 0:
		return "unsubscribed"
	default:
		return c.Reason.String()
	}
}

// Clean says whether the client wanted what is announced as Left.
func (c *Change) Clean() bool { return c.Reason == 0 || c.Reason.Clean() }

// Listener is told of every change, in order, with the registry's lock held:
// it must not block, nor call the Registry. With a [Store] it is told what is
// kept already.
type Listener interface {
	Changed(Change)
}
