package stomp

import (
	"errors"
	"sync"
)

// outbox is what waits to be written to one session. It is bounded in bytes;
// while there is something in it, one goroutine at a time writes: the worker of
// the session's shard, if the transport can write without waiting, until the
// socket is full, and one of the session's own otherwise.
type outbox struct {
	mu      sync.Mutex
	queue   *[]*Message // from the pool; nil while there is nothing
	bytes   int         // queued, and being written
	over    bool        // over the limit: the end is on its way
	writing bool        // a worker or a goroutine has the session, or will
	woken   bool        // look again before writing ends
	ping    bool
	flush   bool // the transport has something to write itself
	state   outboxState
	closing *closing // the transport's close, from outboxClosing on
}

type closing struct {
	code int
	text string
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
// From any goroutine. The hot path, hence no defer.
func (s *Session) send(m *Message) {
	o := &s.out
	o.mu.Lock()
	if s.admits(len(m.Data), m.Binary) {
		o.push(m)
		o.start(s)
	}
	o.mu.Unlock()
}

// sendAll is send for what a group gets, with one lock. What nobody had room for
// yet is encoded for the first who has.
func (s *Session) sendAll(v variant, destination string, encodings []encoding) {
	o := &s.out
	o.mu.Lock()
	queued := false
	for i := range encodings {
		e := &encodings[i]
		size := e.size
		if e.message != nil {
			size = len(e.message.Data)
		}
		if !s.admits(size, e.binary) {
			continue
		}
		if e.message == nil {
			e.message = e.encode(v, destination, e.id)
		}
		o.push(e.message)
		queued = true
	}
	if queued {
		o.start(s)
	}
	o.mu.Unlock()
}

// takes is what send would do with a message of n bytes at least that is not
// encoded yet: if it would be refused there is no need to encode it.
func (s *Session) takes(n int, binary bool) bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.admits(n, binary)
}

// admits says whether n bytes may be queued. What may not is counted, and ends
// the session if it is too much. With s.out.mu held.
func (s *Session) admits(n int, binary bool) bool {
	o := &s.out
	switch {
	case binary && s.textOnly:
		s.broker.Logger().Debug("message dropped: its body is not UTF-8 and the transport carries text only", "session_id", s.id)
	case o.state != outboxOpen || o.over:
	case o.bytes > 0 && o.bytes+n > s.endpoint.Policy().Limits.Pending:
		o.over = true
		// the caller may hold a topic's lock, which the end needs
		go s.end(End{Reason: ReasonSlowConsumer})
	default:
		return true
	}
	s.broker.stats.dropped.Add(1)
	return false
}

// trySend queues m if there is room for it.
func (s *Session) trySend(m *Message) bool {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen || o.over || o.bytes > 0 && o.bytes+len(m.Data) > s.endpoint.Policy().Limits.Pending {
		return false
	}
	o.push(m)
	o.start(s)
	return true
}

// hasRoom says whether n more bytes may be queued, and will be written.
func (s *Session) hasRoom(n int) bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	o := &s.out
	return o.state == outboxOpen && !o.over && (o.bytes == 0 || o.bytes+n <= s.endpoint.Policy().Limits.Pending)
}

func (o *outbox) push(m *Message) {
	if o.queue == nil {
		o.queue = queuePool.Get().(*[]*Message)
	}
	*o.queue = append(*o.queue, m)
	o.bytes += len(m.Data)
}

// discard drops what is queued and says how many messages that were. With
// o.mu held.
func (o *outbox) discard() (dropped uint64) {
	if o.queue == nil {
		return 0
	}
	for _, m := range *o.queue {
		o.bytes -= len(m.Data)
	}
	dropped = uint64(len(*o.queue))
	recycle(o.queue)
	o.queue = nil
	return dropped
}

func recycle(queue *[]*Message) {
	clear(*queue)
	*queue = (*queue)[:0]
	queuePool.Put(queue)
}

// start sees to it that somebody writes. With o.mu held.
func (o *outbox) start(s *Session) {
	o.woken = true
	if !o.writing {
		o.writing = true
		if s.shard != nil {
			s.shard.add(s)
		} else {
			go s.write(nil, 0)
		}
	}
}

