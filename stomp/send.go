package stomp

import (
	"strconv"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

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
		r, err := s.route(f)
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

func (s *Session) route(f *frame.Frame) (r route, err error) {
	if r.destination, err = s.destination(f); err != nil {
		return r, err
	}
	if r.mount = s.broker.mount(r.destination); r.mount != nil {
		return r, nil
	}
	d := s.broker.Destinations()
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
	r, err := s.route(f)
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
	b, p := s.broker, &publication{header: header, body: f.Body}
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

// publish gives p to all who subscribed to the topic, or to a pattern that
// matches it.
func (b *Broker) publish(destination string, p *publication) {
	if t := b.topics.get(destination); t != nil {
		t.publish(destination, p, b.nextMessageID)
	}
	b.wildcards.match(destination, func(t *topic) { t.publish(destination, p, b.nextMessageID) })
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
			t.publish(destination, p, b.nextMessageID)
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
		if sub.ledger == nil || sub.note(id) {
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

// onAck takes ACK and NACK.
func (s *Session) onAck(f *frame.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, id, err := s.delivery(f)
	if err != nil {
		return err
	}
	settled := sub.ledger.settle(id, sub.ack == ackClient)
	switch {
	case sub.kind != kindQueue:
	case f.Command == frame.Ack:
		s.broker.queues.settled(sub, settled, nil)
	default:
		s.broker.queues.settled(sub, nil, settled)
	}
	return nil
}

// delivery finds the message that an ACK or a NACK means, in the forms of all
// versions: by the message's ack header in 1.2, by message-id and subscription
// in 1.1, by message-id in 1.0 (STOMP 1.2, "ACK"). With s.mu held.
func (s *Session) delivery(f *frame.Frame) (*Subscription, uint64, error) {
	name, subscription := frame.HdrID, ""
	if s.version != frame.V12 {
		name = frame.HdrMessageID
		subscription = f.Header.Get(frame.HdrSubscription)
	}
	value := f.Header.Get(name)
	switch {
	case s.version == frame.V10 && f.Command == frame.Nack:
		return nil, 0, protocolErrorf("NACK: there is none in STOMP 1.0")
	case s.version == frame.V11 && subscription == "":
		return nil, 0, protocolErrorf("%s: subscription is missing", f.Command)
	case value == "":
		return nil, 0, protocolErrorf("%s: %s is missing", f.Command, name)
	}
	if id, err := strconv.ParseUint(value, 36, 64); err == nil {
		for _, sub := range s.subs {
			if sub.ledger != nil && (subscription == "" || sub.id == subscription) && sub.ledger.has(id) {
				return sub, id, nil
			}
		}
	}
	return nil, 0, protocolErrorf("%s: no message %q waits for an acknowledgement", f.Command, value)
}

func (s *Session) onSubscribe(f *frame.Frame) error {
	destination, err := s.destination(f)
	if err != nil {
		return err
	}
	id := f.Header.Get(frame.HdrID)
	if id == "" && s.version != frame.V10 {
		return protocolErrorf("SUBSCRIBE: id is missing")
	}
	ack, err := parseAckMode(f.Header.Get(frame.HdrAck), s.version)
	if err != nil {
		return err
	}
	// cloned, so that not the whole frame stays in memory with them
	sub := &Subscription{session: s, id: strings.Clone(id), destination: strings.Clone(destination), ack: ack}
	if ack != ackAuto {
		sub.ledger = new(ledger)
	}
	if err := s.resolve(sub, f); err != nil {
		return err
	}
	return s.addSubscription(sub)
}

// resolve finds out what a SUBSCRIBE reads.
func (s *Session) resolve(sub *Subscription, f *frame.Frame) error {
	b := s.broker
	if m := b.mount(sub.destination); m != nil {
		if sub.ack != ackAuto {
			return protocolErrorf("SUBSCRIBE: %s has nothing to acknowledge; ack must be auto", sub.destination)
		}
		feed, snapshot, err := m.Subscribe(s)
		if err != nil {
			return err
		}
		sub.readers = []*reader{{sub: sub, feed: feed, snapshot: snapshot, destination: sub.destination}}
		return nil
	}
	var rest string
	sub.kind, rest = b.Destinations().classify(sub.destination)
	wild, err := pattern(sub.destination)
	if err == nil && wild && sub.kind != kindTopic && sub.kind != kindUnknown {
		err = protocolErrorf("SUBSCRIBE: destination %q has wildcards, which only topics may have", sub.destination)
	}
	if err != nil {
		return err
	}
	switch sub.kind {
	case kindTopic:
		if wild {
			sub.readers = b.broadcasts(sub)
		} else {
			sub.topic = sub.destination
		}
	case kindQueue:
	case kindUser:
		if u := s.handshake.User; u != "" {
			sub.topic = ownTopic(u, rest)
		} else {
			sub.topic = ownSessionTopic(s.id, rest)
		}
	case kindTempQueue, kindReplyQueue:
		return protocolErrorf("SUBSCRIBE: replies to %s come without it", b.Destinations().TempQueue)
	default:
		return b.Destinations().unknown(f, sub.destination)
	}
	return nil
}

// broadcasts are the mounted feeds that a pattern reaches.
func (b *Broker) broadcasts(sub *Subscription) []*reader {
	var readers []*reader
	for destination, m := range *b.mounts.Load() {
		if broadcast, ok := m.(Broadcast); ok && matches(sub.destination, destination) {
			readers = append(readers, &reader{sub: sub, feed: broadcast.Feed(), destination: destination})
		}
	}
	return readers
}

func (s *Session) onUnsubscribe(f *frame.Frame) error {
	id, destination := f.Header.Get(frame.HdrID), ""
	if id == "" {
		if s.version != frame.V10 {
			return protocolErrorf("UNSUBSCRIBE: id is missing")
		}
		if destination = f.Header.Get(frame.HdrDestination); destination == "" {
			return protocolErrorf("UNSUBSCRIBE: id or destination is missing")
		}
	}
	if !s.removeSubscription(id, destination) {
		return protocolErrorf("UNSUBSCRIBE: no such subscription %q", id+destination)
	}
	return nil
}
