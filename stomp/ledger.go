package stomp

import "sync"

// ledger is what a subscription that acknowledges has been given and has not
// acknowledged yet, oldest first.
type ledger struct {
	mu         sync.Mutex
	deliveries []delivery
	ids        map[uint64]struct{} // of deliveries
	bytes      int                 // of a queue's messages among them
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
	l.enterLocked(delivery{id: id})
	return true
}

// enter enters a delivery of a queue.
func (l *ledger) enter(d delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enterLocked(d)
	l.bytes += d.item.cost()
}

func (l *ledger) enterLocked(d delivery) {
	if l.ids == nil {
		l.ids = make(map[uint64]struct{})
	}
	l.ids[d.id] = struct{}{}
	l.deliveries = append(l.deliveries, d)
}

// hasRoom says whether so many more bytes may be owed for.
func (l *ledger) hasRoom(n, maxCount, maxBytes int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.deliveries) < maxCount && (l.bytes == 0 || l.bytes+n <= maxBytes)
}

func (l *ledger) has(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.ids[id]
	return ok
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
		for _, d := range struck {
			delete(l.ids, d.id)
			if d.item != nil {
				l.bytes -= d.item.cost()
			}
		}
		return struck
	}
	return nil
}

// close strikes out everything.
func (l *ledger) close() []delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.deliveries
	l.deliveries, l.ids, l.bytes = nil, nil, 0
	return all
}
