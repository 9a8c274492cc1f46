package stomp

import (
	"slices"
	"sync"
)

// ledger is what a subscription that acknowledges has been given and has not
// acknowledged yet, oldest first.
type ledger struct {
	mu         sync.Mutex
	deliveries []delivery
}

type delivery struct {
	id   uint64  // message-id
	item *queued // nil: of a topic, nothing to give to anybody else
}

// note enters a delivery of a topic, unless there are max already.
func (l *ledger) note(id uint64, max int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.deliveries) >= max {
		return false
	}
	l.deliveries = append(l.deliveries, delivery{id: id})
	return true
}

func (l *ledger) enter(d delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deliveries = append(l.deliveries, d)
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.deliveries)
}

func (l *ledger) has(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.deliveries, func(d delivery) bool { return d.id == id })
}

// settle strikes out the delivery with that id, and with cumulative all before
// it too, and returns what was struck out; nil if there is no such delivery.
func (l *ledger) settle(id uint64, cumulative bool) []delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, d := range l.deliveries {
		if d.id != id {
			continue
		}
		first := i
		if cumulative {
			first = 0
		}
		struck := append([]delivery(nil), l.deliveries[first:i+1]...)
		l.deliveries = append(l.deliveries[:first], l.deliveries[i+1:]...)
		return struck
	}
	return nil
}

// close strikes out everything.
func (l *ledger) close() []delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.deliveries
	l.deliveries = nil
	return all
}
