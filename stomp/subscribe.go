package stomp

import (
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

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
		sub.special().ledger = new(ledger)
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
		if c, ok := m.(Carrier); ok {
			sub.special().others = c.Carries(s)
		}
		feed, snapshot, err := m.Subscribe(s)
		if err != nil {
			return err
		}
		sub.special().readers = []*reader{{sub: sub, feed: feed, snapshot: snapshot, destination: sub.destination}}
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
			for _, broadcast := range (*b.mounts.Load()).Broadcasts(s, sub.destination) {
				special := sub.special() // first: append's arguments may be looked at before it is called
				special.readers = append(special.readers, &reader{sub: sub, feed: broadcast.Feed, destination: broadcast.Destination})
			}
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
