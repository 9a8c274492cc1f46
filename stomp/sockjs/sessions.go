package sockjs

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

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

// drainPoll is how often Drain looks.
const drainPoll = 5 * time.Millisecond

// Drain returns when of the sessions that there are now no client is left that
// could be told of the end: each was given the close frame, was lost or is
// forgotten. It is for when all were closed and their URLs are about to go;
// ctx bounds it.
func (ss *Sessions) Drain(ctx context.Context) {
	ss.mu.Lock()
	all := slices.Collect(maps.Values(ss.byKey))
	ss.mu.Unlock()
	for {
		all = slices.DeleteFunc(all, func(s *session) bool { return s.toldOfTheEnd() || !ss.has(s) })
		if len(all) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainPoll):
		}
	}
}

func (ss *Sessions) has(s *session) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byKey[s.key] == s
}

// find returns a session that r may use, nil if there is none with the key. A
// session belongs to the owner that opened it; to others it does not exist, nor
// does it to anybody before it is open.
func (ss *Sessions) find(key, owner string) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.byKey[key]
	if s == nil || s.owner != owner {
		return nil
	}
	select {
	case <-s.decided:
		return s
	default:
		return nil
	}
}

// open returns the session with the key, which is made by the first request.
// Others that come while it is being opened wait, those for other keys do not.
func (ss *Sessions) open(h *Handler, r *http.Request, c Connection) (*session, error) {
	owner := h.owner(r)
	for {
		s, made := ss.reserve(c.Session, owner, &h.config)
		if s.owner != owner {
			return nil, errNotYours
		}
		if made {
			if err := s.open(h, r, c); err != nil {
				return nil, err
			}
			return s, nil
		}
		select {
		case <-s.decided:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		if !s.refused {
			return s, nil
		}
	}
}

// reserve returns the session with the key, which the caller is to open if it
// was made by this call.
func (ss *Sessions) reserve(key, owner string, c *Config) (s *session, made bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.byKey[key]; s != nil {
		return s, false
	}
	s = newSession(ss, strings.Clone(key), owner, c) // of the URL nothing else stays
	ss.byKey[s.key] = s
	return s, true
}

func (ss *Sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byKey[s.key] == s {
		delete(ss.byKey, s.key)
	}
}

var errNotYours = &stomp.Error{Message: "the session belongs to somebody else"}
