package stomp

import (
	"strings"
	"sync"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

const hdrReplyTo = "reply-to"

// replies are the temporary queues of the broker's sessions, by the token that
// stands for one in the reply-to header that others see.
type replies struct {
	mu      sync.RWMutex
	byToken map[string]replyQueue
}

type replyQueue struct {
	session *Session
	name    string // the temp-queue, as its session calls it
}

// replyTo returns the destination by which others reply to a temp-queue of the
// session's, which is made if need be.
func (s *Session) replyTo(name string) (string, error) {
	prefix := s.broker.Destinations().ReplyQueue
	if token, ok := s.replies[name]; ok {
		return prefix + token, nil
	}
	if limit := s.endpoint.Policy().Limits.Subscriptions; len(s.replies) >= limit {
		return "", LimitExceeded("subscriptions", limit)
	}
	token, err := s.broker.newSessionID()
	if err != nil {
		return "", &Error{Message: "no reply queue could be made", Reason: ReasonServerShutdown, Code: 1011, Err: err}
	}
	name = strings.Clone(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseConnected {
		return "", ErrEnded
	}
	if s.replies == nil {
		s.replies = make(map[string]string)
	}
	s.replies[name] = token
	r := &s.broker.replies
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byToken == nil {
		r.byToken = make(map[string]replyQueue)
	}
	r.byToken[token] = replyQueue{s, name}
	return prefix + token, nil
}

// forget removes the temp-queues of a session that ended. With s.mu held.
func (r *replies) forget(s *Session) {
	if len(s.replies) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, token := range s.replies {
		delete(r.byToken, token)
	}
}

// deliver gives a reply to the session that asked, as a message of a
// subscription named like its temp-queue, without a SUBSCRIBE. Whoever asked
// may be gone by now: that is not the replier's fault.
func (r *replies) deliver(token, destination string, p *publication) bool {
	r.mu.RLock()
	q, ok := r.byToken[token]
	r.mu.RUnlock()
	if ok && q.session.takes(p.size, p.binary) {
		v := variant{version: q.session.version, subscription: q.name}
		q.session.send(p.encode(v, destination, q.session.broker.nextMessageID()))
	}
	return ok
}

// withReplyTo is passedOn, with the name of a temp-queue replaced by what
// others can reply to.
func (s *Session) withReplyTo(h frame.Header) (frame.Header, error) {
	kept := passedOn(h)
	for i, f := range kept {
		if f.Name != hdrReplyTo {
			continue
		}
		if k, _ := s.broker.Destinations().classify(f.Value); k != kindTempQueue {
			continue
		}
		destination, err := s.replyTo(f.Value)
		if err != nil {
			return nil, err
		}
		kept[i].Value = destination
	}
	return kept, nil
}
