package stomp

import "sync"

// outbox is what waits to be written to one session. It is bounded in bytes;
// while there is something in it, one goroutine writes.
type outbox struct {
	mu      sync.Mutex
	queue   []*Message
	bytes   int // queued, and being written
	writing bool
	woken   bool // look again before the goroutine ends
	ping    bool
	state   outboxState
	code    int
	text    string
}

type outboxState uint8

const (
	outboxOpen    outboxState = iota
	outboxClosing             // what is queued goes out, then the close
	outboxClosed
)

// queuePool recycles queues: a queue lives from the first message to the write.
var queuePool = sync.Pool{New: func() any { return new([]*Message) }}

// send queues m. It never blocks: a queue over its limit ends the session.
// A single message may be larger than the limit when nothing else waits.
// From any goroutine.
func (s *Session) send(m *Message) {
	if m.Binary {
		if _, textOnly := s.transport.(TextOnly); textOnly {
			s.broker.stats.dropped.Add(1)
			s.broker.Logger().Debug("message dropped: its body is not UTF-8 and the transport carries text only", "session_id", s.id)
			return
		}
	}
	o := &s.out
	o.mu.Lock()
	if o.state != outboxOpen {
		o.mu.Unlock()
		s.broker.stats.dropped.Add(1)
		return
	}
	if o.bytes > 0 && o.bytes+len(m.Data) > s.endpoint.Policy().Limits.Pending {
		o.mu.Unlock()
		s.broker.stats.dropped.Add(1)
		// the caller may hold a topic's lock, which the end needs
		go s.end(End{Reason: ReasonSlowConsumer}, nil)
		return
	}
	o.push(m)
	o.start(s)
	o.mu.Unlock()
}

// pendingBytes is what waits to be written.
func (s *Session) pendingBytes() int {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.bytes
}

func (o *outbox) push(m *Message) {
	if o.queue == nil {
		o.queue = *queuePool.Get().(*[]*Message)
	}
	o.queue = append(o.queue, m)
	o.bytes += len(m.Data)
}

// start sees to it that somebody writes. With o.mu held.
func (o *outbox) start(s *Session) {
	o.woken = true
	if !o.writing {
		o.writing = true
		go s.write()
	}
}

// wake makes the writer look for something to write: a feed that went on, a
// pong of the transport's.
func (s *Session) wake() {
	s.out.mu.Lock()
	if s.out.state != outboxClosed {
		s.out.start(s)
	}
	s.out.mu.Unlock()
}

func (s *Session) ping() {
	s.out.mu.Lock()
	if s.out.state == outboxOpen {
		s.out.ping = true
		s.out.start(s)
	}
	s.out.mu.Unlock()
}

// finish queues the last message, if there is one, and the close behind what
// is queued already; drop empties the queue first, for a peer that does not
// read.
func (s *Session) finish(last *Message, code int, text string, drop bool) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen {
		return
	}
	if drop {
		s.broker.stats.dropped.Add(uint64(len(o.queue)))
		for _, m := range o.queue {
			o.bytes -= len(m.Data)
		}
		clear(o.queue)
		o.queue = o.queue[:0]
	}
	if last != nil {
		o.push(last)
	}
	o.state, o.code, o.text = outboxClosing, code, text
	o.start(s)
}

// write is the writing goroutine: it takes all that is queued at once, so that
// it goes out in one system call, then asks the feeds, and ends when there is
// nothing left. A feed is asked only when the queue is empty: it is read at
// the pace of the socket.
func (s *Session) write() {
	o := &s.out
	written := 0
	for {
		o.mu.Lock()
		o.bytes -= written
		written = 0
		o.woken = false
		batch := o.queue
		o.queue = nil
		for _, m := range batch {
			written += len(m.Data)
		}
		ping, state := o.ping, o.state
		o.ping = false
		o.mu.Unlock()

		if len(batch) == 0 && state == outboxOpen {
			batch = s.pull()
		}
		err := s.transport.Write(batch)
		if err == nil && ping {
			err = s.transport.Ping()
		}
		if n := len(batch); n > 0 {
			s.countOut(batch)
			clear(batch)
			batch = batch[:0]
			queuePool.Put(&batch)
			if err == nil && state == outboxOpen {
				continue // there may be more by now
			}
		}
		if err != nil {
			s.broken(err)
			return
		}

		o.mu.Lock()
		switch {
		case len(o.queue) > 0:
		case o.state == outboxClosing:
			o.state = outboxClosed
			o.mu.Unlock()
			s.transport.Close(o.code, o.text)
			return
		case !o.woken:
			o.bytes -= written
			o.writing = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
	}
}

// broken is called by the writer when a write failed: nothing will be written
// again.
func (s *Session) broken(err error) {
	o := &s.out
	o.mu.Lock()
	o.state = outboxClosed
	s.broker.stats.dropped.Add(uint64(len(o.queue)))
	o.queue = nil
	o.mu.Unlock()
	reason := ReasonConnectionLost
	if isTimeout(err) {
		reason = ReasonSlowConsumer
	}
	s.end(End{Reason: reason, Err: err}, nil)
	s.transport.Abort()
}
