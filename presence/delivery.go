package presence

import (
	"context"
	"slices"
	"time"
)

// delivery is how an announcer gets its events: one batch at a time, oldest
// first, by a goroutine that lives while there is something to tell. Its fields
// are guarded by outbox.mu.
type delivery struct {
	*outbox
	id       string
	guest    Announcer
	settings DeliverySettings
	wants    wants
	circuit  *Circuit
	slots    chan struct{}

	queue  []*Event // oldest first
	again  []*Event // dead letters that are to be tried once more: before all others
	flight []*Event // the batch that is being tried, which is in neither
	retold bool     // flight is of again
	parts  []int    // sizes of the next batches, which are parts of one that was rejected
	dead   []buried
	bytes  int // of queue, again and flight
	graves int // bytes of dead

	running bool
	ended   chan struct{} // closed when it runs no more
	wake    chan struct{} // there may be something to do
	leaving bool          // no configuration names it
	stopped bool
	off     error     // the receiver wants nothing any more
	attempt int       // how often flight was tried
	row     int       // dead letters in a row
	until   time.Time // nothing is tried before, for rejected batches in a row
	call    *call     // under way
	lastErr error     // nil: the last call went well
	lastAt  time.Time // when lastErr came

	n              counters
	drops, rejects burst
}

// patientFor is how many dead letters in a row make no pause: a batch full of
// them is looked through at once, a receiver that rejects everything is not
// flooded.
const patientFor = 8

func newDelivery(o *outbox, id string) *delivery {
	d := &delivery{outbox: o, id: id, circuit: new(Circuit), wake: make(chan struct{}, 1)}
	d.drops.log = func(n int) func() {
		return d.warn("events were given up: the announcer does not keep up", "announcer", d.id, "dropped", n)
	}
	d.rejects.log = func(n int) func() {
		return d.warn("the announcer rejects events; they are dead letters", "announcer", d.id, "rejected", n, "error", d.lastErr)
	}
	return d
}

// configure puts settings in force, for what happens after a position. With o.mu
// held.
func (d *delivery) configure(c AnnouncerConfig, position uint64) {
	d.guest, d.settings, d.slots = c.Announcer, c.WithDefaults(), c.Slots
	d.want(typesOf(d.settings.Types...), position)
	d.leaving, d.off = false, nil
	if c.Circuit != nil {
		d.circuit = c.Circuit
	}
	d.bound()
	d.hasten() // what was wrong may have been mended
	d.start()
}

// want has other types told of what happens after a position. With o.mu held.
func (d *delivery) want(types typeSet, after uint64) {
	d.wants.forget(d.cursor())
	d.wants.change(types, after)
}

// hold counts an event. With o.mu held.
func (d *delivery) hold(e *Event) {
	e.holders++
	d.bytes += e.size
}

// let is the end of events here. With o.mu held.
func (d *delivery) let(events []*Event) {
	for _, e := range events {
		d.bytes -= e.size
		d.release(e)
	}
}

// add takes an event that the announcer wants. With o.mu held.
func (d *delivery) add(e *Event) {
	d.hold(e)
	d.queue = append(d.queue, e)
	d.bound()
	d.start()
}

// count is how many events wait. With o.mu held.
func (d *delivery) count() int { return len(d.queue) + len(d.again) + len(d.flight) }

// bound gives up what is too much or too old. With o.mu held.
func (d *delivery) bound() {
	over := 0
	count, bytes := d.count(), d.bytes
	oldest := time.Now().Add(-d.settings.MaxAge)
	for _, e := range d.queue {
		tooMuch := count-over > d.settings.Pending || bytes > d.settings.PendingBytes
		if (!tooMuch || count-over == 1) && e.Since.After(oldest) { // the last one stays, however small the bounds are
			break
		}
		over++
		bytes -= e.size
	}
	if over > 0 {
		d.giveUp(d.take(over))
	}
	if d.call == nil && !d.retold && len(d.flight) > 0 && !d.flight[0].Since.After(oldest) {
		expired := slices.IndexFunc(d.flight, func(e *Event) bool { return e.Since.After(oldest) })
		if expired < 0 {
			expired = len(d.flight)
		}
		d.giveUp(d.flight[:expired])
		d.queue = append(d.flight[expired:], d.queue...)
		d.flight = nil
	}
}

// take removes the first events of the queue. With o.mu held.
func (d *delivery) take(n int) []*Event {
	taken := slices.Clone(d.queue[:n])
	clear(d.queue[:n])
	if d.queue = d.queue[n:]; len(d.queue) == 0 {
		d.queue = nil
	}
	return taken
}

func (d *delivery) giveUp(events []*Event) {
	if len(events) > 0 {
		d.n.dropped += uint64(len(events))
		d.drops.add(len(events), d.outbox)
		d.let(events)
	}
}

