package presence

import (
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// A session's life: Connected, then Ended, after which it is left at once or
// unreachable; Resume and Connected again, or expire. Each connection is an
// epoch, and what is said of one that is over is not heard.

// Connected implements [stomp.Observer]: the session is registered, with the
// client data of the CONNECT frame, if there is any, or goes on.
func (r *Registry) Connected(s *stomp.Session, connect *frame.Frame) (frame.Header, error) {
	data, err := clientDataOf(connect, s.Endpoint().Policy().Limits.ClientData())
	if err != nil {
		return nil, err
	}
	will, err := willOf(connect, s)
	if err != nil {
		return nil, err
	}
	hs := s.Handshake()
	view := &View{
		SessionID: s.ID(), User: hs.User, ClientData: data, Attributes: hs.Attributes, ConnectedAt: s.ConnectedAt(),
		Broker: s.Endpoint().Broker().Name(), Endpoint: s.Endpoint().Name(),
		Transport: hs.Transport, Version: s.Version().String(), RemoteAddr: hs.RemoteAddr, Epoch: 1,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[s.ID()]
	switch {
	case e != nil && s.Resumed():
		r.takeUp(e, s, hs, view, will)
	case e != nil || s.Resumed():
		return nil, stomp.Refuse("the session has just ended")
	default:
		e = &entry{view: view, session: s, address: hs.Address, will: will}
		r.entries[s.ID()] = e
		e.scope = r.scope("", r.settings.Load().announce.values(view))
		e.scope.arrive()
		connected := Change{View: view, Type: Connected, At: view.ConnectedAt, UserSessions: e.scope.users[hs.User], scope: e.scope}
		if hs.User != "" {
			connected.UserSessions++
		}
		r.record(connected)
		if data != nil || hs.User != "" {
			r.join(e)
		}
	}
	if data != nil {
		r.counts.registrations++
	}
	r.touch(e)
	if !r.resumable() {
		return nil, nil
	}
	return frame.Header{{Name: ResumeTokenHeader, Value: token(r.key, e.view)}}, nil
}

// resumable says whether a session may outlive its connection. With r.mu held.
func (r *Registry) resumable() bool {
	return r.settings.Load().Grace > 0 || r.journal.store != nil
}

// takeUp gives a session that has lost its connection the next one. What is
// known of it stays; what the new handshake says is new. With r.mu held.
func (r *Registry) takeUp(e *entry, s *stomp.Session, hs *stomp.Handshake, view *View, will *Will) {
	view.ConnectedAt, view.Epoch = e.view.ConnectedAt, e.view.Epoch+1
	if view.ClientData == nil {
		view.ClientData = e.view.ClientData
	}
	if e.lost != nil {
		r.waits(e, -1)
	}
	r.counts.resumed++
	e.view, e.session, e.address, e.will = view, s, hs.Address, will
	e.lost, e.back = nil, nil
	r.stopAlarms(e)
	e.forgetUpdate()
	now := time.Now()
	switch {
	case e.member != nil:
		r.changeAll(e, Change{Type: Returned, At: now})
	case view.ClientData != nil: // it was not known before
		r.join(e)
	default:
		r.record(Change{View: view, Type: Returned, At: now, scope: e.scope})
	}
	if len(e.rooms) > 0 {
		epoch := view.Epoch
		e.forgets = r.setAlarm(now.Add(resubscribeWithin), func() { r.leaveForgottenRooms(e, epoch) })
	}
}

// takenOverGrace is how long a session whose connection was taken over waits
// for the one that did, which is about to be connected.
const takenOverGrace = 5 * time.Second

// Ended implements [stomp.Observer].
func (r *Registry) Ended(s *stomp.Session, end stomp.End) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[s.ID()]
	if e == nil || e.session != s {
		return // it has another connection by now
	}
	e.session = nil
	for _, st := range e.rooms {
		st.subscriptions = 0
	}
	loss := Loss{Reason: end.Reason, Code: end.Code, Silence: end.Silence, At: end.At}
	settings := r.settings.Load()
	switch {
	case r.keeping && end.Reason == stomp.ReasonServerShutdown:
		loss.Until = end.At.Add(settings.RecoveryGrace)
		r.lose(e, loss)
	case e.kicked:
		r.leave(e, loss)
		return
	case e.back != nil && e.back.resuming: // the one that takes over says so
		loss.Until = end.At.Add(takenOverGrace)
		r.lose(e, loss)
	case settings.hasGrace(end.Reason) && settings.Grace > end.Waited && r.mayWait(e, &s.Endpoint().Policy().Limits):
		loss.Until = end.At.Add(settings.Grace - end.Waited)
		r.lose(e, loss)
		view := *e.view
		view.Unreachable = true
		e.view = &view
		c := Change{Type: Unreachable, At: loss.At, Reason: loss.Reason, Code: loss.Code, Silence: loss.Silence}
		if e.member != nil {
			r.changeAll(e, c)
		} else {
			c.scope = e.scope
			r.change(e, c)
		}
	default:
		r.leave(e, loss)
		return
	}
	r.touch(e)
}

// lose makes e a session without a connection, for a while. With r.mu held.
func (r *Registry) lose(e *entry, loss Loss) {
	e.lost = &loss
	r.waits(e, 1)
	e.forgetUpdate() // what it says last is told when it returns or is left
	r.expireAt(e, loss.Until)
	r.willAt(e, loss.At)
}

// mayWait says whether one more session may be unreachable: as many as may be
// connected, of its endpoint's limits, its user's and its address's. Otherwise a
// client that connects and breaks off could fill the memory. With r.mu held.
func (r *Registry) mayWait(e *entry, l *stomp.Limits) bool {
	within := func(waiting, limit int) bool { return limit < 0 || waiting < limit }
	return r.counts.unreachable < l.Sessions &&
		(e.view.User == "" || within(r.waiting[waiter{user: e.view.User}], l.SessionsPerUser)) &&
		(e.address == "" || within(r.waiting[waiter{address: e.address}], l.SessionsPerAddress))
}

// waiter is whom unreachable sessions are counted by.
type waiter struct{ user, address string }

// waits counts an unreachable session, or one less. With r.mu held.
func (r *Registry) waits(e *entry, n int) {
	r.counts.unreachable += n
	for _, by := range [...]waiter{{user: e.view.User}, {address: e.address}} {
		if by == (waiter{}) {
			continue
		}
		if r.waiting[by] += n; r.waiting[by] == 0 {
			delete(r.waiting, by)
		}
	}
}

// willAt has the will of a lost session carried out when its delay is over,
// which counts from a time, unless the session is left or returns before. With
// r.mu held.
func (r *Registry) willAt(e *entry, from time.Time) {
	w, lost := e.will, e.lost
	if w == nil || w.Delay < 0 || lost.Reason.Clean() || !from.Add(w.Delay).Before(lost.Until) {
		return
	}
	var ring func()
	ring = func() {
		switch {
		case e.will != w || !r.stillLost(e, lost):
		case e.back != nil: // and is not gone
			e.back.putOff = append(e.back.putOff, ring)
		default:
			e.will = nil
			r.carryOut(w)
			r.touch(e)
		}
	}
	e.wills = r.setAlarm(from.Add(w.Delay), ring)
}

// expireAt has e left at that time unless it returns. With r.mu held.
func (r *Registry) expireAt(e *entry, at time.Time) {
	lost := e.lost
	latest := lost.Until.Add(comingBackTakes)
	var ring func()
	ring = func() {
		switch {
		case !r.stillLost(e, lost):
		case e.back != nil && time.Now().Before(latest):
			e.back.putOff = append(e.back.putOff, ring)
			e.expires = r.setAlarm(latest, ring)
		default:
			r.leave(e, *lost)
		}
	}
	e.expires = r.setAlarm(at, ring)
}

// stillLost says that e has been lost since, and that it matters. With r.mu
// held.
func (r *Registry) stillLost(e *entry, lost *Loss) bool {
	return e.lost == lost && r.entries[e.view.SessionID] == e && !r.closed && !r.keeping
}

// stopAlarms is called when e is lost no longer. With r.mu held.
func (r *Registry) stopAlarms(e *entry) {
	for _, a := range [...]*alarm{e.expires, e.wills, e.forgets} {
		r.stopAlarm(a)
	}
	e.expires, e.wills, e.forgets = nil, nil, nil
	if e.back != nil {
		e.back.putOff = nil
	}
}

// leave is the end of a session: the only one. With r.mu held.
func (r *Registry) leave(e *entry, loss Loss) {
	r.stopAlarms(e)
	e.forgetUpdate()
	delete(r.entries, e.view.SessionID)
	if e.lost != nil {
		r.waits(e, -1)
	}
	if e.view.Unreachable {
		view := *e.view
		view.Unreachable = false
		e.view = &view
	}
	c := Change{Type: Left, At: loss.At, Reason: loss.Reason, Code: loss.Code, Silence: loss.Silence, scope: e.scope, member: e.member}
	if !loss.Reason.Clean() {
		c.will = e.will
	}
	if e.member != nil {
		r.known--
		e.scope.exit(e.view.User)
	}
	r.change(e, c)
	c.will = nil
	for _, room := range e.roomsInOrder() {
		r.leaveRoom(e, room, c)
	}
	e.scope.depart()
	r.touch(e)
}

// Kick ends a session as [stomp.ReasonPolicy], whether it is connected or not.
// It does not come back, even if it is being lost or taken over. It returns
// false if there is none with that id.
func (r *Registry) Kick(sessionID, text string) bool {
	r.mu.Lock()
	e := r.entries[sessionID]
	if e == nil {
		r.mu.Unlock()
		return false
	}
	e.kicked = true
	s := e.session
	if s == nil {
		loss := *e.lost
		loss.Reason, loss.Code, loss.At = stomp.ReasonPolicy, stomp.ReasonPolicy.Code(), time.Now()
		r.leave(e, loss)
	}
	r.mu.Unlock()
	if s != nil {
		s.End(stomp.End{Reason: stomp.ReasonPolicy, Text: strings.TrimSpace(text)})
	}
	return true
}
