package presence

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outbox is what announcers have not been told yet: a queue for each, of events
// that they share. With a store it is in there too, from the commit of the change
// on, and how far each announcer has got is written with the commits that come
// anyway. Its lock is taken under Registry.mu, never the other way round.
type outbox struct {
	wanted atomic.Uint32 // the types that some announcer wants

	mu         sync.Mutex
	logger     *slog.Logger
	deliveries []*delivery
	last       uint64        // position of the last event that was added
	added      chan struct{} // closed, and gone, with the next event; nil: nobody waits for it
	gone       []uint64      // are in the store, and nobody needs them
	dirty      bool          // the store does not know all
	saved      time.Time     // when it last knew all
	closing    bool          // nothing is put off any more
}

// saveEvery is how long what announcers have been told may go unwritten: after a
// crash they are told that again.
const saveEvery = time.Second

// wants says whether an event of that type needs a position.
func (o *outbox) wants(t Type) bool { return typeSet(o.wanted.Load()).has(t) }

func (o *outbox) setLogger(l *slog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logger = l
}

// warn returns what logs a warning, without the lock: a log may hang. With o.mu
// held.
func (o *outbox) warn(message string, args ...any) func() {
	logger := o.logger
	return func() { logger.Warn(message, args...) }
}

// add takes an event that is told now.
func (o *outbox) add(e *Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = e.Position
	e.holders++ // while it is handed out
	for _, d := range o.deliveries {
		if d.wants.has(e) {
			d.add(e)
		}
	}
	o.release(e)
	if o.added != nil {
		close(o.added)
		o.added = nil
	}
	o.dirty = true
}

// release says that a delivery does not need an event any more. With o.mu held.
func (o *outbox) release(e *Event) {
	if e.holders--; e.holders == 0 && e.stored {
		o.gone = append(o.gone, e.Position)
	}
	o.dirty = true
}

// find returns the delivery to an announcer, nil for none. With o.mu held.
func (o *outbox) find(id string) *delivery {
	for _, d := range o.deliveries {
		if d.id == id {
			return d
		}
	}
	return nil
}

// unsaved says whether a store should be told how far announcers have got.
func (o *outbox) unsaved() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dirty
}

// save adds to a batch what a store should know: the events of changes that wait
// for it; everything, if it is to hold nothing else; and, now and then, how far
// announcers have got.
func (o *outbox) save(b *Batch, waiting []Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b.Reset {
		b.PutEvents = o.events()
	}
	for i := range waiting {
		if e := waiting[i].event; e != nil {
			b.PutEvents = append(b.PutEvents, e)
		}
	}
	for _, e := range b.PutEvents {
		e.stored = true
	}
	switch {
	case b.Reset:
	case !o.dirty, !o.closing && time.Since(o.saved) < saveEvery:
		return
	default:
		b.DeleteEvents = o.gone
	}
	o.gone, o.dirty, o.saved = nil, false, time.Now()
	b.Announcers = make([]*AnnouncerState, 0, len(o.deliveries))
	for _, d := range o.deliveries {
		b.Announcers = append(b.Announcers, d.state())
	}
}

// events are all that somebody needs, in order. With o.mu held.
func (o *outbox) events() []*Event {
	var all []*Event
	for _, d := range o.deliveries {
		all = slices.Concat(all, d.flight, d.again, d.queue)
		for _, dead := range d.dead {
			all = append(all, dead.event)
		}
	}
	slices.SortFunc(all, byPosition)
	return slices.Compact(all)
}

func byPosition(a, b *Event) int {
	switch {
	case a.Position < b.Position:
		return -1
	case a.Position > b.Position:
		return 1
	default:
		return 0
	}
}

// restore goes on with what a store has kept: announcers that are configured are
// told what they were not told yet. It returns what there is to be logged.
func (o *outbox) restore(kept *Kept) (lost []func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = kept.Meta.Position
	for _, state := range kept.Announcers {
		dead := make(map[uint64]DeadLetter, len(state.Dead))
		for _, letter := range state.Dead {
			dead[letter.Position] = letter
		}
		d, otherwise := o.find(state.ID), typesOf(allEvents...)
		configured := d != nil
		if configured {
			otherwise = d.wants.now()
		} else {
			d = newDelivery(o, state.ID)
		}
		wanted := wantsOf(state.Wanted, otherwise)
		for _, e := range kept.Events {
			letter, isDead := dead[e.Position]
			switch {
			case isDead && letter.Again:
				d.hold(e)
				d.again = append(d.again, e)
			case isDead:
				d.bury(e, letter)
			case e.Position > state.Cursor && wanted.has(e):
				d.hold(e)
				d.queue = append(d.queue, e)
			}
		}
		if !configured {
			lost = append(lost, d.drop(0))
			continue
		}
		types := d.wants.now()
		d.wants = wanted
		d.want(types, o.last)
		d.bound()
		d.start()
	}
	o.dirty = true
	return lost
}

// StopAnnouncers is called when the registry ends. If what waits is kept in a
// store, it waits, before Close, until calls that are under way return;
// otherwise, after Close, until everything is told. It returns when ctx ends, at
// the latest, and a second later if calls do not return then.
func (r *Registry) StopAnnouncers(ctx context.Context) {
	r.mu.Lock()
	kept := r.keeping
	r.mu.Unlock()
	o := &r.outbox
	o.mu.Lock()
	o.closing = true
	all := slices.Clone(o.deliveries)
	for _, d := range all {
		if kept {
			d.stopped = true
		}
		d.hasten()
	}
	o.mu.Unlock()
	for _, d := range all {
		d.await(ctx)
	}
	o.halt(all)
	if !kept {
		o.lose()
	}
}

// lose says what the end of the process takes with it.
func (o *outbox) lose() {
	o.mu.Lock()
	logger := o.logger
	lost := make(map[string]int)
	for _, d := range o.deliveries {
		if n := d.count(); n > 0 {
			lost[d.id] = n
		}
	}
	o.mu.Unlock()
	for id, n := range lost {
		logger.Warn("the announcer could not be told all before the end", "announcer", id, "dropped", n)
	}
}

// close has what announcers have been told written with the next batch.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = true
}

// halt ends deliveries, and calls that are under way.
func (o *outbox) halt(all []*delivery) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o.mu.Lock()
	var calls []*call
	bursts := make([]func(), 0, 2*len(all))
	for _, d := range all {
		d.stopped = true
		d.wakeUp()
		bursts = append(bursts, d.drops.report(), d.rejects.report())
		if d.call != nil {
			calls = append(calls, d.call)
		}
	}
	o.mu.Unlock()
	for _, say := range bursts {
		say()
	}
	for _, c := range calls {
		c.finish(ctx)
	}
	late, cancel := context.WithTimeout(context.Background(), callGrace)
	defer cancel()
	for _, d := range all {
		d.await(late)
	}
}
