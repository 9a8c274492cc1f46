package sockjs

import (
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// session is a connection over HTTP: what is sent waits until a response is
// open to carry it, what is received comes with requests of its own. It is the
// [stomp.Transport] of its receiver.
type session struct {
	all      *Sessions
	key      string
	owner    string
	delay    time.Duration // without a response, until the session is lost
	bound    int           // bytes that wait for a response
	receiver stomp.Receiver

	decided chan struct{} // closed when Open has returned
	refused bool          // by Open; set before decided is closed

	mu       sync.Mutex
	opened   bool      // "o" was sent
	queue    [][]byte  // JSON strings
	bytes    int       // in queue
	ping     bool      // the client is to ask again, to show that it is there
	final    []byte    // the close frame, once there is one
	told     bool      // a response was given it, or nobody is there to ask
	response *response // that is open
	ended    bool      // the receiver was told
	expires  *time.Timer
	until    time.Time     // not before
	room     chan struct{} // closed when the queue was taken

	receiving sync.Mutex // one request at a time gives to the receiver
	deaf      bool       // it has refused a message, or was told of the end
}

func newSession(all *Sessions, key, owner string, c *Config) *session {
	s := &session{
		all: all, key: key, owner: owner, delay: c.DisconnectDelay, bound: c.Buffer, decided: make(chan struct{}),
	}
	s.expires = time.AfterFunc(math.MaxInt64, s.expire)
	s.expires.Stop() // until it is open
	return s
}

// open asks Open for the receiver. The session is of no use if there is none.
func (s *session) open(h *Handler, r *http.Request, c Connection) (err error) {
	s.receiving.Lock() // Open may close the session, and is told of that afterwards
	defer s.receiving.Unlock()
	defer func() {
		if s.refused = s.receiver == nil; s.refused { // Open may have panicked
			s.discard()
			s.all.remove(s)
		}
		close(s.decided)
	}()
	receiver, err := h.config.Open(r, c, s)
	if err != nil {
		return err
	}
	s.receiver = receiver
	s.mu.Lock()
	s.expireIn(s.delay)
	s.mu.Unlock()
	return nil
}

// TextOnly implements [stomp.TextOnly]: messages are JSON strings.
func (*session) TextOnly() {}

// Write implements [stomp.Transport]: the batch makes one frame. While more
// than the bound waits for a response it blocks, so that the rest waits where
// it is counted.
func (s *session) Write(batch []*stomp.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		n, err := s.pushLocked(batch)
		s.response.wake()
		if err != nil || n == len(batch) {
			return err
		}
		batch = batch[n:]
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		<-room
		s.mu.Lock()
	}
}

// TryWrite implements [stomp.QuickTransport]. What there is no room for is left.
func (s *session) TryWrite(batch []*stomp.Message) (n int, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err = s.pushLocked(batch)
	s.response.wake()
	return n, false, err
}

// pushLocked queues as many messages as there is room for. With s.mu held.
func (s *session) pushLocked(batch []*stomp.Message) (n int, err error) {
	if s.ended || s.final != nil {
		return 0, net.ErrClosed
	}
	for _, m := range batch {
		f := m.Form(stomp.FormSockJS, encodeArray).Data
		message := f[len("a[") : len(f)-len("]")]
		if s.bytes > 0 && s.bytes+len(message) > s.bound {
			break
		}
		s.queue = append(s.queue, message)
		s.bytes += len(message)
		n++
	}
	return n, nil
}

// Ping implements [stomp.Transport]: the open response is ended with a
// heartbeat, so that the client shows that it is there by asking again.
func (s *session) Ping() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ping = s.response != nil // else it will ask anyway
	s.response.wake()
	return nil
}

// Close implements [stomp.Transport]. The close frame is repeated for as long
// as a client without a response may take to come back.
func (s *session) Close(code int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishLocked(closeFrame(code, text), stomp.Ending{Code: 1000})
}

// Abort implements [stomp.Transport].
func (s *session) Abort() { s.lose(errors.New("aborted")) }

func closeFrame(code int, text string) []byte {
	f := append([]byte("c["+strconv.Itoa(code)), ',')
	return append(appendString(f, []byte(text)), ']')
}

// lose ends a session whose client is gone or broke the rules of a transport.
func (s *session) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseLocked(stomp.Ending{Err: err})
}

