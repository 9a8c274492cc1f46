package presence

import (
	"context"
	"slices"
	"time"
)

// SetAnnouncers puts announcers in force. Those that are known, by their IDs, go
// on with what waits for them; new ones begin with what happens from now on. The
// function that is returned is called to let go of those of before: it waits until
// those that are not configured any more have been told what was left, also what
// still waits for its commit, or ctx ends, and a second at most for calls of the
// others, and cuts off what is left then.
func (r *Registry) SetAnnouncers(announcers []AnnouncerConfig) (settle func(context.Context)) {
	r.mu.Lock() // which orders it with changes
	defer r.mu.Unlock()
	leaving, calls := r.outbox.configure(announcers, r.position)
	last := r.outbox.lastOf(leaving, r.journal.events())
	return func(ctx context.Context) {
		if len(leaving) > 0 {
			r.outbox.reach(ctx, last)
			r.dismiss(ctx, leaving)
		}
		ctx, cancel := context.WithTimeout(ctx, callGrace)
		defer cancel()
		for _, c := range calls {
			c.finish(ctx)
		}
	}
}

// configure puts announcers in force for what happens after a position. It returns
// those that are not configured any more, and the calls that are under way.
func (o *outbox) configure(announcers []AnnouncerConfig, position uint64) (leaving []*delivery, calls []*call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.deliveries {
		d.leaving = true
		if d.call != nil {
			calls = append(calls, d.call)
		}
	}
	var wanted typeSet
	for _, c := range announcers {
		d := o.find(c.ID())
		if d == nil {
			d = newDelivery(o, c.ID())
			o.deliveries = append(o.deliveries, d)
		}
		d.configure(c, position)
		wanted |= d.wants.now()
	}
	o.wanted.Store(uint32(wanted))
	o.dirty, o.saved = true, time.Time{} // what is kept with the next event is whom it is for
	for _, d := range o.deliveries {
		if d.leaving {
			leaving = append(leaving, d)
			d.want(0, position)
			d.hasten()
		}
	}
	return leaving, calls
}

// lastOf is the position of the last of events that some delivery wants, 0 for
// none.
func (o *outbox) lastOf(deliveries []*delivery, events []*Event) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range slices.Backward(events) {
		if slices.ContainsFunc(deliveries, func(d *delivery) bool { return d.wants.has(e) }) {
			return e.Position
		}
	}
	return 0
}

// reach returns when all events up to a position have been added, or ctx ends.
func (o *outbox) reach(ctx context.Context, position uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.last < position && ctx.Err() == nil {
		if o.added == nil {
			o.added = make(chan struct{})
		}
		added := o.added
		o.mu.Unlock()
		select {
		case <-added:
		case <-ctx.Done():
		}
		o.mu.Lock()
	}
}

// dismiss waits until deliveries have nothing left to tell, and forgets them.
func (r *Registry) dismiss(ctx context.Context, leaving []*delivery) {
	for _, d := range leaving {
		d.await(ctx)
	}
	r.outbox.halt(leaving)
	for _, say := range r.forget(leaving) {
		say()
	}
}

// forget is the end of deliveries that are halted. It returns what there is to be
// logged.
func (r *Registry) forget(leaving []*delivery) (lost []func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	coming := r.journal.events()
	for _, d := range leaving {
		if !d.leaving { // it was configured again
			d.stopped = o.closing
			d.start()
			continue
		}
		lost = append(lost, d.drop(d.wants.count(coming)))
		o.deliveries = slices.DeleteFunc(o.deliveries, func(other *delivery) bool { return other == d })
	}
	o.dirty = true
	return lost
}
