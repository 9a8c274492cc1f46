package stomp

import (
	"strconv"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// onAck takes ACK and NACK.
func (s *Session) onAck(f *frame.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, id, err := s.delivery(f)
	if err != nil {
		return err
	}
	settled := sub.ledger().settle(id, sub.ack == ackClient)
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
			if sub.ledger() != nil && (subscription == "" || sub.id == subscription) && sub.ledger().has(id) {
				return sub, id, nil
			}
		}
	}
	return nil, 0, protocolErrorf("%s: no message %q waits for an acknowledgement", f.Command, value)
}
