package presence

import (
	"slices"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Open goes on with what a store has kept, whose sessions are then
// unreachable, and keeps the registry there from now on. It must be called
// after Bind, before the broker has sessions. After an error of the store's the
// registry goes on in memory, and [Registry.Health] tells; a store that cannot
// be read is left as it is.
func (r *Registry) Open(store Store) {
	kept, err := store.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal = newJournal(store)
	if err != nil {
		r.fail(err)
		r.journal.store, r.journal.unread = nil, store
		return
	}
	if kept.Meta.Stream != "" {
		r.restore(kept)
	}
	batch := r.snapshot()
	batch.Changes = kept.Changes
	batch.Meta.Announced = kept.Meta.Announced
	if err := store.Commit(batch); err != nil {
		r.fail(err)
	} else {
		r.logAlive(batch)
	}
	// what was kept and perhaps not told is told again, under the same number
	for _, k := range kept.Changes {
		c := k.change()
		c.scope = r.scope(c.Room, k.Session.Scope)
		r.tell(c)
	}
	r.told = r.seq
}

// restore makes the sessions of a store unreachable ones. With r.mu held.
func (r *Registry) restore(kept *Kept) {
	r.stream, r.key = kept.Meta.Stream, kept.Meta.Key
	r.seq, r.told = kept.Meta.Seq, kept.Meta.Announced
	r.position = kept.Meta.Position
	r.outbox.restore(kept)
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
		e := &entry{view: k.view(true), will: k.Will, lost: &loss, scope: r.scope("", k.Scope)}
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
	next.changes, next.done, next.running = j.changes, j.done, true
	if next.done == nil {
		next.done = make(chan struct{})
	}
	next.clock = time.AfterFunc(aliveEvery, r.beat)
	r.journal = next
	done := next.done
	go func() {
		r.mu.Lock()
		r.commit(next, r.snapshot())
		r.mu.Unlock()
		r.writeAll(next)
	}()
	r.mu.Unlock()
	<-done // it is there, or has failed
	r.mu.Lock()
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
	defer r.mu.Unlock()
	if r.journal.store == nil {
		r.journal.failed = err
	}
	r.logger.Error("there is no presence store; presence is in memory only", "error", err)
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
	if r.journal.marked < r.told { // or it would all be told again
		r.flush()
	}
	r.closed = true
	if r.journal.failed == nil { // else it may hang
		r.stopWriting()
	}
	r.tellWaiting()
	if r.keeping && r.journal.failed != nil {
		r.outbox.lose()
	}
	for _, e := range r.entries {
		e.stopExpiry()
		e.forgetUpdate()
	}
}