// drop forgets everything. It returns what logs, without the lock, what was lost,
// with as many as were yet to come. With o.mu held.
func (d *delivery) drop(coming int) (say func()) {
	say = func() {}
	if n, dead := d.count()+coming, len(d.dead); n+dead > 0 {
		say = d.warn("an announcer is not configured any more; what it was not told is dropped", "announcer", d.id, "dropped", n, "dead_letters", dead)
	}
	d.let(slices.Concat(d.flight, d.again, d.queue))
	for _, b := range d.dead {
		d.release(b.event)
	}
	d.queue, d.again, d.flight, d.dead = nil, nil, nil, nil
	return say
}

// cursor is the position up to which all is told or given up, but for dead
// letters. With o.mu held.
func (d *delivery) cursor() uint64 {
	switch {
	case len(d.flight) > 0 && !d.retold:
		return d.flight[0].Position - 1
	case len(d.queue) > 0:
		return d.queue[0].Position - 1
	default:
		return d.last
	}
}

// state is what is kept. With o.mu held.
func (d *delivery) state() *AnnouncerState {
	s := &AnnouncerState{ID: d.id, Cursor: d.cursor()}
	d.wants.forget(s.Cursor)
	s.Wanted = d.wants.kept()
	again := d.again
	if d.retold {
		again = slices.Concat(d.flight, again)
	}
	for _, e := range again {
		s.Dead = append(s.Dead, DeadLetter{Position: e.Position, Again: true})
	}
	for _, b := range d.dead {
		s.Dead = append(s.Dead, b.DeadLetter)
	}
	return s
}

// start starts the goroutine if there is something to tell. With o.mu held.
func (d *delivery) start() {
	if !d.running && !d.stopped && d.off == nil && d.count() > 0 {
		d.running, d.ended = true, make(chan struct{})
		go d.run()
	}
}

// wakeUp has the goroutine look again. With o.mu held.
func (d *delivery) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// hasten has it try at once. With o.mu held.
func (d *delivery) hasten() {
	d.until = time.Time{}
	d.circuit.hasten()
	d.wakeUp()
}

// await returns when the goroutine has nothing to tell any more, or ctx ends.
func (d *delivery) await(ctx context.Context) {
	d.mu.Lock()
	running, ended := d.running, d.ended
	d.mu.Unlock()
	if running {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
}

func (d *delivery) run() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.load() {
		wait, changed := time.Until(d.until), (<-chan struct{})(nil)
		if wait <= 0 {
			wait, changed = d.circuit.enter()
		}
		if wait <= 0 {
			d.try()
			continue
		}
		d.mu.Unlock()
		later := time.NewTimer(min(wait, maxBackoff)) // and then what is too old is looked for
		select {
		case <-later.C:
		case <-changed:
		case <-d.wake:
		}
		later.Stop()
		d.mu.Lock()
	}
	d.running = false
	close(d.ended)
}

// load makes flight the batch to be tried next; it returns false if there is
// none. With o.mu held.
func (d *delivery) load() bool {
	d.encode()
	d.bound()
	if d.stopped || d.off != nil || d.count() == 0 {
		return false
	}
	if len(d.flight) > 0 {
		return true
	}
	from, most := &d.queue, d.settings.Batch
	if d.retold = len(d.again) > 0; d.retold {
		from = &d.again
	}
	if len(d.parts) > 0 {
		most, d.parts = min(most, d.parts[len(d.parts)-1]), d.parts[:len(d.parts)-1]
	}
	n, size := 0, 2
	for n < min(most, len(*from)) {
		size += len((*from)[n].JSON()) + 1
		if n > 0 && size > d.settings.BatchBytes {
			break
		}
		n++
	}
	if d.retold {
		d.flight, d.again = slices.Clone(d.again[:n]), slices.Delete(d.again, 0, n)
	} else {
		d.flight = d.take(n)
	}
	d.attempt = 0
	return true
}

// encode encodes what is next, which would take long with the lock. With o.mu
// held, which is released meanwhile.
func (d *delivery) encode() {
	if len(d.flight) > 0 {
		return
	}
	next := d.queue
	if len(d.again) > 0 {
		next = d.again
	}
	next = slices.Clone(next[:min(len(next), d.settings.Batch)])
	most := d.settings.BatchBytes
	d.mu.Unlock()
	defer d.mu.Lock()
	for _, e := range next {
		if most -= len(e.JSON()); most < 0 {
			return
		}
	}
}

// unload puts the batch back. With o.mu held.
func (d *delivery) unload() {
	if d.retold {
		d.again = append(d.flight, d.again...)
	} else {
		d.queue = append(d.flight, d.queue...)
	}
	d.flight = nil
}
