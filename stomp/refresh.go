package stomp

import (
	"math"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Headers in which clients bring tokens, as they do in HTTP, in both cases that
// are in use. Like passcode they are not passed on to others.
const (
	HeaderAuthorization      = "Authorization"
	HeaderAuthorizationLower = "authorization"
)

// refreshes says whether a SEND brings new credentials.
func (s *Session) refreshes(f *frame.Frame) bool {
	p := s.endpoint.Policy()
	_, can := p.Authenticator.(Refresher)
	return can && WithoutSlash(f.Header.Get(frame.HdrDestination)) == p.Refresh
}

// refresh takes new credentials, if that is what a SEND brings.
func (s *Session) refresh(f *frame.Frame) (handled bool, err error) {
	if !s.refreshes(f) {
		return false, nil
	}
	expires, err := s.endpoint.Policy().Authenticator.(Refresher).Refresh(s.handshake, f)
	if err == nil {
		s.setExpiry(expires)
		s.broker.wheel.schedule(s, stamp()) // it may be sooner than before
	}
	return true, err
}

// setExpiry has the session end at a time, zero for never, unless it is set
// again before.
func (s *Session) setExpiry(at time.Time) {
	if at.IsZero() {
		s.expires.Store(0)
		return
	}
	now := stamp()
	s.expires.Store(max(1, now+min(int64(time.Until(at)), math.MaxInt64-now)))
}

// Deliver sends a MESSAGE to one of the session's own subscriptions, on the
// reading goroutine of the session: it is how an [Interceptor] answers. It
// returns false if there is no subscription with that id.
func (s *Session) Deliver(subscription, destination string, header frame.Header, body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscription(subscription, "")
	if sub == nil {
		return false
	}
	v := sub.variant()
	v.ack = false
	s.send(newPublication(passedOn(header), body).encode(v, destination, s.broker.nextMessageID()))
	return true
}
