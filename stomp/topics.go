package stomp

import (
	"hash/maphash"
	"sync"
)

// topics finds the subscribers of a destination. Its cost does not depend on
// how many other destinations and subscribers there are.
type topics struct {
	seed   maphash.Seed
	shards [topicShards]topicShard
}

const topicShards = 64

type topicShard struct {
	mu     sync.RWMutex
	topics map[string]*topic
}

// topic is one destination's subscribers, grouped by what their MESSAGE frames
// have in common, so that each group's is encoded once.
type topic struct {
	name   string
	mu     sync.RWMutex
	groups []*group
	byKey  map[variant]*group
}

type group struct {
	variant
	index   int // in topic.groups
	members []*Subscription
}

func (t *topics) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].topics = make(map[string]*topic)
	}
}

func (t *topics) shard(destination string) *topicShard {
	return &t.shards[maphash.String(t.seed, destination)%topicShards]
}

// add subscribes sub to its destination.
func (t *topics) add(sub *Subscription) {
	sh := t.shard(sub.destination)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	tp := sh.topics[sub.destination]
	if tp == nil {
		tp = &topic{name: sub.destination, byKey: make(map[variant]*group)}
		sh.topics[sub.destination] = tp
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	key := sub.variant()
	g := tp.byKey[key]
	if g == nil {
		g = &group{variant: key, index: len(tp.groups)}
		tp.byKey[key] = g
		tp.groups = append(tp.groups, g)
	}
	sub.group, sub.index = g, len(g.members)
	g.members = append(g.members, sub)
}

// remove takes sub out again; the topic goes with its last subscriber.
func (t *topics) remove(sub *Subscription) {
	sh := t.shard(sub.destination)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	tp := sh.topics[sub.destination]
	tp.mu.Lock()
	defer tp.mu.Unlock()
	g := sub.group
	last := len(g.members) - 1
	g.members[sub.index] = g.members[last]
	g.members[sub.index].index = sub.index
	g.members[last] = nil
	g.members = g.members[:last]
	if last > 0 {
		return
	}
	delete(tp.byKey, g.variant)
	end := len(tp.groups) - 1
	tp.groups[g.index] = tp.groups[end]
	tp.groups[g.index].index = g.index
	tp.groups[end] = nil
	tp.groups = tp.groups[:end]
	if end == 0 {
		delete(sh.topics, tp.name)
	}
}

// publish gives p to all subscribers of destination and returns how many there
// are. The hot path: one encoding a group, one queue operation a subscriber,
// no allocation a subscriber.
func (t *topics) publish(destination string, p *publication, nextID func() uint64) int {
	sh := t.shard(destination)
	sh.mu.RLock()
	tp := sh.topics[destination]
	sh.mu.RUnlock()
	if tp == nil {
		return 0
	}
	n := 0
	tp.mu.RLock()
	defer tp.mu.RUnlock()
	for _, g := range tp.groups {
		m := p.encode(g.variant, nextID())
		for _, sub := range g.members {
			sub.session.send(m)
		}
		n += len(g.members)
	}
	return n
}
