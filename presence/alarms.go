package presence

import (
	"container/heap"
	"runtime"
	"time"
)

// alarms are what is to happen to sessions at some time, with one timer for all
// of them: however many are due in one instant, as the sessions of a store are
// whose time ends, they cost neither a goroutine each nor everybody else the
// lock. They are guarded by Registry.mu.
type alarms struct {
	heap  alarmHeap
	timer *time.Timer
	held  bool // none is to ring
	rings bool // somebody is at it
}

// alarm calls ring at a time, with Registry.mu held.
type alarm struct {
	at    time.Time
	ring  func()
	index int // in the heap; -1: no longer
}

// ringAtOnce is how many alarms ring before others have their turn with the
// lock, which is then held for about half a millisecond.
const ringAtOnce = 128

// waitingWhileRinging is how many changes may wait for the store before no more
// alarms ring: the end of many would otherwise fill what waits, which counts as
// a store that does not keep up.
const waitingWhileRinging = maxJournal / 16

// setAlarm has ring called at that time, unless it is stopped. With r.mu held.
func (r *Registry) setAlarm(at time.Time, ring func()) *alarm {
	a := &alarm{at: at, ring: ring}
	heap.Push(&r.alarms.heap, a)
	if a.index == 0 {
		r.wind()
	}
	return a
}

// stopAlarm stops an alarm, which may be nil or have rung. With r.mu held.
func (r *Registry) stopAlarm(a *alarm) {
	if a != nil && a.index >= 0 {
		heap.Remove(&r.alarms.heap, a.index)
	}
}

// holdAlarms lets none ring until they are released. With r.mu held.
func (r *Registry) holdAlarms() { r.alarms.held = true }

func (r *Registry) releaseAlarms() {
	r.alarms.held = false
	r.wind()
}

// clearAlarms stops all of them. With r.mu held.
func (r *Registry) clearAlarms() {
	for _, a := range r.alarms.heap {
		a.index = -1
	}
	r.alarms.heap = nil
	if r.alarms.timer != nil {
		r.alarms.timer.Stop()
	}
}

// wind sets the timer to the next alarm. With r.mu held.
func (r *Registry) wind() {
	a := &r.alarms
	if a.held || a.rings || len(a.heap) == 0 {
		return
	}
	wait := time.Until(a.heap[0].at)
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, r.ringAlarms)
	} else {
		a.timer.Reset(wait)
	}
}

// ringAlarms rings those that are due, some at a time.
func (r *Registry) ringAlarms() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alarms.held || r.alarms.rings {
		return
	}
	r.alarms.rings = true
	for r.ringSome() {
		var kept chan struct{}
		if r.journaled() && len(r.journal.changes) >= waitingWhileRinging {
			kept = r.journal.done
		}
		r.mu.Unlock()
		if kept != nil {
			<-kept
		} else {
			runtime.Gosched()
		}
		r.mu.Lock()
	}
	r.alarms.rings = false
	r.wind()
}

// ringSome rings alarms that are due, and says whether more are. With r.mu held.
func (r *Registry) ringSome() (more bool) {
	now := time.Now()
	for range ringAtOnce {
		if len(r.alarms.heap) == 0 || r.alarms.heap[0].at.After(now) {
			return false
		}
		heap.Pop(&r.alarms.heap).(*alarm).ring()
	}
	return true
}

// alarmHeap implements [heap.Interface]: the next alarm is first.
type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *alarmHeap) Push(x any) {
	a := x.(*alarm)
	a.index = len(*h)
	*h = append(*h, a)
}

func (h *alarmHeap) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	a.index = -1
	return a
}
