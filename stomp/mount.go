package stomp

import (
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Mount answers a destination of the server's own. Its methods are called on
// the reading goroutine of the session, without locks held, and may refuse
// with an *Error.
type Mount interface {
	// Send takes a SEND frame. The frame is valid during the call only.
	Send(s *Session, f *frame.Frame) error
	// Subscribe tells what a SUBSCRIBE to the destination reads: a feed, and
	// what of its past comes first (nil: nothing).
	Subscribe(s *Session) (*Feed, *Snapshot, error)
}

// Checker is implemented by a [Mount] that can say whether it would refuse a
// SEND without doing anything, so that a transaction that it would spoil is
// refused as a whole.
type Checker interface {
	Check(s *Session, f *frame.Frame) error
}

// Carrier is implemented by a [Mount] that carries what can be had elsewhere,
// too, so that rules which deny that are not walked around.
type Carrier interface {
	// Carries returns the other destinations of what a SUBSCRIBE of the
	// session reads.
	Carries(s *Session) []string
}

// Mounts finds the destinations of the server's own. Its methods are called
// for every SEND and SUBSCRIBE, from any goroutine, without locks held.
type Mounts interface {
	// Mount returns what answers a destination, nil if nothing does. A
	// trailing slash makes no difference: the destination comes without.
	Mount(destination string) Mount
	// Broadcasts are the feeds that a session's wildcard SUBSCRIBE reads
	// beside the topics.
	Broadcasts(s *Session, pattern string) []Broadcast
}

// Broadcast is a feed, and the destination that its messages have.
type Broadcast struct {
	Destination string
	Feed        *Feed
}

// NoMounts is nothing mounted.
type NoMounts struct{}

// Mount implements [Mounts].
func (NoMounts) Mount(string) Mount { return nil }

// Broadcasts implements [Mounts].
func (NoMounts) Broadcasts(*Session, string) []Broadcast { return nil }

// SetMounts puts the mounts in force. Live subscriptions keep what they read.
func (b *Broker) SetMounts(m Mounts) { b.mounts.Store(&m) }

func (b *Broker) mount(destination string) Mount {
	return (*b.mounts.Load()).Mount(WithoutSlash(destination))
}

// WithoutSlash is a destination without its trailing slash.
func WithoutSlash(destination string) string {
	if len(destination) > 1 {
		return strings.TrimSuffix(destination, "/")
	}
	return destination
}
