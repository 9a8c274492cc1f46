package stomp

import (
	"bytes"
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
	switch f.Command {
	case frame.Send:
		return s.onSend(f)
	case frame.Ack:
		return s.onAck(f, true)
	default:
		return s.onAck(f, false)
	}
}

func (s *Session) onSend(f *frame.Frame) error {
	destination, err := s.destination(f)
	if err != nil {
		return err
	}
	b := s.broker
	if m := b.mount(destination); m != nil {
		return m.Send(s, f)
	}
	kind, rest := b.Destinations().classify(destination)
	if kind == kindTempQueue || kind == kindUnknown {
		return b.Destinations().unknown(f, destination)
	}
	header, err := s.withReplyTo(f.Header)
	if err != nil {
		return err
	}
	p := &publication{header: header, body: f.Body}
	switch kind {
	case kindTopic:
		if wild, _ := pattern(destination); wild {
			return protocolErrorf("SEND: destination %q has wildcards, which only SUBSCRIBE may have", destination)
		}
		b.publish(destination, p)
	case kindQueue:
		// the frame is gone after this, the queue's message is not
		p.body = bytes.Clone(f.Body)
		return b.queues.send(destination, p, &b.stats.dropped)
	case kindUser:
		return s.sendToUser(rest, p)
	default:
		if !b.replies.deliver(rest, destination, p) {
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
func (s *Session) sendToUser(target string, p *publication) error {
	user, session, rest, err := userTarget(target)
	if err != nil {
		return err
	}
	b := s.broker
	destination := b.Destinations().User + rest
	if session == "" {
		if t := b.topics.get(ownTopic(user, rest)); t != nil {
			t.publish(destination, p, b.nextMessageID)
		}
		return nil
	}
	if to := b.Session(session); to != nil && to.ownName() == user {
		to.mu.Lock()
		defer to.mu.Unlock()
		for _, sub := range to.subs {
			if sub.kind == kindUser && sub.destination == destination {
				id := b.nextMessageID()
				if sub.ledger == nil || sub.note(id) {
					to.send(p.encode(sub.variant(), destination, id))
				}
			}
		}
	}
	return nil
}

// ownName is the name that user destinations know a session by: its user's or,
// for an anonymous one, its id.
func (s *Session) ownName() string {
	if u := s.handshake.User; u != "" {
		return u
	}
	return s.id
}

// onAck takes ACK and, if not ok, NACK in the forms of all versions: the
// message's ack header in 1.2, message-id and subscription in 1.1, message-id
// in 1.0 (STOMP 1.2, "ACK").
func (s *Session) onAck(f *frame.Frame, ok bool) error {
	name, subscription := frame.HdrID, ""
	if s.version != frame.V12 {
		name = frame.HdrMessageID
		subscription = f.Header.Get(frame.HdrSubscription)
		if s.version == frame.V11 && subscription == "" {
			return protocolErrorf("%s: subscription is missing", f.Command)
		}
		if s.version == frame.V10 && !ok {
			return protocolErrorf("NACK: there is none in STOMP 1.0")
		}
	}
	value := f.Header.Get(name)
	if value == "" {
		return protocolErrorf("%s: %s is missing", f.Command, name)
	}
	id, err := strconv.ParseUint(value, 36, 64)
	if err != nil {
		return protocolErrorf("%s: no such message %q", f.Command, value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		if sub.ledger == nil || subscription != "" && sub.id != subscription {
			continue
		}
		settled := sub.ledger.settle(id, sub.ack == ackClient)
		if settled == nil {
			continue
		}
		if sub.kind == kindQueue {
			if ok {
				settled = nil
			}
			s.broker.queues.settled(sub, settled)
		}
		return nil
	}
	return protocolErrorf("%s: no message %q waits for an acknowledgement", f.Command, value)
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
	switch sub.kind {
	case kindTopic:
		wild, err := pattern(sub.destination)
		if err != nil {
			return err
		}
		if wild {
			sub.readers = b.broadcasts(sub)
		} else {
			sub.topic = sub.destination
		}
	case kindQueue:
	case kindUser:
		sub.topic = ownTopic(s.ownName(), rest)
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
