package presence

import (
	"bytes"
	"time"
)

const (
	// maxBody is how large the body of an announcement or a page of the
	// roster gets, in bytes, unless a single entry is larger: so that the
	// MESSAGE is no larger than 64 KiB.
	maxBody = 63 << 10
	// maxPending is how many changes may wait to be announced. Beyond, they
	// are dropped and every peer is told to ask for the roster again.
	maxPending = 1 << 16
	// maxPendingBytes bounds the client data in them as well.
	maxPendingBytes = 64 << 20
	// compactFrom is how many changes at once count as pressure: those of a
	// session that the peers know already are then told in short.
	compactFrom = 32
)

// An announcement is under way for about as long as the kernel takes to write
// it to every reader, and what happens meanwhile is announced together. For a
// few readers that is no time at all.
const (
	perReader = 10 * time.Microsecond
	maxHold   = 50 * time.Millisecond
)

// enqueue hands c to the announcing goroutine, which lives while there is
// something to announce. With Registry.mu held.
func (s *scope) enqueue(c Change) {
	if len(s.pending) >= maxPending || s.pendingBytes >= maxPendingBytes {
		s.pending, s.pendingBytes, s.overflow = nil, 0, true
	}
	s.pending = append(s.pending, c)
	s.pendingBytes += len(c.ClientData)
	if !s.running {
		s.running = true
		go s.announce()
	}
}

func (s *scope) announce() {
	for {
		s.publishing.Lock()
		s.registry.mu.Lock()
		changes, overflow := s.takePending()
		s.registry.mu.Unlock()
		s.publish(changes, overflow)
		s.publishing.Unlock()

		if hold := min(maxHold, time.Duration(s.feed.Readers())*perReader); hold >= time.Millisecond {
			time.Sleep(hold)
		}
		s.registry.mu.Lock()
		if len(s.pending) == 0 {
			s.running = false
			s.registry.mu.Unlock()
			return
		}
		s.registry.mu.Unlock()
	}
}

// takePending takes what is to be announced; overflow says that there was
// more. With Registry.mu held.
func (s *scope) takePending() (changes []Change, overflow bool) {
	changes, overflow = s.pending, s.overflow
	s.pending, s.pendingBytes, s.overflow = nil, 0, false
	return changes, overflow
}

// publish appends changes to the feed. With s.publishing held.
func (s *scope) publish(changes []Change, overflow bool) {
	if len(changes) == 0 {
		return
	}
	last := changes[len(changes)-1].Seq
	if overflow {
		// nobody can be told less than all of the roster, and none from before
		s.snapshot = nil
		s.feed.Append(last, resetBody(changes[len(changes)-1].Stream, last))
		return
	}
	s.registry.announced.Add(uint64(len(changes)))
	b := body{open: "[", end: "]"}
	for i := range changes {
		c := &changes[i]
		w := newWireChange(c)
		if len(changes) >= compactFrom && (c.Type == Left || c.Type == Unreachable) {
			w = compactWireChange(c)
		}
		if full := b.add(w); full != nil {
			s.feed.Append(c.Seq-1, full)
		}
	}
	s.feed.Append(last, b.take())
}

// resetBody tells a peer that it missed changes up to seq.
func resetBody(stream string, seq uint64) []byte {
	b := body{open: "[", end: "]"}
	b.add(wireChange{Stream: stream, Seq: seq, Type: reset})
	return b.take()
}

// body collects JSON values into bodies of at most maxBody bytes.
type body struct {
	open, end string // around the values
	buf       bytes.Buffer
	one       bytes.Buffer
}

// add adds a value; if it does not fit, what was collected so far is returned
// as a body of its own.
func (b *body) add(v any) (full []byte) {
	b.one.Reset()
	appendJSON(&b.one, v)
	if b.buf.Len() > 0 && b.buf.Len()+1+b.one.Len()+len(b.end) > maxBody {
		full = b.take()
	}
	if b.buf.Len() == 0 {
		b.buf.WriteString(b.open)
	} else {
		b.buf.WriteByte(',')
	}
	b.buf.Write(b.one.Bytes())
	return full
}

// take returns the body collected so far.
func (b *body) take() []byte {
	if b.buf.Len() == 0 {
		b.buf.WriteString(b.open)
	}
	b.buf.WriteString(b.end)
	full := bytes.Clone(b.buf.Bytes())
	b.buf.Reset()
	return full
}
