package sockjs

import (
	"net/http"
	"sync"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Sessions are the sessions of the HTTP transports, by the session segment of
// their URLs, which is the key to them: whoever knows it can send and receive.
// They outlive a [Handler]: the one that takes its place is given the same.
type Sessions struct {
	mu    sync.Mutex
	byKey map[string]*session
}

// NewSessions returns no sessions.
func NewSessions() *Sessions { return &Sessions{byKey: make(map[string]*session)} }

// Len is how many there are, ended ones included whose clients may still ask.
func (ss *Sessions) Len() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.byKey)
}

// find returns a session that r may use, nil if there is none with the key. A
// session belongs to the owner that opened it; to others it does not exist.
func (ss *Sessions) find(key, owner string) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.byKey[key]; s != nil && s.owner == owner {
		return s
	}
	return nil
}

// open returns the session with the key, which is made by the first request.
func (ss *Sessions) open(h *Handler, r *http.Request, c Connection) (*session, error) {
	owner := h.owner(r)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.byKey[c.Session]; s != nil {
		if s.owner != owner {
			return nil, errNotYours
		}
		return s, nil
	}
	s := newSession(ss, c.Session, owner, &h.config)
	s.receiving.Lock() // Open may close it, and is told of that afterwards
	defer s.receiving.Unlock()
	receiver, err := h.config.Open(r, c, s)
	if err != nil {
		s.discard()
		return nil, err
	}
	s.receiver = receiver
	ss.byKey[c.Session] = s
	return s, nil
}

func (ss *Sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byKey[s.key] == s {
		delete(ss.byKey, s.key)
	}
}

var errNotYours = &stomp.Error{Message: "the session belongs to somebody else"}
