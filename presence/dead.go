package presence

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// buried is a dead letter with its event.
type buried struct {
	event *Event
	DeadLetter
}

// The bounds of the dead letters of an announcer; beyond, the oldest are dropped.
const (
	maxDead      = 1000
	maxDeadBytes = 16 << 20
)

// bury makes an event a dead letter. With o.mu held.
func (d *delivery) bury(e *Event, letter DeadLetter) {
	e.holders++
	d.graves += e.size
	d.dead = append(d.dead, buried{e, letter})
	for len(d.dead) > maxDead || d.graves > maxDeadBytes && len(d.dead) > 1 {
		oldest := d.dead[0].event
		d.dead = slices.Delete(d.dead, 0, 1)
		d.graves -= oldest.size
		d.n.dropped++
		d.drops.add(1, d.outbox)
		d.release(oldest)
	}
}

// exhume has the dead letters tried again. With o.mu held.
func (d *delivery) exhume() int {
	n := len(d.dead)
	for _, b := range d.dead {
		d.bytes += b.event.size
		d.again = append(d.again, b.event)
	}
	d.dead, d.graves, d.row, d.until, d.dirty = nil, 0, 0, time.Time{}, true
	slices.SortFunc(d.again, byPosition)
	d.wakeUp()
	d.start()
	return n
}

// DeadEvent is a dead letter as an operator sees it.
type DeadEvent struct {
	Announcer string // its ID
	*Event
	Letter DeadLetter
}

// listedDead is a DeadEvent as JSON; a list of announcers leaves out Announcer
// and Event.
type listedDead struct {
	Announcer string          `json:"announcer,omitempty"`
	ID        string          `json:"id"`
	Type      Type            `json:"type"`
	Status    int             `json:"status,omitempty"`
	Error     string          `json:"error"`
	At        wireTime        `json:"at"`
	Event     json.RawMessage `json:"event,omitempty"`
}

func (d *DeadEvent) listed() listedDead {
	return listedDead{ID: d.ID(), Type: d.Type, Status: d.Letter.Status, Error: d.Letter.Error, At: wireTime(d.Letter.At)}
}

// MarshalJSON implements encoding/json.Marshaler. The event is in it as the
// receiver was told.
func (d DeadEvent) MarshalJSON() ([]byte, error) {
	l := d.listed()
	l.Announcer, l.Event = d.Announcer, d.JSON()
	var b bytes.Buffer
	appendJSON(&b, l)
	return b.Bytes(), nil
}

// RetryDead has the dead letters of an announcer tried again, before anything
// else that waits for it: they come later than events that happened after them. It
// returns how many there are; ok is false if there is no such announcer.
func (r *Registry) RetryDead(id string) (n int, ok bool) {
	r.outbox.mu.Lock()
	defer r.outbox.mu.Unlock()
	d := r.outbox.find(id)
	if d == nil {
		return 0, false
	}
	return d.exhume(), true
}

// DiscardDead throws away the dead letters of an announcer, or the one whose event
// has an id, unless that is empty. It returns how many they were, when they are
// gone from the store, too, or that has failed; ok is false if there is no such
// announcer.
func (r *Registry) DiscardDead(id, event string) (n int, ok bool) {
	r.mu.Lock()
	n, ok = r.outbox.discard(id, event)
	var committed <-chan struct{}
	if n > 0 && r.journaled() {
		r.write()
		committed = r.journal.done
	}
	r.mu.Unlock()
	if committed != nil {
		<-committed
	}
	return n, ok
}

// discard is [Registry.DiscardDead], but for the store.
func (o *outbox) discard(id, event string) (n int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.find(id)
	if d == nil {
		return 0, false
	}
	d.dead = slices.DeleteFunc(d.dead, func(b buried) bool {
		if event != "" && b.event.ID() != event {
			return false
		}
		n++
		d.graves -= b.event.size
		d.release(b.event)
		return true
	})
	if n > 0 {
		o.saved = time.Time{} // the next commit has it
	}
	return n, true
}
