package stomp

import (
	"hash/maphash"
	"sync"
)

// topics finds the subscribers of a destination by its name. The cost does not
// depend on how many other destinations and subscribers there are.
type topics struct {
	seed   maphash.Seed
	shards [topicShards]topicShard
}

const topicShards = 64

type topicShard struct {
	mu     sync.RWMutex
	topics map[string]*topic
}

// topic is the subscribers of a destination or a pattern, grouped by what their
// MESSAGE frames have in common, so that each group's is encoded once.
type topic struct {
	mu     sync.RWMutex
	groups []*group
	byKey  map[variant]*group
}

type group struct {
	variant
	index   int // in topic.groups
	members []*Subscription
}

func newTopic() *topic { return &topic{byKey: make(map[variant]*group)} }

func (t *topic) add(sub *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := sub.variant()
	g := t.byKey[key]
	if g == nil {
		g = &group{variant: key, index: len(t.groups)}
		t.byKey[key] = g
		t.groups = append(t.groups, g)
	}
	sub.group, sub.index = g, int32(len(g.members))
	g.members = append(g.members, sub)
}

// remove says whether there are no subscribers left.
func (t *topic) remove(sub *Subscription) (empty bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := sub.group
	last := len(g.members) - 1
	g.members[sub.index] = g.members[last]
	g.members[sub.index].index = sub.index
	g.members[last] = nil
	g.members = g.members[:last]
	if last == 0 {
		delete(t.byKey, g.variant)
		end := len(t.groups) - 1
		t.groups[g.index] = t.groups[end]
		t.groups[g.index].index = g.index
		t.groups[end] = nil
		t.groups = t.groups[:end]
	}
	return len(t.groups) == 0
}

// publish gives all, as messages to destination, to all subscribers and returns
// how many there are. The hot path: one encoding a group, one queue operation a
// subscriber, no allocation a subscriber. A group of which nobody has room costs
// no encoding: one session may be as many groups as it may have subscriptions.
func (t *topic) publish(destination string, all []*publication, nextID func() uint64) int {
	n := 0
	t.mu.RLock()
	defer t.mu.RUnlock()
	var one [1]encoding
	for _, g := range t.groups {
		encodings := one[:]
		if len(all) > 1 {
			encodings = make([]encoding, len(all))
		}
		for i, p := range all {
			encodings[i] = encoding{publication: p, id: nextID()}
		}
		for i, sub := range g.members {
			if i%ahead == 0 {
				lookAhead(g.members[i:])
			}
			if !g.ack {
				sub.session.sendAll(g.variant, destination, encodings)
				continue
			}
			for j := range encodings {
				if !sub.note(encodings[j].id) {
					break // its end is on the way
				}
				sub.session.sendAll(g.variant, destination, encodings[j:j+1])
			}
		}
		n += len(g.members)
	}
	return n
}

// encoding is a publication as a group gets it.
type encoding struct {
	*publication
	id      uint64
	message *Message // nil until somebody has room for it
}

// ahead is how many sessions are looked at before they are given a message.
const ahead = 16

// lookAhead has the sessions of the next members brought into the cache, all at
// the same time. Otherwise each is waited for alone, as none is looked for before
// the lock of the one before it was taken: with 16,000 subscribers and many
// messages in flight that is a third of what a delivery costs. It is not inlined,
// as the compiler would leave out what nobody uses.
//
//go:noinline
func lookAhead(members []*Subscription) (texts int) {
	for _, sub := range members[:min(ahead, len(members))] {
		if sub.session.textOnly {
			texts++
		}
	}
	return texts
}

func (t *topics) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].topics = make(map[string]*topic)
	}
}

func (t *topics) shard(name string) *topicShard {
	return &t.shards[maphash.String(t.seed, name)%topicShards]
}

// add subscribes sub to the topic of that name, which is made if need be.
func (t *topics) add(name string, sub *Subscription) {
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	tp := sh.topics[name]
	if tp == nil {
		tp = newTopic()
		sh.topics[name] = tp
	}
	tp.add(sub)
}

// remove takes sub out again; the topic goes with its last subscriber.
func (t *topics) remove(name string, sub *Subscription) {
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.topics[name].remove(sub) {
		delete(sh.topics, name)
	}
}

// get returns the topic of that name, nil if nobody subscribed to it.
func (t *topics) get(name string) *topic {
	sh := t.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.topics[name]
}
