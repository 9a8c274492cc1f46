package sockjs

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// response is an HTTP response that carries what a session sends: one frame of
// a polling transport, many of a streaming one.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	format  format
	limit   int // bytes, after which a streaming response ends
	sent    int
	notify  chan struct{}
	buffers *buffers // nil while there is nothing to write

	deadline time.Time // of writes
	resets   bool      // one that passes ends the response, also an idle one
}

// buffers are what a frame is made in: of the protocol, and of the transport.
type buffers struct{ frame, wrapped []byte }

var buffersPool = sync.Pool{New: func() any { return new(buffers) }}

// keepBuffers is the most bytes of a buffer that is kept for others.
const keepBuffers = 64 << 10

// hold returns the response's buffers.
func (r *response) hold() *buffers {
	if r.buffers == nil {
		r.buffers = buffersPool.Get().(*buffers)
	}
	return r.buffers
}

// release gives the buffers back.
func (r *response) release() {
	if b := r.buffers; b != nil && max(cap(b.frame), cap(b.wrapped)) <= keepBuffers {
		buffersPool.Put(b)
	}
	r.buffers = nil
}

// format is how a transport writes frames.
type format struct {
	contentType string
	polling     bool
	prelude     []byte
	frame       func(dst, frame []byte) []byte
}

func newResponse(w http.ResponseWriter, r *http.Request, f format, limit int) *response {
	return &response{
		w: w, control: http.NewResponseController(w), format: f, limit: limit, notify: make(chan struct{}, 1),
		// HTTP/2 resets the stream; TLS could not answer a KeyUpdate, and breaks
		resets: r.ProtoMajor > 1 || r.TLS != nil,
	}
}

// wake makes run look for a frame. A nil response sleeps.
func (r *response) wake() {
	if r == nil {
		return
	}
	select {
	case r.notify <- struct{}{}:
	default:
	}
}

// full says whether the response ends after a frame of n more bytes.
func (r *response) full(n int) bool { return r.format.polling || r.sent+n >= r.limit }

// writeTimeout bounds one write to a client that does not read. It may be half as
// long: a deadline that is far enough is left, as setting one costs a tenth of what
// a write does.
const writeTimeout = 10 * time.Second

// write writes one frame and flushes it.
func (r *response) write(frame []byte) error {
	b := r.hold()
	b.wrapped = r.format.frame(b.wrapped[:0], frame)
	r.sent += len(b.wrapped)
	return r.send(b.wrapped)
}

func (r *response) send(p []byte) error {
	if now := time.Now(); r.deadline.Sub(now) < writeTimeout/2 {
		r.setDeadline(now.Add(writeTimeout))
	}
	if _, err := r.w.Write(p); err != nil {
		return err
	}
	if err := r.control.Flush(); err != nil {
		return err
	}
	if r.resets {
		r.setDeadline(time.Time{})
	}
	return nil
}

func (r *response) setDeadline(t time.Time) {
	r.deadline = t
	_ = r.control.SetWriteDeadline(t) // not all writers can
}

// run carries the session's frames until the response is full, the client
// goes, or the handler is closed. It is the handler's goroutine.
func (r *response) run(s *session, h *Handler, gone <-chan struct{}) {
	refusal := s.attach(r)
	defer r.release()
	if len(r.format.prelude) > 0 {
		if err := r.send(r.format.prelude); err != nil {
			if refusal == nil {
				s.abandon(r, err)
			}
			return
		}
	}
	if refusal != nil {
		_ = r.write(refusal)
		return
	}
	s.alive()
	heartbeat := time.NewTimer(h.config.Heartbeat)
	defer heartbeat.Stop()
	for {
		frame, last := s.next(r)
		if frame != nil {
			if err := r.write(frame); err != nil {
				s.abandon(r, err)
				return
			}
			heartbeat.Reset(h.config.Heartbeat)
		}
		if last {
			return
		}
		if frame != nil {
			continue
		}
		r.release()
		select {
		case <-r.notify:
		case <-heartbeat.C:
			if r.format.polling {
				_ = s.Ping() // ends the response, like every frame of it
			} else if err := r.write([]byte("h")); err != nil {
				s.abandon(r, err)
				return
			}
			heartbeat.Reset(h.config.Heartbeat)
		case <-h.closing:
			_ = s.Ping() // the client asks the handler that took our place
		case <-gone:
			s.abandon(r, nil)
			return
		}
	}
}

// abandon ends a session whose client went away from its response, and with it
// from what the response carried last.
func (s *session) abandon(r *response, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &stomp.Error{Message: "slow consumer", Reason: stomp.ReasonSlowConsumer, Err: err}
	}
	s.mu.Lock()
	s.detach(r)
	s.mu.Unlock()
	s.lose(err)
}
