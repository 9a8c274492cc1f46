package stomp

import "github.com/caddy-stomp/caddy-stomp/stomp/frame"

// Subscription is a session's SUBSCRIBE, from its RECEIPT to UNSUBSCRIBE or
// the session's end.
type Subscription struct {
	session     *Session
	id          string // "" in 1.0, if the client gave none
	destination string
	more        *special // nil, as a rule: there are at least as many subscriptions as sessions

	// of a topic
	topic string // its name; "" for a pattern
	group *group
	index int32

	kind kind // kindUnknown: mounted
	ack  ackMode
}

// special is what only some subscriptions have.
type special struct {
	ledger  *ledger   // unless ack is auto
	readers []*reader // of feeds
	others  []string  // destinations where the same can be had
}

// special makes room for what this subscription has.
func (sub *Subscription) special() *special {
	if sub.more == nil {
		sub.more = new(special)
	}
	return sub.more
}

// ledger is nil if there is nothing to acknowledge.
func (sub *Subscription) ledger() *ledger {
	if sub.more == nil {
		return nil
	}
	return sub.more.ledger
}

func (sub *Subscription) readers() []*reader {
	if sub.more == nil {
		return nil
	}
	return sub.more.readers
}

// permitSubscribe asks the rules, which see the destination of a mount without
// a slash at its end, and all others where the same can be had.
func (s *Session) permitSubscribe(sub *Subscription) error {
	destination, others := sub.destination, []string(nil)
	if sub.kind == kindUnknown {
		destination = WithoutSlash(destination)
	}
	if sub.more != nil {
		others = sub.more.others
	}
	return s.permit(ActionSubscribe, destination, others...)
}

// ackMode is how a subscription acknowledges (STOMP 1.2, "SUBSCRIBE ack
// Header").
type ackMode uint8

const (
	ackAuto ackMode = iota
	ackClient
	ackClientIndividual
)

func parseAckMode(v string, version frame.Version) (ackMode, error) {
	switch {
	case v == "", v == "auto":
		return ackAuto, nil
	case v == "client":
		return ackClient, nil
	case v == "client-individual" && version != frame.V10:
		return ackClientIndividual, nil
	}
	return 0, protocolErrorf("SUBSCRIBE: ack is auto, client or, from 1.1 on, client-individual, not %q", v)
}

func (sub *Subscription) variant() variant {
	return variant{version: sub.session.version, subscription: sub.id, ack: sub.ack != ackAuto}
}

// note enters a topic's message into the ledger of a subscription that
// acknowledges. A subscriber that owes too many is refused.
func (sub *Subscription) note(id uint64) bool {
	limit := sub.session.endpoint.Policy().Limits.Unacknowledged
	if sub.ledger().note(id, limit) {
		return true
	}
	// the caller holds locks that the end needs
	go sub.session.fail(LimitExceeded("unacknowledged", limit), nil)
	return false
}

// addSubscription connects sub with what it reads.
func (s *Session) addSubscription(sub *Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseConnected {
		return ErrEnded
	}
	if err := s.permitSubscribe(sub); err != nil { // here, so that recheck misses none
		return err
	}
	if limit := s.endpoint.Policy().Limits.Subscriptions; len(s.subs) >= limit {
		return LimitExceeded("subscriptions", limit)
	}
	if s.subscription(sub.id, sub.destination) != nil {
		if sub.id == "" {
			return protocolErrorf("SUBSCRIBE: already subscribed to %q; give each subscription an id", sub.destination)
		}
		return protocolErrorf("SUBSCRIBE: id %q is in use", sub.id)
	}
	s.subs = append(s.subs, sub)
	s.broker.stats.subscriptions.Add(1)
	s.pulls.Add(int32(len(sub.readers())))
	for _, r := range sub.readers() {
		r.feed.add(r)
	}
	b := s.broker
	switch {
	case sub.kind == kindQueue:
		s.pulls.Add(1)
		b.queues.subscribe(sub)
	case sub.topic != "":
		b.topics.add(sub.topic, sub)
	case sub.kind == kindTopic:
		b.wildcards.add(sub)
	}
	if b.follower != nil && sub.kind != kindUnknown {
		b.follower.Subscribed(s, sub.destination)
	}
	if o := s.endpoint.Policy().Subscriptions; o != nil {
		o.Subscribed(s, sub.destination)
	}
	return nil
}

// recheck ends a session that has what it is no longer permitted to have.
func (s *Session) recheck() {
	s.mu.Lock()
	var err error
	if s.phase == phaseConnected {
		err = s.permitConnect(s.handshake)
		for i := 0; err == nil && i < len(s.subs); i++ {
			err = s.permitSubscribe(s.subs[i])
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.fail(err, nil)
	}
}

// detach disconnects sub from what it reads. With s.mu held.
func (s *Session) detach(sub *Subscription) {
	b := s.broker
	switch {
	case sub.kind == kindQueue:
		s.pulls.Add(-1)
		b.queues.unsubscribe(sub)
	case sub.topic != "":
		b.topics.remove(sub.topic, sub)
	case sub.kind == kindTopic:
		b.wildcards.remove(sub)
	}
	for _, r := range sub.readers() {
		r.feed.remove(r)
	}
	s.pulls.Add(-int32(len(sub.readers())))
	b.stats.subscriptions.Add(-1)
}

// subscription finds a subscription by id, or by destination where there are
// no ids. With s.mu held.
func (s *Session) subscription(id, destination string) *Subscription {
	for _, sub := range s.subs {
		if sub.id == id && (id != "" || sub.destination == destination) {
			return sub
		}
	}
	return nil
}

// removeSubscription undoes addSubscription; false if there is none.
func (s *Session) removeSubscription(id, destination string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sub := range s.subs {
		if sub.id == id && (id != "" || sub.destination == destination) {
			s.subs = append(s.subs[:i], s.subs[i+1:]...)
			s.detach(sub)
			if f := s.broker.follower; f != nil && sub.kind != kindUnknown {
				f.Unsubscribed(s, sub.destination)
			}
			if o := s.endpoint.Policy().Subscriptions; o != nil {
				o.Unsubscribed(s, sub.destination)
			}
			return true
		}
	}
	return false
}

// pull takes what the session's subscriptions read at its own pace, for the
// writer: the next message of each feed. Queues are told that there is room.
func (s *Session) pull() *[]*Message {
	if s.pulls.Load() == 0 { // as a rule
		return nil
	}
	return s.pullNow()
}

// pullNow is apart from pull: its frame makes the stack of every writer grow.
func (s *Session) pullNow() *[]*Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pullLocked()
}

// pullLocked is pullNow with s.mu held.
func (s *Session) pullLocked() (batch *[]*Message) {
	defer func() {
		if v := recover(); v != nil {
			go s.fail(s.panicked(v), nil) // which the writer writes next
		}
	}()
	bytes := 0
	for i := range s.subs {
		if bytes >= pullBytes {
			s.pullAt += i // where to go on, so that none waits for ever
			break
		}
		sub := s.subs[(s.pullAt+i)%len(s.subs)]
		if sub.kind == kindQueue {
			s.broker.queues.resume(sub)
		}
		for _, r := range sub.readers() {
			m := r.next()
			if m == nil {
				continue
			}
			if batch == nil {
				batch = queuePool.Get().(*[]*Message)
			}
			*batch = append(*batch, m)
			bytes += len(m.Data)
		}
	}
	return batch
}

// pullBytes is how much is taken from feeds at once.
const pullBytes = 64 << 10
