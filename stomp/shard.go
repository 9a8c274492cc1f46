package stomp

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// shards write to the sessions whose transports can do it without waiting, each
// to its share of them. What costs time in a fan-out are system calls, and a
// goroutine for each; a worker makes one call a session and turn, and while it
// walks, messages pile up for the next turn: the busier, the larger the batches.
type shards struct {
	all  []shard
	next atomic.Uint32
}

// shard is some sessions and the worker that writes to them. The worker lives
// while one of them has something queued.
type shard struct {
	mu      sync.Mutex
	ready   []*Session // have something queued; in turn
	running bool

	walk []*Session // those whose turn it is; the worker's
}

// init makes as many as there are processors to write with.
func (sh *shards) init() { sh.all = make([]shard, runtime.GOMAXPROCS(0)) }

// assign says who writes to the next session.
func (sh *shards) assign() *shard { return &sh.all[sh.next.Add(1)%uint32(len(sh.all))] }

// add gives s, which was not being written to, to the worker. With s.out.mu held.
func (sh *shard) add(s *Session) {
	sh.mu.Lock()
	sh.ready = append(sh.ready, s)
	start := !sh.running
	sh.running = true
	sh.mu.Unlock()
	if start {
		go sh.work()
	}
}

func (sh *shard) work() {
	for sh.take() {
		for i, s := range sh.walk {
			sh.walk[i] = nil
			if s.turn() {
				sh.add(s)
			}
		}
	}
}

// take makes those who are ready the next to be walked; if there are none the
// worker ends.
func (sh *shard) take() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.running = len(sh.ready) > 0
	sh.walk, sh.ready = sh.ready, sh.walk[:0]
	return sh.running
}

// turn is one session's turn of its worker: it writes what is queued, then what
// the feeds have, one system call each, and says whether there is more. What
// may take time is done by a goroutine of the session's own, which has it until
// all is written: a socket that is full or was given as much as fits into one
// call, pings, the close, the end that an error causes.
func (s *Session) turn() (again bool) {
	defer func() {
		if v := recover(); v != nil { // of the transport: it is in no state to write to
			go s.broken(s.panicked(v))
			again = false
		}
	}()
	o := &s.out
	o.mu.Lock()
	if o.ping || o.state != outboxOpen {
		o.mu.Unlock()
		go s.write(nil, 0)
		return false
	}
	o.woken = false
	batch, size := o.take()
	flush := o.flush
	o.flush = false
	o.mu.Unlock()

	if (batch != nil || flush) && !s.tryBatch(batch, size) {
		return false
	}
	pulled := false
	if s.pulls.Load() > 0 { // seldom, if there are only topics
		o.wrote(size)
		size = 0
		if !s.mu.TryLock() { // who has it may take his time
			go s.write(nil, size)
			return false
		}
		feeds := s.pullLocked()
		s.mu.Unlock()
		if pulled = feeds != nil; pulled && !s.tryBatch(feeds, size) {
			return false
		}
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= size
	o.writing = pulled || o.woken
	return o.writing
}

// tryBatch writes what was taken, if that can be done at once. Otherwise the
// session has a goroutine of its own now, or is broken.
func (s *Session) tryBatch(batch *[]*Message, size int) bool {
	var messages []*Message
	if batch != nil {
		messages = *batch
	}
	n, more, err := s.transport.(QuickTransport).TryWrite(messages)
	switch {
	case err != nil:
		go s.broken(err)
	case more || n < len(messages):
		s.countOut(messages[:n])
		rest := queuePool.Get().(*[]*Message)
		*rest = append(*rest, messages[n:]...)
		go s.write(rest, size)
	default:
		s.countOut(messages)
	}
	if batch != nil {
		recycle(batch)
	}
	return err == nil && !more && n == len(messages)
}
