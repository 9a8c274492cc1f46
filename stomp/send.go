package stomp

import "github.com/caddy-stomp/caddy-stomp/stomp/frame"

// destination reads the header, which must be there and not too long.
func (s *Session) destination(f *frame.Frame) (string, error) {
	d := f.Header.Get(frame.HdrDestination)
	if d == "" {
		return "", protocolErrorf("%s: destination is missing", f.Command)
	}
	if limit := s.endpoint.Policy().Limits.Destination; len(d) > limit {
		return "", LimitExceeded("destination", limit)
	}
	return d, nil
}

// perform does what SEND, ACK and NACK ask for, at once or at COMMIT.
func (s *Session) perform(f *frame.Frame) error {
	if f.Command == frame.Send {
		return s.onSend(f)
	}
	return s.onAck(f)
}

// check says whether perform would refuse, without doing anything.
func (s *Session) check(f *frame.Frame) error {
	if f.Command == frame.Send {
		if s.refreshes(f) {
			return nil
		}
		r, err := s.routeOf(f)
		if checker, ok := r.mount.(Checker); ok && err == nil {
			err = checker.Check(s, f)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _, err := s.delivery(f)
	return err
}

// route is where a SEND goes.
type route struct {
	destination string
	mount       Mount // of the server's own
	kind        kind
	rest        string // what follows the prefix

	// of kindUser: the user, one of its sessions or "", and what it subscribed
	// to
	user, session, own string
}

func (s *Session) routeOf(f *frame.Frame) (route, error) {
	destination, err := s.destination(f)
	if err != nil {
		return route{}, err
	}
	r, err := s.broker.route(f, destination)
	if err == nil {
		err = s.permitSend(r)
	}
	return r, err
}

// permitSend asks the rules. Who knows the name of a reply queue was given it
// to reply to.
func (s *Session) permitSend(r route) error { return s.endpoint.permitSend(s.handshake, s.id, r) }

func (s *Session) permit(action Action, destination string, others ...string) error {
	return s.endpoint.permit(s.handshake, s.id, action, destination, others...)
}

func (e *Endpoint) permitSend(hs *Handshake, id string, r route) error {
	switch {
	case r.mount != nil:
		return e.permit(hs, id, ActionRegister, WithoutSlash(r.destination))
	case r.kind == kindReplyQueue, e.Policy().Permissions == nil:
		return nil
	case r.kind == kindUser:
		destination, plain := e.broker.Destinations().userDestination(r)
		return e.permit(hs, id, ActionSend, destination, plain)
	default:
		return e.permit(hs, id, ActionSend, r.destination)
	}
}

func (e *Endpoint) permit(hs *Handshake, id string, action Action, destination string, others ...string) error {
	if e.Policy().Permissions.Allows(action, hs, id, destination, others...) {
		return nil
	}
	return Refuse("%s: %q is not permitted", action, destination)
}

// MaySend says whether the session, which must have its id and may have ended,
// may SEND to a destination that [Broker.Publish] takes. From any goroutine.
func (s *Session) MaySend(destination string) error {
	return s.endpoint.MaySend(s.handshake, s.id, destination)
}

// MaySend is [Session.MaySend] for a session of the process before this one, of
// which no more is known than its handshake and its id.
func (e *Endpoint) MaySend(hs *Handshake, sessionID, destination string) error {
	r, err := e.broker.publishable(destination)
	if err == nil {
		err = e.permitSend(hs, sessionID, r)
	}
	return err
}

func (b *Broker) route(f *frame.Frame, destination string) (r route, err error) {
	r.destination = destination
	if r.mount = b.mount(r.destination); r.mount != nil {
		return r, nil
	}
	d := b.Destinations()
	r.kind, r.rest = d.classify(r.destination)
	named := r.rest
	switch r.kind {
	case kindUser:
		r.user, r.session, r.own, err = userTarget(r.rest)
		named = r.own
	case kindTopic, kindQueue, kindReplyQueue:
	default:
		err = d.unknown(f, r.destination)
	}
	if wild, _ := pattern(named); wild && err == nil {
		err = protocolErrorf("SEND: destination %q has wildcards, which only SUBSCRIBE to topics may have", r.destination)
	}
	return r, err
}

func (s *Session) onSend(f *frame.Frame) error {
	if handled, err := s.refresh(f); handled || err != nil {
		return err
	}
	r, err := s.routeOf(f)
	if err != nil {
		return err
	}
	if r.mount != nil {
		return r.mount.Send(s, f)
	}
	header, err := s.withReplyTo(f.Header)
	if err != nil {
		return err
	}
	p := newPublication(header, f.Body)
	if r.kind == kindTopic {
		s.publish(r.destination, f, p)
		return nil
	}
	return s.broker.dispatch(r, p)
}

// dispatch gives p to who is there for it.
func (b *Broker) dispatch(r route, p *publication) error {
	switch r.kind {
	case kindTopic:
		b.publish(r.destination, p)
	case kindQueue:
		return b.queues.send(r.destination, p.keep())
	case kindUser:
		b.sendToUser(r, p)
	default:
		if !b.replies.deliver(r.rest, r.destination, p) {
			b.stats.dropped.Add(1)
		}
	}
	return nil
}

// publish gives what was published to all who subscribed to the topic, or to a
// pattern that matches it.
func (b *Broker) publish(destination string, all ...*publication) {
	if t := b.topics.get(destination); t != nil {
		t.publish(destination, all, b.nextMessageID)
	}
	b.wildcards.match(destination, func(t *topic) { t.publish(destination, all, b.nextMessageID) })
}

// sendToUser gives p to the sessions of a user, or to one of them, that have
// subscribed to what follows the name.
func (b *Broker) sendToUser(r route, p *publication) {
	destination := b.Destinations().User + r.own
	if r.session == "" {
		t := b.topics.get(ownTopic(r.user, r.own))
		if t == nil { // an id that the server made is nobody's name
			if s := b.Session(r.user); s != nil && s.minted && s.handshake.User == "" {
				t = b.topics.get(ownSessionTopic(r.user, r.own))
			}
		}
		if t != nil {
			t.publish(destination, []*publication{p}, b.nextMessageID)
		}
		return
	}
	to := b.Session(r.session)
	if to == nil || to.ownName() != r.user { // a name is set before the session is connected
		return
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, sub := range to.subs {
		if sub.kind != kindUser || sub.destination != destination {
			continue
		}
		id := b.nextMessageID()
		if (sub.ledger() == nil || sub.note(id)) && to.takes(p.size, p.binary) {
			to.send(p.encode(sub.variant(), destination, id))
		}
	}
}

// ownName is the name that user destinations know a session by: its user's or,
// for an anonymous one, its id.
func (s *Session) ownName() string {
	if u := s.handshake.User; u != "" {
		return u
	}
	return s.id
}