// take takes all that is queued; what it weighs stays in o.bytes until it is
// written. With o.mu held, by whoever writes.
func (o *outbox) take() (batch *[]*Message, size int) {
	if o.queue == nil {
		return nil, 0
	}
	batch, o.queue = o.queue, nil
	return batch, o.bytes // nothing else is being written
}

// wrote takes off what was written and weighs size: what a feed has may wait for
// room, and is not queued.
func (o *outbox) wrote(size int) {
	o.mu.Lock()
	o.bytes -= size
	o.mu.Unlock()
}

// wake makes the writer look for something to read: a feed that went on.
func (s *Session) wake() {
	s.out.mu.Lock()
	if s.out.state != outboxClosed {
		s.out.start(s)
	}
	s.out.mu.Unlock()
}

// Flush implements [Receiver].
func (s *Session) Flush() {
	s.out.mu.Lock()
	if s.out.state != outboxClosed {
		s.out.flush = true
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
		s.broker.stats.dropped.Add(o.discard())
	}
	if last != nil {
		o.push(last)
	}
	o.state, o.closing = outboxClosing, &closing{code, text}
	o.start(s)
}

// write is the session's own writing goroutine: it takes all that is queued at
// once, so that it goes out in one system call, then asks the feeds, and ends
// when there is nothing left. A feed is asked only when the queue is empty: it
// is read at the pace of the socket. What a worker could not write, which
// weighs so much in o.bytes, comes first.
func (s *Session) write(batch *[]*Message, size int) {
	defer func() {
		if v := recover(); v != nil { // of the transport: it is in no state to write to
			s.broken(s.panicked(v))
		}
	}()
	o := &s.out
	if batch != nil {
		if err := s.writeBatch(batch); err != nil {
			s.broken(err)
			return
		}
	}
	turn := 0
	for {
		o.mu.Lock()
		o.bytes -= size
		o.woken = false
		batch, size = o.take()
		ping, flush, state := o.ping, o.flush, o.state
		o.ping, o.flush = false, false
		o.mu.Unlock()

		if batch == nil && state == outboxOpen {
			batch = s.pull()
		}
		var err error
		if batch != nil || flush {
			err = s.writeBatch(batch)
		}
		if err == nil && ping {
			err = s.transport.Ping()
		}
		if turn++; err == nil && batch != nil && state == outboxOpen && turn%8 == 0 {
			o.wrote(size)
			size = 0
			err = s.writeBatch(s.pull()) // a steady stream does not starve the feeds
		}
		if err == nil && batch != nil && state == outboxOpen {
			continue // there may be more by now
		}
		if err != nil {
			s.broken(err)
			return
		}

		o.mu.Lock()
		switch {
		case o.queue != nil:
		case o.state == outboxClosing:
			o.state = outboxClosed
			o.mu.Unlock()
			s.transport.Close(o.closing.code, o.closing.text)
			return
		case !o.woken:
			o.bytes -= size
			o.writing = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
	}
}

// writeBatch writes what was taken, and gives the batch back to its pool. An
// empty one lets the transport write what it has to say itself.
func (s *Session) writeBatch(batch *[]*Message) error {
	if batch == nil {
		return s.transport.Write(nil)
	}
	defer recycle(batch)
	if err := s.transport.Write(*batch); err != nil {
		return err
	}
	s.countOut(*batch)
	return nil
}

// broken is called by the writer when a write failed: nothing will be written
// again.
func (s *Session) broken(err error) {
	o := &s.out
	o.mu.Lock()
	o.state = outboxClosed
	s.broker.stats.dropped.Add(o.discard())
	o.mu.Unlock()
	end := End{Reason: ReasonConnectionLost, Err: err}
	if refused, ok := errors.AsType[*Error](err); ok {
		end.Reason = refused.Reason
	} else if isTimeout(err) {
		end.Reason = ReasonSlowConsumer
	}
	s.end(end)
	s.transport.Abort()
}
