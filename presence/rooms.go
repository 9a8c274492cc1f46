package presence

import (
	"maps"
	"slices"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// stay is a session's membership of a room.
type stay struct {
	scope         *scope
	subscriptions int     // of its present connection
	member        *member // nil: not announced
}

// resubscribeWithin is how long a session that returned may take to subscribe
// to its rooms again, before it has left those it did not.
const resubscribeWithin = 5 * time.Second

// Subscribed implements [stomp.SubscriptionObserver]: to subscribe to a room is
// to join it.
func (r *Registry) Subscribed(s *stomp.Session, destination string) {
	if !r.settings.Load().isRoom(destination) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[s.ID()]
	if e == nil || e.session != s {
		return
	}
	if st := e.rooms[destination]; st != nil {
		st.subscriptions++
		return
	}
	if e.rooms == nil {
		e.rooms = make(map[string]*stay)
	}
	if len(e.rooms) >= s.Endpoint().Policy().Limits.Subscriptions {
		r.leaveUnsubscribed(e) // it came back to be in others: they would add up
	}
	st := &stay{scope: r.scope(destination, nil), subscriptions: 1}
	st.scope.arrive()
	e.rooms[destination] = st
	if e.member != nil {
		r.joinRoom(e, st, time.Now())
	}
	r.touch(e)
}

// joinRoom announces a session that is known in a room. With r.mu held.
func (r *Registry) joinRoom(e *entry, st *stay, now time.Time) {
	st.member = new(member)
	st.scope.enter(e.view.User)
	r.change(e, Change{Type: Joined, At: now, scope: st.scope, member: st.member})
}

// Unsubscribed implements [stomp.SubscriptionObserver]: the last subscription
// that ends is leaving the room.
func (r *Registry) Unsubscribed(s *stomp.Session, destination string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[s.ID()]
	if e == nil || e.session != s || e.rooms[destination] == nil {
		return
	}
	st := e.rooms[destination]
	if st.subscriptions--; st.subscriptions == 0 {
		r.leaveRoom(e, destination, Change{Type: Left, At: time.Now()})
		r.touch(e)
	}
}

// leaveRoom takes e out of a room, and announces it with c. With r.mu held.
func (r *Registry) leaveRoom(e *entry, room string, c Change) {
	st := e.rooms[room]
	delete(e.rooms, room)
	st.scope.depart()
	if st.member == nil {
		return
	}
	st.scope.exit(e.view.User)
	c.scope, c.member = st.scope, st.member
	r.change(e, c)
}

// TellSubscription has announcers told, if any wants to be, that a session has
// subscribed to a destination or unsubscribed. It is called with the session's
// lock held.
func (r *Registry) TellSubscription(s *stomp.Session, t Type, destination string) {
	if !r.outbox.wants(t) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[s.ID()]; e != nil && e.session == s {
		r.record(Change{View: e.view, Type: t, At: time.Now(), Destination: destination})
	}
}

// leaveForgottenRooms takes a session that returned out of the rooms that it
// did not subscribe to again. With r.mu held.
func (r *Registry) leaveForgottenRooms(e *entry, epoch int) {
	if e.session == nil || e.view.Epoch != epoch || r.entries[e.view.SessionID] != e || r.closed {
		return
	}
	r.leaveUnsubscribed(e)
	r.touch(e)
}

// leaveUnsubscribed takes e out of the rooms that its connection has not
// subscribed to. With r.mu held.
func (r *Registry) leaveUnsubscribed(e *entry) {
	for _, room := range e.roomsInOrder() {
		if e.rooms[room].subscriptions == 0 {
			r.leaveRoom(e, room, Change{Type: Left, At: time.Now()})
		}
	}
}

func (e *entry) roomsInOrder() []string { return slices.Sorted(maps.Keys(e.rooms)) }