// loseLocked: something may not have arrived, so what comes after it is not
// sent either.
func (s *session) loseLocked(e stomp.Ending) {
	s.queue, s.bytes = nil, 0
	s.told = true // as far as anybody can
	e.Code = 1006
	s.finishLocked(closeFrame(1002, "Connection interrupted"), e)
}

func (s *session) toldOfTheEnd() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

// finishLocked sets the last frame, if there is none yet, and tells the
// receiver of the end, once. What waits in Write returns.
func (s *session) finishLocked(final []byte, e stomp.Ending) {
	if s.final == nil {
		s.final = final
	}
	s.response.wake()
	if s.ended {
		return
	}
	s.ended = true
	if s.response == nil {
		s.expireIn(s.delay)
	}
	s.takenLocked()
	go func() { // the receiver may be our caller
		s.receiving.Lock()
		defer s.receiving.Unlock()
		s.deaf = true
		if s.receiver != nil {
			s.receiver.Closed(e)
		}
	}()
}

// discard ends a session that has got no receiver.
func (s *session) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.expires.Stop()
	s.takenLocked()
}

// alive tells the receiver that the client asked for what is sent. One that is
// busy receiving knows that, and may be waiting for room.
func (s *session) alive() {
	if !s.receiving.TryLock() {
		return
	}
	defer s.receiving.Unlock()
	if !s.deaf {
		s.receiver.Alive()
	}
}

// takenLocked lets those go on who wait for room. With s.mu held.
func (s *session) takenLocked() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

var errNoResponse = errors.New("the client did not come back for what was to be sent")

// expireIn calls expire in d, unless a response is attached before. With s.mu
// held.
func (s *session) expireIn(d time.Duration) {
	s.until = time.Now().Add(d)
	s.expires.Reset(d)
}

// expire is called when there was no response for the disconnect delay: an
// open session is lost, an ended one is forgotten. A response that came and
// went while it waited for the lock has set a later time.
func (s *session) expire() {
	s.mu.Lock()
	early := s.response != nil || time.Now().Before(s.until)
	forget := s.ended && !early
	if !s.ended && !early {
		s.loseLocked(stomp.Ending{Err: errNoResponse, Waited: s.delay})
	}
	s.mu.Unlock()
	if forget {
		s.all.remove(s)
	}
}

// attach makes r the response that carries what is sent, and says what it
// begins with if it cannot.
func (s *session) attach(r *response) (refusal []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.response != nil {
		return closeFrame(2010, "Another connection still open")
	}
	s.response = r
	s.expires.Stop()
	return nil
}

// detach takes r away: what is sent from now on waits for the next one. With
// s.mu held, before the response ends, so that the client's next request finds
// no other.
func (s *session) detach(r *response) {
	if s.response != r {
		return
	}
	s.response = nil
	s.ping = false
	s.expireIn(s.delay)
}

// next is the next frame for r, nil if there is none, which is valid until the
// next. r is detached if it is to end with that frame: a polling one after every
// frame.
func (s *session) next(r *response) (frame []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.response != r {
		return nil, true
	}
	switch {
	case !s.opened:
		s.opened = true
		frame = []byte("o")
	case len(s.queue) > 0:
		b := r.hold()
		b.frame = s.takeLocked(b.frame[:0])
		frame = b.frame
	case s.final != nil:
		s.detach(r)
		s.told = true
		return s.final, true
	case s.ping:
		s.detach(r)
		return []byte("h"), true
	default:
		return nil, false
	}
	if last = r.full(len(frame)); last {
		s.detach(r)
	}
	return frame, last
}

// keepQueue is how many messages a queue that is empty again has room for.
const keepQueue = 16

// takeLocked appends one array frame of all that waits. With s.mu held.
func (s *session) takeLocked(frame []byte) []byte {
	frame = append(slices.Grow(frame, s.bytes+len(s.queue)+4), "a["...)
	for i, m := range s.queue {
		if i > 0 {
			frame = append(frame, ',')
		}
		frame = append(frame, m...)
	}
	clear(s.queue)
	if s.queue, s.bytes = s.queue[:0], 0; cap(s.queue) > keepQueue {
		s.queue = nil
	}
	s.takenLocked()
	return append(frame, ']')
}

// receive gives the messages of one request to the receiver, in order.
func (s *session) receive(messages []string) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	for _, m := range messages {
		if s.deaf {
			return
		}
		s.deaf = s.receiver.Receive([]byte(m), false) != nil
	}
}
