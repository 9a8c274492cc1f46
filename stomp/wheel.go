package stomp

import (
	"sync"
	"time"
)

// wheel looks after the silence of all sessions of a broker: a session sits in
// the slot of its next due time and is looked at only then. 10,000 sessions at
// 10 s cost 1,500 looks a second and not one timer. Its goroutine lives while
// it has sessions.
type wheel struct {
	mu      sync.Mutex
	slots   [wheelSlots][]*Session
	pos     int64 // the tick that was handled last, since clock
	count   int
	running bool
}

const wheelSlots = 1 << 10 // x tick: longer waits are cut into turns

// A session's place in the wheel, guarded by wheel.mu.
type wheelPlace struct {
	slot, index int32
	state       uint8
}

const (
	wheelOut  uint8 = iota // not in a slot: new, or being looked at
	wheelIn                // in a slot
	wheelGone              // never again
)

// schedule makes the wheel look at s next at the time due, a stamp.
func (w *wheel) schedule(s *Session, due int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.place.state == wheelGone {
		return
	}
	w.unslot(s)
	if !w.running {
		w.running = true
		w.pos = stamp() / int64(tick)
		go w.run()
	}
	w.insert(s, due)
}

func (w *wheel) insert(s *Session, due int64) {
	at := due / int64(tick)
	at = min(max(at, w.pos+1), w.pos+wheelSlots-1)
	slot := &w.slots[at&(wheelSlots-1)]
	s.place = wheelPlace{slot: int32(at % wheelSlots), index: int32(len(*slot)), state: wheelIn}
	*slot = append(*slot, s)
	w.count++
}

// remove takes s out for good.
func (w *wheel) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unslot(s)
	s.place.state = wheelGone
}

func (w *wheel) unslot(s *Session) {
	if s.place.state != wheelIn {
		return
	}
	slot := w.slots[s.place.slot]
	last := len(slot) - 1
	slot[s.place.index] = slot[last]
	slot[s.place.index].place.index = s.place.index
	slot[last] = nil
	w.slots[s.place.slot] = slot[:last]
	s.place.state = wheelOut
	w.count--
}

func (w *wheel) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for range t.C {
		now := stamp()
		for {
			due, more := w.take(now / int64(tick))
			for _, s := range due {
				next := s.look(now)
				w.mu.Lock()
				if s.place.state == wheelOut {
					w.insert(s, next)
				}
				w.mu.Unlock()
			}
			if !more {
				break
			}
		}
		w.mu.Lock()
		if w.count == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

// take empties the slot after pos; more says that there are slots left until
// the tick now. After a long stop of the process one turn is enough.
func (w *wheel) take(now int64) (due []*Session, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pos >= now {
		return nil, false
	}
	w.pos = max(w.pos+1, now-wheelSlots+1)
	slot := &w.slots[w.pos&(wheelSlots-1)]
	due, *slot = *slot, nil
	w.count -= len(due)
	for _, s := range due {
		s.place.state = wheelOut
	}
	return due, w.pos < now
}
