package stomp

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// QueueConfig bounds what queues hold.
type QueueConfig struct {
	// Backlog is how many messages a queue holds. Default: 1000.
	Backlog int
	// BacklogBytes bounds their bodies and headers. Default: 1 MiB.
	BacklogBytes int
	// TotalBytes bounds what all queues of the broker hold, and what was given
	// to consumers and is not acknowledged. Default: 64 MiB.
	TotalBytes int
	// Refuse says that SEND to a full queue is refused with an ERROR. Default:
	// the queue's oldest message is dropped and counted; the new one if it is
	// other queues that hold TotalBytes.
	Refuse bool
}

func (c QueueConfig) withDefaults() QueueConfig {
	orInt(&c.Backlog, 1000)
	orInt(&c.BacklogBytes, 1<<20)
	orInt(&c.TotalBytes, 64<<20)
	return c
}

// queues are the destinations whose messages go to one consumer each.
type queues struct {
	config  atomic.Pointer[QueueConfig]
	bytes   atomic.Int64 // of all that is held, or given and not acknowledged
	dropped *atomic.Uint64
	seed    maphash.Seed
	shards  [topicShards]queueShard
}

type queueShard struct {
	mu     sync.Mutex
	queues map[string]*queue
}

// queue holds messages in the order they were sent and hands them out to its
// consumers in turn.
type queue struct {
	name string
	all  *queues

	mu        sync.Mutex
	backlog   []*queued // by number
	bytes     int
	numbers   uint64
	consumers []*Subscription
	turn      int
}

// queued is a message of a queue: in its backlog, or in a consumer's ledger.
type queued struct {
	*publication
	number      uint64
	redelivered bool
}

func (q *queued) cost() int { return frameSize(&frame.Frame{Header: q.header, Body: q.body}) }

func (q *queues) init(dropped *atomic.Uint64) {
	q.dropped = dropped
	q.seed = maphash.MakeSeed()
	for i := range q.shards {
		q.shards[i].queues = make(map[string]*queue)
	}
	c := QueueConfig{}.withDefaults()
	q.config.Store(&c)
}

