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
	// ConnectedAt is when the session was connected.
	ConnectedAt time.Time
	// Broker, Endpoint, Transport and RemoteAddr tell where it is and how it
	// is connected.
	Broker, Endpoint, Transport, RemoteAddr string
}

// Type is the kind of a change; its text is part of the public wire format.
type Type string

// The kinds of changes.
const (
	// Connected is told to the listener only.
	Connected Type = "connected"
	Joined    Type = "joined"
	Updated   Type = "updated"
	Left      Type = "left"
	// reset stands for changes that a peer did not get.
	reset Type = "reset"
)

// Change is something that happened to a session.
type Change struct {
	*View
	Type Type
	// Seq numbers the announced changes of a Registry from 1; 0 for a change
	// that is not announced to peers, as nobody was told that the session is
	// there.
	Seq uint64
	At  time.Time
	// Reason, Code and Silence belong to Left.
	Reason  stomp.Reason
	Code    int
	Silence time.Duration
	// UserSessions is how many sessions of the user there are after the
	// change; 0 without a user.
	UserSessions int
}

// ConnectedFor is how long the session had been connected, by the wall clock.
func (c *Change) ConnectedFor() time.Duration { return max(0, c.At.Sub(c.ConnectedAt)) }

// Listener is told of every change, in order, with the registry's lock held:
// it must not block, nor call the Registry.
type Listener interface {
	Changed(Change)
}
