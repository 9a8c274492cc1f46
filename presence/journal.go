package presence

import (
	"errors"
	"time"
)

// journal is what is to be kept. It is guarded by Registry.mu; store and hurry
// never change. A registry that goes over to another store gets another one,
// so that a write that hangs can be left behind.
type journal struct {
	store   Store // nil: none
	unread  Store // could not be read, and is left as it is
	failed  error // what is wrong with it; nothing is written then
	dirty   map[string]bool
	changes []Change      // numbered, but not kept yet, and so not told
	done    chan struct{} // closed when dirty and changes are kept, or that has failed
	written []Change      // being written
	writing chan struct{} // closed when that is kept, or has failed
	began   time.Time     // when its writing began; zero: nothing is being written
	running bool          // somebody writes
	last    time.Time     // when the last write began
	hurry   chan struct{} // closed when nothing more is to be gathered
	moving  bool          // nothing more is to be written
	marked  uint64        // Meta.Announced as it is kept
	clock   *time.Timer   // of what is written when nothing happens
}

// newJournal returns a journal of a store, nil for none.
func newJournal(store Store) *journal {
	return &journal{store: store, dirty: make(map[string]bool), hurry: make(chan struct{})}
}

// events are those of the changes that are not told yet, in order. With r.mu held.
func (j *journal) events() (events []*Event) {
	for _, changes := range [][]Change{j.written, j.changes} {
		for i := range changes {
			if e := changes[i].event; e != nil {
				events = append(events, e)
			}
		}
	}
	return events
}

// hasten has the writer gather no longer. With r.mu held.
func (j *journal) hasten() {
	select {
	case <-j.hurry:
	default:
		close(j.hurry)
	}
}

// maxJournal is how many changes may wait for a store. Beyond, it counts as
// failed.
const maxJournal = 1 << 16

// writeEvery is the shortest time between two writes, unless Sync says more: a
// commit of few costs as much as one of many, some 150 µs of a processor. What
// comes after a longer silence is written at once.
const writeEvery = time.Millisecond

// aliveEvery is how often a store learns that the process is alive, so that it
// is known when it was not.
const aliveEvery = 2 * time.Second

// retryEvery is how often a store that has failed is tried again.
const retryEvery = 5 * time.Second

// commitWithin is how long a store may take to write a batch. Beyond, it counts
// as failed: what is known of everybody else must not wait for a disk that
// hangs.
const commitWithin = 5 * time.Second

var errSlowStore = errors.New("the store does not keep up")

// record has a change told: at once, or when it is kept. With r.mu held.
func (r *Registry) record(c Change) {
	if r.outbox.wants(c.Type) {
		r.position++
		c.event = newEvent(r.stream, r.position, &c)
	}
	j := r.journal
	if !r.journaled() {
		r.tell(c)
		return
	}
	j.changes = append(j.changes, c)
	if len(j.changes) > maxJournal {
		r.fail(errSlowStore)
		return
	}
	r.write()
}

// journaled says whether what happens is written. With r.mu held.
func (r *Registry) journaled() bool {
	return r.journal.store != nil && r.journal.failed == nil && !r.closed
}

// touch has e kept as it is now, or its absence. It returns what is closed when
// that is done, nil if there is nothing to wait for. With r.mu held.
func (r *Registry) touch(e *entry) <-chan struct{} {
	j := r.journal
	if !r.journaled() {
		return nil
	}
	j.dirty[e.view.SessionID] = true
	r.write()
	return j.done
}

// write starts the writing goroutine unless it runs. With r.mu held.
func (r *Registry) write() {
	j := r.journal
	if j.done == nil {
		j.done = make(chan struct{})
	}
	if !j.running && !j.moving {
		j.running = true
		go r.writeAll(j)
	}
}

// writeAll writes until nothing is left to be written. What comes meanwhile is
// the next batch.
func (r *Registry) writeAll(j *journal) {
	for {
		gather := r.settings.Load().Sync
		if gather <= 0 && !j.last.IsZero() {
			gather = writeEvery - time.Since(j.last)
		}
		j.gather(gather)
		r.mu.Lock()
		if j.done == nil || j.failed != nil || j.moving || r.journal != j {
			j.running = false
			r.mu.Unlock()
			return
		}
		j.last = time.Now()
		r.commit(j, r.batch())
		r.mu.Unlock()
	}
}

// gather waits for that long, unless nothing more is to be gathered.
func (j *journal) gather(d time.Duration) {
	if d <= 0 {
		return
	}
	enough := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(enough) })
	defer timer.Stop()
	select {
	case <-enough:
	case <-j.hurry:
	}
}

// commit writes a batch, in which is all that waits, and tells that. With r.mu
// held, which is released meanwhile.
func (r *Registry) commit(j *journal, b *Batch) {
	j.written, j.writing, j.began = j.changes, j.done, time.Now()
	j.changes, j.done, j.dirty = nil, nil, make(map[string]bool)
	began := j.began
	late := time.AfterFunc(commitWithin, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.journal == j && j.began.Equal(began) {
			r.fail(errSlowStore)
		}
	})
	r.mu.Unlock()

	err := j.store.Commit(b)

	late.Stop()
	r.mu.Lock()
	j.began = time.Time{}
	switch {
	case r.journal != j: // it has been left behind
	case j.failed != nil: // it took too long, and all was told
	case err != nil:
		r.fail(err)
	default:
		r.logAlive(b)
		r.tellWritten()
	}
}

