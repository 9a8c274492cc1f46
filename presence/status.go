package presence

import (
	"bytes"
	"time"
)

// The states of an announcer.
const (
	StateOK       = "ok"
	StateRetrying = "retrying" // the last call failed
	StateOpen     = "open"     // it has failed for long, and is tried now and then
	StateDisabled = "disabled" // it wants nothing any more, until the next configuration
)

// callBounds are the upper bounds, in seconds, of [AnnouncerStatus.Calls].
var callBounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// CallBounds are the upper bounds, in seconds, of [AnnouncerStatus.Calls].
func CallBounds() []float64 { return append([]float64(nil), callBounds[:]...) }

// counters are guarded by outbox.mu.
type counters struct {
	delivered, retried, rejected, dropped uint64
	calls                                 [len(callBounds) + 1]uint64
	inCalls                               time.Duration
}

// took counts a call.
func (c *counters) took(d time.Duration) {
	i := 0
	for i < len(callBounds) && d.Seconds() > callBounds[i] {
		i++
	}
	c.calls[i]++
	c.inCalls += d
}

// burst counts what would fill the log if each were logged: the first time it is
// logged after a second, and then once a minute.
type burst struct {
	n      int
	logged time.Time
	timer  *time.Timer
	log    func(n int) (say func()) // with outbox.mu held, but say
}

const (
	burstGathers = time.Second
	burstEvery   = time.Minute
)

// add counts n more. With outbox.mu held.
func (b *burst) add(n int, o *outbox) {
	if b.n += n; b.timer == nil {
		b.timer = time.AfterFunc(max(burstGathers, time.Until(b.logged.Add(burstEvery))), func() {
			o.mu.Lock()
			say := b.report()
			o.mu.Unlock()
			say()
		})
	}
}

// report returns what logs, without the lock, what was counted since the last
// time. With outbox.mu held.
func (b *burst) report() (say func()) {
	say = func() {}
	if b.timer == nil {
		return say
	}
	b.timer.Stop()
	b.timer = nil
	if b.n > 0 {
		say = b.log(b.n)
	}
	b.n, b.logged = 0, time.Now()
	return say
}

// AnnouncerStatus is what an operator may know about an announcer.
type AnnouncerStatus struct {
	ID    string
	State string // one of the states
	// Pending events have Bytes in memory, roughly, and wait since Oldest, which
	// is zero without any.
	Pending int
	Bytes   int
	Oldest  time.Time
	// Delivered, Rejected and Dropped count events, Retried calls that failed.
	// Dropped are those that were given up, as there was too much or they got too
	// old.
	Delivered, Retried, Rejected, Dropped uint64
	// Error is that of the last call, at ErrorAt; nil if it went well.
	Error   error
	ErrorAt time.Time
	// Dead are the dead letters, oldest first.
	Dead []DeadEvent
	// Calls counts calls by the bounds of [CallBounds], and those that took
	// longer; CallsSum is what they took.
	Calls    []uint64
	CallsSum time.Duration
}

// Announcers tells about each announcer, in the order in which they came.
func (r *Registry) Announcers() []AnnouncerStatus {
	o := &r.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]AnnouncerStatus, 0, len(o.deliveries))
	for _, d := range o.deliveries {
		s := AnnouncerStatus{
			ID: d.id, State: d.circuit.state(), Pending: d.count(), Bytes: d.bytes, Oldest: d.oldest(),
			Delivered: d.n.delivered, Retried: d.n.retried, Rejected: d.n.rejected, Dropped: d.n.dropped,
			Error: d.lastErr, ErrorAt: d.lastAt,
			Calls: append([]uint64(nil), d.n.calls[:]...), CallsSum: d.n.inCalls,
		}
		if d.off != nil {
			s.State = StateDisabled
		}
		for _, b := range d.dead {
			s.Dead = append(s.Dead, DeadEvent{d.id, b.event, b.DeadLetter})
		}
		all = append(all, s)
	}
	return all
}

// oldest is since when the oldest event waits. With o.mu held.
func (d *delivery) oldest() (since time.Time) {
	for _, events := range [][]*Event{d.flight, d.again, d.queue} {
		if len(events) > 0 && (since.IsZero() || events[0].Since.Before(since)) {
			since = events[0].Since
		}
	}
	return since
}

// listedAnnouncer is an AnnouncerStatus as JSON.
type listedAnnouncer struct {
	ID          string       `json:"id"`
	State       string       `json:"state"`
	Pending     int          `json:"pending"`
	Bytes       int          `json:"bytes"`
	Oldest      *wireTime    `json:"oldest,omitempty"`
	Delivered   uint64       `json:"delivered"`
	Retried     uint64       `json:"retried"`
	Rejected    uint64       `json:"rejected"`
	Dropped     uint64       `json:"dropped"`
	Error       string       `json:"error,omitempty"`
	ErrorAt     *wireTime    `json:"errorAt,omitempty"`
	DeadLetters []listedDead `json:"deadLetters"`
}

// MarshalJSON implements encoding/json.Marshaler. What calls took is not in it.
func (s AnnouncerStatus) MarshalJSON() ([]byte, error) {
	l := listedAnnouncer{
		ID: s.ID, State: s.State, Pending: s.Pending, Bytes: s.Bytes,
		Delivered: s.Delivered, Retried: s.Retried, Rejected: s.Rejected, Dropped: s.Dropped,
		DeadLetters: make([]listedDead, 0, len(s.Dead)),
	}
	if !s.Oldest.IsZero() {
		l.Oldest = (*wireTime)(&s.Oldest)
	}
	if s.Error != nil {
		l.Error, l.ErrorAt = s.Error.Error(), (*wireTime)(&s.ErrorAt)
	}
	for _, d := range s.Dead {
		l.DeadLetters = append(l.DeadLetters, d.listed())
	}
	var b bytes.Buffer
	appendJSON(&b, l)
	return b.Bytes(), nil
}