// with calls do with the queue of that name, which is made if need be and goes
// when it has neither messages nor consumers. With the shard's and the queue's
// mu held.
func (q *queues) with(name string, do func(*queue)) {
	sh := &q.shards[maphash.String(q.seed, name)%topicShards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	qu := sh.queues[name]
	if qu == nil {
		name = strings.Clone(name) // of the whole head that it came in
		qu = &queue{name: name, all: q}
		sh.queues[name] = qu
	}
	qu.mu.Lock()
	defer qu.mu.Unlock()
	do(qu)
	if len(qu.consumers) == 0 && len(qu.backlog) == 0 {
		delete(sh.queues, name)
	}
}

// send puts p, which must be the queue's to keep, at the end of the queue.
func (q *queues) send(name string, p *publication) (err error) {
	c := q.config.Load()
	q.with(name, func(qu *queue) {
		qu.numbers++
		item := &queued{publication: p, number: qu.numbers}
		for len(qu.consumers) == 0 || len(qu.backlog) > 0 {
			limit, max := qu.full(item.cost(), c)
			if limit == "" {
				break
			}
			if c.Refuse || item.cost() > min(c.BacklogBytes, c.TotalBytes) {
				err = LimitExceeded(limit, max)
				return
			}
			q.dropped.Add(1)
			if len(qu.backlog) == 0 { // it is other queues that are full
				return
			}
			q.drop(qu.take(0))
		}
		q.bytes.Add(int64(item.cost()))
		qu.put(item)
		qu.dispatch()
		for q.bytes.Load() > int64(c.TotalBytes) && len(qu.backlog) > 0 { // it is not given away, as it seemed
			q.drop(qu.take(0))
			q.dropped.Add(1)
		}
	})
	return err
}

// full names the bound that n more bytes would go over; empty if none.
func (q *queue) full(n int, c *QueueConfig) (limit string, max int) {
	switch {
	case len(q.backlog) >= c.Backlog:
		return "backlog", c.Backlog
	case q.bytes+n > c.BacklogBytes:
		return "backlog_bytes", c.BacklogBytes
	case q.all.bytes.Load()+int64(n) > int64(c.TotalBytes):
		return "total_bytes", c.TotalBytes
	}
	return "", 0
}

// put inserts an item where its number belongs, which usually is the end.
func (q *queue) put(item *queued) {
	at, _ := slices.BinarySearchFunc(q.backlog, item.number, func(e *queued, n uint64) int {
		return int(int64(e.number) - int64(n))
	})
	q.backlog = slices.Insert(q.backlog, at, item)
	q.bytes += item.cost()
}

// take takes an item out of the backlog. It counts in the bytes of all queues
// until drop.
func (q *queue) take(i int) *queued {
	item := q.backlog[i]
	if i == 0 {
		q.backlog[0] = nil
		q.backlog = q.backlog[1:]
	} else {
		q.backlog = slices.Delete(q.backlog, i, i+1)
	}
	q.bytes -= item.cost()
	return item
}

// drop ends the account of an item that was taken and will not come back.
func (q *queues) drop(item *queued) { q.bytes.Add(-int64(item.cost())) }

// dispatch hands out what can be handed out: to each consumer in turn that has
// room. With q.mu held.
func (q *queue) dispatch() {
	for i := 0; i < len(q.backlog); {
		sub, room := q.nextConsumer(q.backlog[i])
		if !room {
			return
		}
		if sub == nil { // those who have room cannot carry it
			if q.carried(q.backlog[i]) {
				return // somebody can, and must not get later ones before it
			}
			i++
			continue
		}
		item := q.take(i)
		if !sub.give(item) { // what it takes, encoded, is more than it has room for
			q.put(item)
			return
		}
		if sub.ledger() == nil {
			q.all.drop(item)
		}
	}
}

// give hands an item to the consumer; false if there was no room, or the
// session has ended.
func (sub *Subscription) give(item *queued) bool {
	v := sub.variant()
	v.redelivered = item.redelivered
	id := sub.session.broker.nextMessageID()
	m := item.encode(v, sub.destination, id)
	if sub.ledger() == nil {
		return sub.session.trySend(m)
	}
	sub.ledger().enter(delivery{id, item}) // first: its ACK may be quick
	if sub.session.trySend(m) {
		return true
	}
	sub.ledger().settle(id, false)
	return false
}

// nextConsumer is the next in turn who can be given the item; room says
// whether anybody has room for it at all.
func (q *queue) nextConsumer(item *queued) (next *Subscription, room bool) {
	for range q.consumers {
		q.turn = (q.turn + 1) % len(q.consumers)
		sub := q.consumers[q.turn]
		if !sub.hasRoom(item) {
			continue
		}
		room = true
		if !item.binary || !sub.session.textOnly {
			return sub, true
		}
	}
	return nil, room
}

// carried says whether there is a consumer that can carry the item.
func (q *queue) carried(item *queued) bool {
	return !item.binary || slices.ContainsFunc(q.consumers, func(sub *Subscription) bool { return !sub.session.textOnly })
}

// hasRoom: a consumer that acknowledges may owe so many acknowledgements, for as
// much as a queue may hold, and none is given more than may wait for it.
func (sub *Subscription) hasRoom(item *queued) bool {
	if sub.ledger() != nil {
		b := sub.session.broker
		c, max := b.queues.config.Load(), sub.session.endpoint.Policy().Limits.Unacknowledged
		if b.queues.bytes.Load() > int64(c.TotalBytes) || !sub.ledger().hasRoom(item.cost(), max, c.BacklogBytes) {
			return false
		}
	}
	return sub.session.hasRoom(item.cost())
}

func (q *queues) subscribe(sub *Subscription) {
	q.with(sub.destination, func(qu *queue) {
		qu.consumers = append(qu.consumers, sub)
		qu.dispatch()
	})
}

// unsubscribe gives what the consumer has not acknowledged to the others, in
// the order in which it was sent.
func (q *queues) unsubscribe(sub *Subscription) {
	q.with(sub.destination, func(qu *queue) {
		qu.consumers = slices.DeleteFunc(qu.consumers, func(c *Subscription) bool { return c == sub })
		if sub.ledger() != nil {
			qu.requeue(sub.ledger().close())
		}
		qu.dispatch()
	})
}

// requeue puts back what a consumer was given, where it was. What is more than
// the queue may hold goes, the oldest first, and is counted.
func (q *queue) requeue(deliveries []delivery) {
	for _, d := range deliveries {
		d.item.redelivered = true
		q.put(d.item)
	}
	c := q.all.config.Load()
	for len(q.backlog) > c.Backlog || q.bytes > c.BacklogBytes && len(q.backlog) > 1 {
		q.all.drop(q.take(0))
		q.all.dropped.Add(1)
	}
}

// settled is called when a consumer acknowledged, so that it has room again,
// or did not want what it was given, which then is given to somebody.
func (q *queues) settled(sub *Subscription, done, back []delivery) {
	q.with(sub.destination, func(qu *queue) {
		for _, d := range done {
			q.drop(d.item)
		}
		qu.requeue(back)
		qu.dispatch()
	})
}

// resume is called when a consumer's outbox was written.
func (q *queues) resume(sub *Subscription) { q.with(sub.destination, (*queue).dispatch) }