// tellWritten tells what is kept by now. With r.mu held.
func (r *Registry) tellWritten() {
	j := r.journal
	r.tellAll(j.written, j.writing)
	j.written, j.writing = nil, nil
}

// tellAll tells changes that waited to be kept, and whoever waits for the same.
// With r.mu held.
func (r *Registry) tellAll(changes []Change, done chan struct{}) {
	for i := range changes {
		r.tell(changes[i])
	}
	if done != nil {
		close(done)
	}
}

// batch is what is to be written. With r.mu held.
func (r *Registry) batch() *Batch {
	b := &Batch{Meta: r.meta()}
	for id := range r.journal.dirty {
		if e := r.entries[id]; e != nil {
			b.Put = append(b.Put, e.record())
		} else {
			b.Delete = append(b.Delete, id)
		}
	}
	r.addChanges(b)
	return b
}

// addChanges adds what waits to a batch. With r.mu held.
func (r *Registry) addChanges(b *Batch) {
	for i := range r.journal.changes {
		if c := &r.journal.changes[i]; c.Seq > 0 {
			b.Changes = append(b.Changes, c.kept())
		}
	}
	r.outbox.save(b, r.journal.changes)
}

// reserve is how many numbers are set aside for changes that are told while the
// store fails: should the process die then, the next goes on above them. Numbers
// fit into those of JavaScript for 2^21 crashes.
const reserve = 1 << 32

// meta is what is kept of the registry now. With r.mu held.
func (r *Registry) meta() Meta {
	m := Meta{Stream: r.stream, Key: r.key, Seq: r.seq, Reserved: r.seq, Announced: r.told, Position: r.position, Alive: time.Now()}
	if !r.ending {
		m.Reserved += reserve
	}
	return m
}

// record is what is kept of e. With r.mu held.
func (e *entry) record() *Record {
	k := recordOf(e.view)
	k.Announced = e.member != nil
	k.Scope = e.scope.values
	k.Rooms = e.roomsInOrder()
	k.Will, k.Lost = e.will, e.lost
	return k
}

// logAlive notes what a batch has made known to the store. With r.mu held.
func (r *Registry) logAlive(b *Batch) {
	j := r.journal
	j.marked = b.Meta.Announced
	if j.clock == nil {
		j.clock = time.AfterFunc(aliveEvery, r.beat)
	}
}

// beat writes, now and then, that the process is alive and what it has told,
// and tries a store again that has failed.
func (r *Registry) beat() {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.journal
	switch {
	case r.closed, j.store == nil:
		return
	case j.failed != nil:
		go r.retry(j.store)
		return
	}
	if len(r.entries) > 0 || j.marked < r.told || r.outbox.unsaved() {
		r.write()
	}
	j.clock.Reset(aliveEvery)
}

// fail goes on without a store that cannot be written: what waits for it is
// told now. With r.mu held.
func (r *Registry) fail(err error) {
	j := r.journal
	if j.failed != nil || j.store == nil {
		return
	}
	logger := r.logger
	r.logs.do(func() { logger.Error("the presence store is of no use; presence goes on in memory", "error", err) })
	j.failed = err
	r.tellWaiting()
	if j.clock == nil {
		j.clock = time.AfterFunc(retryEvery, r.beat)
	} else {
		j.clock.Reset(retryEvery)
	}
}

// tellWaiting tells what is being written and what waits, without waiting for
// it to be kept. With r.mu held.
func (r *Registry) tellWaiting() {
	j := r.journal
	r.tellWritten()
	r.tellAll(j.changes, j.done)
	j.changes, j.done, j.dirty = nil, nil, make(map[string]bool)
}

// retry writes everything to a store that has failed.
func (r *Registry) retry(store Store) {
	r.mu.Lock()
	j := r.journal
	if r.closed || j.store != store || j.failed == nil || j.moving {
		r.mu.Unlock()
		return
	}
	if j.running { // it still hangs
		j.clock.Reset(retryEvery)
		r.mu.Unlock()
		return
	}
	// from here on changes are noted again, and wait for this write
	j.running, j.failed = true, nil
	j.clock.Reset(aliveEvery)
	r.commit(j, r.snapshot())
	if j.failed == nil {
		logger := r.logger
		r.logs.do(func() { logger.Info("the presence store is written again") })
	}
	r.mu.Unlock()
	r.writeAll(j)
}

// snapshot is everything, as a batch. With r.mu held.
func (r *Registry) snapshot() *Batch {
	b := &Batch{Meta: r.meta(), Reset: true}
	for _, e := range r.entries {
		b.Put = append(b.Put, e.record())
	}
	r.addChanges(b)
	return b
}

// Health says what is wrong with the store, nil if nothing is. A store that is
// written, but has something to tell itself, implements the same method.
func (r *Registry) Health() error {
	r.mu.Lock()
	store, failed := r.journal.store, r.journal.failed
	r.mu.Unlock()
	if s, ok := store.(interface{ Health() error }); ok && failed == nil {
		return s.Health()
	}
	return failed
}
