package presence

import (
	"strings"
	"sync"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// scope is those who are told of each other: all sessions of a broker, those
// whose announce destination is the same, or those in a room. Its fields are
// guarded by Registry.mu unless it says otherwise.
type scope struct {
	registry *Registry
	room     string   // the room's destination; "" if it is not one
	values   []string // of the announce destination's placeholders
	feed     *stomp.Feed

	sessions int            // that are in it, announced or not
	users    map[string]int // the sessions of each user that are announced
	asked    time.Time      // somebody is about to read the feed

	// as the peers have been told, or are about to be
	roster       member // ring, oldest first
	known        int    // length of roster
	pending      []Change
	pendingBytes int  // of their client data
	overflow     bool // pending was too long and dropped
	running      bool // somebody announces what is pending

	publishing sync.Mutex // held while pending becomes an entry of the feed
	snapshot   *roster    // guarded by publishing
}

// member is a session in a roster.
type member struct {
	view       *View
	prev, next *member // nil: not announced
}

// scopeKey tells scopes apart.
type scopeKey struct{ room, values string }

func (s *scope) key() scopeKey { return scopeKey{s.room, strings.Join(s.values, "\x00")} }

// scope returns a scope, which is made when it is first asked for. With r.mu
// held.
func (r *Registry) scope(room string, values []string) *scope {
	s := &scope{registry: r, room: room, values: values}
	if known := r.scopes[s.key()]; known != nil {
		return known
	}
	s.users = make(map[string]int)
	s.roster.prev, s.roster.next = &s.roster, &s.roster
	keep := feedKeeps
	if room != "" || len(values) > 0 {
		keep = feedKeepsOfMany
	}
	s.feed = stomp.NewFeed(stomp.FeedConfig{
		Header: frame.Header{{Name: frame.HdrContentType, Value: "application/json"}},
		Reset:  func(seq uint64) []byte { return resetBody(r.stream, seq) },
		Keep:   keep,
		Budget: r.feeds,
	})
	if len(r.scopes) >= r.sweepAt {
		r.sweep()
	}
	r.scopes[s.key()] = s
	return s
}

// sweepFrom is from how many scopes on those that nobody needs are looked for,
// and again whenever they have doubled.
const sweepFrom = 64

// sweep forgets the scopes that nobody is in and nobody reads. With r.mu held.
func (r *Registry) sweep() {
	for key, s := range r.scopes {
		if s.idle() {
			s.feed.Forget(0)
			delete(r.scopes, key)
		}
	}
	r.sweepAt = max(sweepFrom, 2*len(r.scopes))
}

// askedFor is how long a subscriber may take from asking for a feed to reading
// it: it does so at once.
const askedFor = 5 * time.Second

func (s *scope) idle() bool {
	return s.sessions == 0 && s.known == 0 && !s.running && len(s.pending) == 0 &&
		s.feed.Readers() == 0 && time.Since(s.asked) > askedFor
}

// told changes the roster by a change that the peers are told now.
func (s *scope) told(c *Change, view *View) {
	m := c.member
	switch {
	case m == nil: // told again after a crash: the roster has it already
	case c.Type == Left:
		if m.next != nil {
			m.prev.next, m.next.prev = m.next, m.prev
			m.prev, m.next = nil, nil
			s.known--
		}
	default:
		m.view = view
		if m.next == nil {
			s.insert(m)
		}
	}
}

func (s *scope) insert(m *member) {
	m.prev, m.next = s.roster.prev, &s.roster
	m.prev.next, m.next.prev = m, m
	s.known++
}

func (s *scope) enter(user string) {
	if user != "" {
		s.users[user]++
	}
}

func (s *scope) exit(user string) {
	if user == "" {
		return
	}
	if s.users[user]--; s.users[user] == 0 {
		delete(s.users, user)
	}
}
