package stomp

import "github.com/caddy-stomp/caddy-stomp/stomp/frame"

// Subscription is a session's SUBSCRIBE, from its RECEIPT to UNSUBSCRIBE or
// the session's end.
type Subscription struct {
	session     *Session
	id          string // "" in 1.0, if the client gave none
	destination string

	// of a topic
	group *group
	index int

	// of a feed
	feed   *Feed
	cursor cursor
}

func (sub *Subscription) variant() variant {
	return variant{version: sub.session.version, subscription: sub.id, destination: sub.destination}
}

// Mount answers a destination that is not a topic. Its methods are called on
// the reading goroutine of the session, without locks held, and may refuse
// with an *Error.
type Mount interface {
	// Send takes a SEND frame. The frame is valid during the call only.
	Send(s *Session, f *frame.Frame) error
	// Subscribe tells what a SUBSCRIBE to the destination reads: a feed, and
	// what of its past comes first (nil: nothing).
	Subscribe(s *Session) (*Feed, *Snapshot, error)
}

// addSubscription connects sub with what it reads.
func (s *Session) addSubscription(sub *Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseConnected {
		return ErrEnded
	}
	if limit := s.endpoint.Policy().Limits.Subscriptions; len(s.subs) >= limit {
		return LimitExceeded("subscriptions", limit)
	}
	if s.subscription(sub.id, sub.destination) != nil {
		if sub.id == "" {
			return protocolErrorf("SUBSCRIBE: already subscribed to %q; give each subscription an id", sub.destination)
		}
		return protocolErrorf("SUBSCRIBE: id %q is in use", sub.id)
	}
	s.subs = append(s.subs, sub)
	if sub.feed != nil {
		s.feeds++
		sub.feed.add(sub)
	} else {
		s.broker.topics.add(sub)
	}
	s.broker.stats.subscriptions.Add(1)
	return nil
}

// subscription finds a subscription by id, or by destination where there are
// no ids. With s.mu held.
func (s *Session) subscription(id, destination string) *Subscription {
	for _, sub := range s.subs {
		if sub.id == id && (id != "" || sub.destination == destination) {
			return sub
		}
	}
	return nil
}

// removeSubscription undoes addSubscription; false if there is none.
func (s *Session) removeSubscription(id, destination string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscription(id, destination)
	if sub == nil {
		return false
	}
	for i := range s.subs {
		if s.subs[i] == sub {
			s.subs = append(s.subs[:i], s.subs[i+1:]...)
			break
		}
	}
	s.detach(sub)
	return true
}

// detach disconnects sub from what it reads. With s.mu held.
func (s *Session) detach(sub *Subscription) {
	if sub.feed != nil {
		s.feeds--
		sub.feed.remove(sub)
	} else {
		s.broker.topics.remove(sub)
	}
	s.broker.stats.subscriptions.Add(-1)
}
