package presence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// look compares what was told with what the registry holds. What is under way
// may not be told yet.
func (m *model) look() error {
	m.collect()
	if m.wrong != nil {
		return m.wrong
	}
	return m.lives()
}

// lives: each session joins once and leaves at most once, in the broker and in
// each stay in a room, and nothing is told of it before or after; userSessions
// are those that have joined and not left.
func (m *model) lives() error {
	here := make(map[string]bool)  // by room and session
	over := make(map[string]bool)  // has left the broker
	users := make(map[string]int)  // by room and user
	first := make(map[string]bool) // has joined the broker
	for _, c := range m.log {
		key, user := c.Room+" "+c.SessionID, c.Room+" "+c.User
		switch {
		case over[c.SessionID] && (c.Room == "" || c.Type != Left):
			return fmt.Errorf("seq %d: %s %s %s after it left", c.Seq, c.SessionID, c.Type, c.Room)
		case here[key] == (c.Type == Joined):
			return fmt.Errorf("seq %d: %s %s %s, where it was: %v", c.Seq, c.SessionID, c.Type, c.Room, here[key])
		case c.Type == Joined && c.Room == "" && first[c.SessionID]:
			return fmt.Errorf("seq %d: %s joined twice", c.Seq, c.SessionID)
		}
		switch c.Type {
		case Joined:
			here[key] = true
			users[user]++
			first[c.SessionID] = true
		case Left:
			delete(here, key)
			users[user]--
			over[c.SessionID] = over[c.SessionID] || c.Room == ""
		default:
		}
		if c.User != "" && c.UserSessions != users[user] {
			return fmt.Errorf("seq %d: %s %s %s with %d sessions of %s, want %d", c.Seq, c.SessionID, c.Type, c.Room, c.UserSessions, c.User, users[user])
		}
	}
	return nil
}

// standing are those who have joined and not left, by what was told.
func (m *model) standing(room string) (ids []string) {
	for _, c := range m.log {
		switch {
		case c.Room != room:
		case c.Type == Joined:
			ids = append(ids, c.SessionID)
		case c.Type == Left:
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == c.SessionID })
		}
	}
	slices.Sort(ids)
	return ids
}

// waiting says whether changes wait for the store.
func (m *model) waiting() bool {
	m.registry.mu.Lock()
	defer m.registry.mu.Unlock()
	return len(m.registry.journal.changes)+len(m.registry.journal.written) > 0
}

// compare is look when everything has been told.
func (m *model) compare() error {
	if err := m.look(); err != nil || m.waiting() {
		return err
	}
	if got, want := m.registry.Known(), len(m.standing("")); got != want {
		return fmt.Errorf("%d known, want %d", got, want)
	}
	for _, room := range []string{"", roomA, roomB} {
		var ids []string
		for _, v := range m.rosterOf(room) {
			ids = append(ids, v.SessionID)
		}
		slices.Sort(ids)
		if want := m.standing(room); !slices.Equal(ids, want) {
			return fmt.Errorf("roster of %q: %v, want %v", room, ids, want)
		}
	}
	for _, r := range m.readers {
		p, err := r.picture(m.t)
		if err == nil {
			err = unordered(p, m.rosterOf(r.room))
		}
		if err != nil {
			return fmt.Errorf("reader of %q: %w", r.room, err)
		}
	}
	return nil
}

// picture is what the reader makes of what it was told.
func (r *reader) picture(t *testing.T) (*picture, error) {
	p := &picture{gaps: true, room: r.room != ""}
	for _, body := range r.client.bodies(t, r.id) {
		if err := p.take(body); err != nil {
			return p, err
		}
	}
	return p, nil
}

// unordered is sameAs, whoever came first.
func unordered(p *picture, views []*View) error {
	slices.SortFunc(p.sessions, func(a, b fact) int { return strings.Compare(a.SessionID, b.SessionID) })
	slices.SortFunc(views, func(a, b *View) int { return strings.Compare(a.SessionID, b.SessionID) })
	return p.sameAs(views)
}

// finish lets everybody go, and says what was wrong.
func (m *model) finish() error {
	m.store.hook(nil)
	m.inbox.fails(nil)
	m.another.fails(nil)
	m.registry.RetryDead(hookID)
	m.registry.RetryDead(anotherID)
	time.Sleep(resubscribeWithin + time.Second)
	settle()
	if err := m.compare(); err != nil {
		return err
	}
	for i := range m.tabs {
		if c := m.tabs[i].client; c != nil {
			go c.send(frame.Disconnect, "")
		}
	}
	time.Sleep(2 * time.Minute) // every grace is over
	settle()
	if m.waiting() {
		return fmt.Errorf("changes still wait for the store")
	}
	if err := m.compare(); err != nil {
		return err
	}
	for _, room := range []string{"", roomA, roomB} {
		if left := m.standing(room); len(left) > 0 {
			return fmt.Errorf("%v joined %q and never left", left, room)
		}
	}
	if err := m.delivered(); err != nil {
		return err
	}
	if err := m.another.delivered(m.events, m.logged.with("not configured any more")); err != nil {
		return fmt.Errorf("another receiver: %w", err)
	}
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	if n := len(m.disk.events); n != 0 {
		return fmt.Errorf("%d events remain in the store", n)
	}
	if n := len(m.disk.records) - len(m.registry.entries); n != 0 {
		return fmt.Errorf("%d records too many are kept", n)
	}
	return nil
}
