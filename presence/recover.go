package presence

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Open goes on with what a store has kept, whose sessions are then
// unreachable, and keeps the registry there from now on. It must be called
// after Bind, before the broker has sessions. After an error of the store's, or
// if it takes longer than 15 s to be read or 5 s to be written, the registry
// goes on in memory, and [Registry.Health] tells; a store that cannot be read is
// left as it is.
func (r *Registry) Open(store Store) {
	kept, err := load(store)
	r.mu.Lock()
	defer r.mu.Unlock()
	j := newJournal(store)
	r.journal = j
	if err != nil {
		r.fail(err)
		j.store, j.unread = nil, store
		return
	}
	r.holdAlarms()
	defer r.releaseAlarms()
	mine := r.stream
	if kept.Meta.Stream != "" {
		r.restore(kept)
	}
	// what was kept and perhaps not told is told again, under the same number
	for _, k := range kept.Changes {
		c := k.change()
		c.Stream, c.scope = r.stream, r.scope(c.Room, k.Session.Scope)
		j.changes = append(j.changes, c)
	}
	r.fill(j)
	if j.failed != nil {
		// that this process goes on above the numbers of the one before is not
		// kept either, and the next would do so again
		r.stream = mine
	}
	r.told = r.seq
}

// loadWithin is how long a store may take to be read. Beyond, the broker starts
// without it.
const loadWithin = 15 * time.Second

var errSlowLoad = fmt.Errorf("the store could not be read within %s", loadWithin)

// load reads a store, whose disk may hang.
func load(store Store) (kept *Kept, err error) {
	done := make(chan struct{})
	var loaded *Kept
	var loadErr error
	go func() {
		defer close(done)
		loaded, loadErr = store.Load()
	}()
	late := time.NewTimer(loadWithin)
	defer late.Stop()
	select {
	case <-done:
		return loaded, loadErr
	case <-late.C:
		return nil, errSlowLoad
	}
}

// fill has everything written, as the first batch of a journal, by the goroutine
// that then goes on, and returns when it is there or has failed. With r.mu held,
// which is released meanwhile.
func (r *Registry) fill(j *journal) {
	if j.done == nil {
		j.done = make(chan struct{})
	}
	done := j.done
	j.running = true
	go func() {
		r.mu.Lock()
		r.commit(j, r.snapshot())
		r.mu.Unlock()
		r.writeAll(j)
	}()
	r.mu.Unlock()
	<-done
	r.mu.Lock()
}

// restore makes the sessions of a store unreachable ones. With r.mu held.
func (r *Registry) restore(kept *Kept) {
	r.stream, r.key = kept.Meta.Stream, kept.Meta.Key
	r.seq, r.told = max(kept.Meta.Seq, kept.Meta.Reserved), kept.Meta.Announced
	r.position = kept.Meta.Position + (r.seq - kept.Meta.Seq) // what was told while the store failed had numbers, too
	for _, say := range r.outbox.restore(kept) {
		r.logs.do(say)
	}
	now := time.Now()
	until := now.Add(r.settings.Load().RecoveryGrace)
	// those who were there first come first
	slices.SortFunc(kept.Records, func(a, b *Record) int { return a.ConnectedAt.Compare(b.ConnectedAt) })
	for _, k := range kept.Records {
		loss := Loss{Reason: stomp.ReasonServerCrash, Code: stomp.ReasonServerCrash.Code(), At: kept.Meta.Alive}
		if k.Lost != nil {
			loss = *k.Lost
		}
		if loss.Until.Before(until) {
			loss.Until = until
		}
		e := &entry{view: k.view(true), lost: &loss, scope: r.scope("", k.Scope)}
		e.will = k.Will.after(e.view)
		shown := k.view(r.settings.Load().AnnounceUnreachable)
		r.entries[k.SessionID] = e
		e.scope.arrive()
		r.counts.unreachable++
		if k.Announced {
			r.known++
			e.member = &member{view: shown}
			e.scope.enter(k.User)
			e.scope.insert(e.member)
		}
		for _, room := range k.Rooms {
			if e.rooms == nil {
				e.rooms = make(map[string]*stay)
			}
			st := &stay{scope: r.scope(room, nil)}
			e.rooms[room] = st
			st.scope.arrive()
			if k.Announced {
				st.member = &member{view: shown}
				st.scope.enter(k.User)
				st.scope.insert(st.member)
			}
		}
		r.expireAt(e, loss.Until)
		r.willAt(e, now) // until then nobody could return
	}
}

// SetStore goes over to another store, nil for none, which is made to hold what
// the registry holds. It returns the one before, if nothing is written to it
// any more; one that hangs is nobody's. A store that could not be read is not
// written either.
func (r *Registry) SetStore(store Store) (before Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.journal
	before = j.store
	if before == store && (store != nil || j.failed == nil) || store != nil && store == j.unread {
		return before
	}
	if !r.stopWriting() {
		before = nil
	}
	if store == nil || r.closed {
		r.tellWaiting()
		r.journal = newJournal(nil)
		return before
	}
	// what waits goes into the other store, and is told when it is there
	next := newJournal(store)
	next.changes, next.done = j.changes, j.done
	next.clock = time.AfterFunc(aliveEvery, r.beat)
	r.journal = next
	r.fill(next)
	return before
}

// stopWriting returns when nothing is being written any more, or the store has
// failed, perhaps because it hangs: then it says no. What waits goes on
// waiting. With r.mu held, which is released meanwhile.
func (r *Registry) stopWriting() bool {
	j := r.journal
	j.moving = true
	j.hasten()
	for j.running && (j.failed == nil || j.began.IsZero()) {
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
	}
	if j.clock != nil {
		j.clock.Stop()
	}
	return !j.running
}

// Degrade says that there should be a store, and why there is none. It is
// logged, and what [Registry.Health] tells until another store is in force.
func (r *Registry) Degrade(err error) {
	r.mu.Lock()
	if r.journal.store == nil {
		r.journal.failed = err
	}
	logger := r.logger
	r.mu.Unlock()
	logger.Error("there is no presence store; presence is in memory only", "error", err)
}

// flush waits until everything so far is in the store, or that has failed. With
// r.mu held, which is released meanwhile.
func (r *Registry) flush() {
	if !r.journaled() {
		return
	}
	r.write()
	done := r.journal.done
	r.journal.hasten()
	r.mu.Unlock()
	<-done
	r.mu.Lock()
}

// Keep is called when the process is about to end: sessions that end now are
// kept in the store as unreachable, and nobody is told of them. It returns
// false if there is no store that could.
func (r *Registry) Keep() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
	r.keeping = r.journal.store != nil && r.journal.failed == nil
	return r.keeping
}

// Close writes what is to be kept and ends the registry. With Keep before, its
// sessions wait in the store; otherwise those that are unreachable leave.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.keeping {
		for _, e := range r.entries {
			if e.lost != nil {
				r.leave(e, *e.lost)
			}
		}
	}
	r.outbox.close()
	r.flush()
	r.ending = true
	r.flush() // marks what was told, or it would all be told again
	r.closed = true
	if r.journal.failed == nil { // else it may hang
		r.stopWriting()
	}
	r.tellWaiting()
	if r.keeping && r.journal.failed != nil {
		r.outbox.lose()
	}
	r.clearAlarms()
	for _, e := range r.entries {
		e.forgetUpdate()
	}
}
