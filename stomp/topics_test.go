package stomp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// leftTopics is what the tables of destinations still hold.
func leftTopics(b *Broker) (n int) {
	for i := range b.topics.shards {
		n += len(b.topics.shards[i].topics)
	}
	return n
}

// Whose MESSAGE frames are the same bytes is one group, and gets one encoding.
func TestTopicGroups(t *testing.T) {
	b := newTestBroker(t)
	e := b.Endpoint("/", unlimited())
	var all []*Session
	for i := range 30 { // three ids, ten sessions of each
		s := open(t, e, discard{})
		say(t, s, "SUBSCRIBE\nid:%d\ndestination:/topic/a\n\n\x00", i%3)
		say(t, s, "SUBSCRIBE\nid:other\ndestination:/topic/b\n\n\x00")
		all = append(all, s)
	}
	tp := b.topics.get("/topic/a")
	if len(tp.groups) != 3 || len(tp.byKey) != 3 || len(tp.groups[0].members) != 10 {
		t.Fatalf("%d groups", len(tp.groups))
	}
	before := b.lastID.Load()
	if n := tp.publish("/topic/a", []*publication{{}}, b.nextMessageID); n != 30 {
		t.Errorf("published to %d", n)
	}
	if encodings := b.lastID.Load() - before; encodings != 3 {
		t.Errorf("%d encodings", encodings)
	}
	// they go in any order, the rest stays reachable
	for i, j := range rand.Perm(30) {
		if j%2 == 0 {
			say(t, all[j], "UNSUBSCRIBE\nid:%d\n\n\x00", j%3)
		} else {
			all[j].End(End{Reason: ReasonPolicy})
		}
		n := 0
		if tp := b.topics.get("/topic/a"); tp != nil {
			n = tp.publish("/topic/a", []*publication{{}}, b.nextMessageID)
		}
		if n != 29-i {
			t.Fatalf("published to %d, want %d", n, 29-i)
		}
	}
	for _, s := range all {
		s.End(End{Reason: ReasonPolicy})
	}
	if n := leftTopics(b); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// counter is a transport that counts the messages of each subscription.
type counter struct {
	discard
	received *atomic.Int64
}

func (c counter) Write(batch []*Message) error {
	for _, m := range batch {
		if strings.HasPrefix(string(m.Data), "MESSAGE\n") {
			c.received.Add(1)
		}
	}
	return nil
}

// Subscribing, publishing and unsubscribing at the same time: whoever is
// subscribed all the time gets everything, nobody anything twice.
func TestTopicsConcurrently(t *testing.T) {
	b := newTestBroker(t)
	e := b.Endpoint("/", unlimited())
	const senders, each = 4, 500
	var steady atomic.Int64
	s := open(t, e, counter{received: &steady})
	say(t, s, "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00")

	var wg sync.WaitGroup
	for range senders {
		sender := open(t, e, discard{})
		wg.Go(func() {
			for i := range each {
				say(t, sender, "SEND\ndestination:/topic/a\n\n%d\x00", i)
			}
		})
		restless := open(t, e, discard{})
		wg.Go(func() {
			for i := range each {
				say(t, restless, "SUBSCRIBE\nid:%d\ndestination:/topic/a\n\n\x00", i)
				say(t, restless, "SUBSCRIBE\nid:x%d\ndestination:/topic/%d\n\n\x00", i, i%7)
				say(t, restless, "UNSUBSCRIBE\nid:%d\n\n\x00", i)
				say(t, restless, "UNSUBSCRIBE\nid:x%d\n\n\x00", i)
			}
		})
	}
	wg.Wait()
	s.End(End{Reason: ReasonDisconnect})
	for steady.Load() < senders*each && outboxBusy(s) {
	}
	if n := steady.Load(); n != senders*each {
		t.Errorf("%d messages arrived of %d", n, senders*each)
	}
	if n := leftTopics(b); n != 0 {
		t.Errorf("%d topics are left", n)
	}
	if n := b.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// outboxBusy says whether the writer has not closed the connection yet.
func outboxBusy(s *Session) bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.state != outboxClosed
}

// The hot path allocates for the message, not for its receivers.
func TestAllocationsPerDelivery(t *testing.T) {
	measure := func(subscribers int) float64 {
		b := newTestBroker(t)
		e := b.Endpoint("/", unlimited())
		released := make(chan struct{})
		defer close(released)
		var subscribed []*Session
		for range subscribers {
			s := open(t, e, stuck{released: released})
			say(t, s, "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00")
			subscribed = append(subscribed, s)
		}
		sender := open(t, e, discard{})
		send := []byte("SEND\ndestination:/topic/a\n\nhello\x00")
		publish := func() {
			if err := sender.Receive(send, false); err != nil {
				t.Fatal(err)
			}
		}
		publish()
		for _, s := range subscribed { // the growth of what waits is not the delivery's
			s.out.mu.Lock()
			if s.out.queue == nil {
				s.out.queue = new([]*Message)
			}
			*s.out.queue = slices.Grow(*s.out.queue, 200)
			s.out.mu.Unlock()
		}
		return testing.AllocsPerRun(100, publish)
	}
	none, one, many := measure(0), measure(1), measure(1000)
	t.Logf("allocations of one SEND: %v to nobody, %v to one, %v to a thousand", none, one, many)
	if raceEnabled {
		return // sync.Pool drops things at random
	}
	// an allocation a delivery would be a thousand; other goroutines of the
	// process allocate a few meanwhile
	if many > one+50 {
		t.Errorf("%v allocations to a thousand receivers, %v to one", many, one)
	}
	if one > none+2 {
		t.Errorf("%v allocations to one receiver, %v to nobody: more than a Message and its bytes", one, none)
	}
}

// A publication that is kept remembers a bounded number of encodings.
func TestVariantsBound(t *testing.T) {
	b := newTestBroker(t)
	e := b.Endpoint("/", unlimited())
	feed := NewFeed(FeedConfig{})
	b.SetMounts(mounted{"/feed": feedMount{feed}})
	for i := range 10 * maxVariants {
		s := open(t, e, discard{})
		say(t, s, "SUBSCRIBE\nid:my own %d\ndestination:/feed\n\n\x00", i)
	}
	feed.Append(1, []byte("x"))
	for feed.log[0].publication.readBy() < maxVariants {
	}
	if n := feed.log[0].publication.readBy(); n != maxVariants {
		t.Errorf("%d encodings are kept", n)
	}
}

func (p *publication) readBy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.variants)
}
