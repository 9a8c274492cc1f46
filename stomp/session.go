package stomp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Session is one STOMP client, from its first byte to its end. It is the
// [Receiver] of its transport.
type Session struct {
	// what a publish needs: one line of the cache
	out      outbox
	endpoint *Endpoint
	shard    *shard // who writes, if it is a QuickTransport; or nil
	textOnly bool   // the transport cannot carry what is not UTF-8

	// what its worker needs besides: another line
	transport Transport
	broker    *Broker
	pulls     atomic.Int32 // how many feeds and queues the writer has to ask
	beat      beat

	handshake *Handshake

	// set by CONNECT, before anybody else sees the session
	id          string
	minted      bool // the server made the id, not the client
	resumed     bool // the id is that of a session before
	version     frame.Version
	connectedAt int64 // unix nanoseconds

	// reading goroutine only: the state machine is this function
	handle           func(*Session, *frame.Frame) error
	decoder          frame.Decoder
	burst            *burst
	transactions     map[string]*transaction
	replies          map[string]string // by name of the temp-queue: its token
	rate             rate
	transactionBytes int

	expires   atomic.Int64 // a stamp; 0: never
	connectBy int64        // a stamp
	place     wheelPlace

	gone   atomic.Bool // phase is phaseEnded, for the reading goroutine
	mu     sync.Mutex
	phase  phase
	subs   []*Subscription
	pullAt int         // which of subs is asked first
	abort  *time.Timer // bounds the closing handshake
}

type phase uint8

const (
	phaseConnecting phase = iota
	phaseConnected
	phaseEnded
)

// End is how a session ended.
type End struct {
	Reason Reason
	// Code is the WebSocket close code: what the client sent, or what the
	// server sends. Default: the reason's.
	Code int
	// Text is the close reason and the ERROR's message. Default: the reason's.
	Text string
	// Err is the cause, if it was a failure. For the log.
	Err error
	// At is when it ended. Set by the session.
	At time.Time
	// Silence is how long nothing had been received. Set by the session.
	Silence time.Duration
	// Waited is how long the transport has already waited for a lost client
	// to come back. Set by the session.
	Waited time.Duration
	// Header is added to the ERROR frame of the reason.
	Header frame.Header

	last *frame.Frame // goes out before the close; default: an ERROR with Text
	late bool         // only if the session is not connected yet
}

// ID is the session id that CONNECTED told; empty before.
func (s *Session) ID() string { return s.id }

// Resumed says that the session goes on with the id of an earlier one, by the
// word of the [Resumer].
func (s *Session) Resumed() bool { return s.resumed }

// User is the authenticated name, or empty.
func (s *Session) User() string { return s.handshake.User }

// Handshake is what the server knew before the first frame. It must not be
// changed.
func (s *Session) Handshake() *Handshake { return s.handshake }

// Version is the STOMP version agreed.
func (s *Session) Version() frame.Version { return s.version }

// ConnectedAt is when CONNECTED was sent.
func (s *Session) ConnectedAt() time.Time { return time.Unix(0, s.connectedAt) }

// LastSeen is when something was last received.
func (s *Session) LastSeen() time.Time {
	return time.Now().Add(-time.Duration(stamp() - s.beat.lastIn.Load()))
}

// connectedNow: an id is taken before the session has all that goes with it,
// and until the observer knows of its end.
func (s *Session) connectedNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == phaseConnected
}

// Endpoint is where the session came in.
func (s *Session) Endpoint() *Endpoint { return s.endpoint }

// Receive implements [Receiver].
func (s *Session) Receive(p []byte, _ bool) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.refuse(s.panicked(v), nil)
		}
	}()
	now := stamp()
	s.beat.lastIn.Store(now)
	s.beat.lastBytes.Store(now)
	s.broker.stats.bytesIn.Add(uint64(len(p)))
	s.decoder.SetLimits(s.endpoint.Policy().frame) // they may have changed
	err = s.decoder.Decode(p, s.frame)
	if err != nil && !errors.Is(err, ErrEnded) {
		err = s.refuse(err, nil)
	}
	return err
}

// Alive implements [Receiver].
func (s *Session) Alive() { s.beat.lastIn.Store(stamp()) }

// Fail implements [Receiver].
func (s *Session) Fail(err error) { _ = s.refuse(err, nil) }

// Closed implements [Receiver].
func (s *Session) Closed(e Ending) {
	s.Settle()
	s.out.mu.Lock()
	s.out.state = outboxClosed // nobody is there to read
	s.out.mu.Unlock()
	if _, ok := errors.AsType[*Error](e.Err); ok {
		s.fail(e.Err, nil)
	} else {
		s.end(End{Reason: reasonOfClose(e.Code), Code: e.Code, Err: e.Err, Waited: e.Waited})
	}
	s.mu.Lock()
	if s.abort != nil {
		s.abort.Stop()
	}
	s.mu.Unlock()
	s.broker.sessions.depart(s)
	s.broker.open.Add(-1)
}

// frame handles one frame: the state decides how.
func (s *Session) frame(f *frame.Frame) error {
	ended := s.gone.Load() // by somebody else
	if ended || s.interrupts(f) {
		s.Settle()
	}
	if ended {
		return ErrEnded
	}
	s.broker.stats.framesIn.Add(1)
	if limit := s.endpoint.Policy().Limits.FramesPerSecond; !s.rate.take(limit, s.beat.lastIn.Load()) {
		return s.refuse(LimitExceeded("frames_per_second", limit), f)
	}
	// EOLs are let pass: clients of old put one more behind the head
	if f.Command != frame.Send && len(bytes.Trim(f.Body, "\r\n")) > 0 {
		return s.refuse(protocolErrorf("%s: only SEND has a body", f.Command), f)
	}
	err := s.handle(s, f)
	if err != nil && !errors.Is(err, ErrEnded) {
		return s.refuse(err, f)
	}
	return err
}

// refuse is fail for the reading goroutine: what came before is published before
// others hear of the end.
func (s *Session) refuse(err error, f *frame.Frame) error {
	s.Settle()
	s.fail(err, f)
	return ErrEnded
}

// fail tells the client what was wrong, and ends the session (STOMP 1.2,
// "ERROR"). f is the offending frame, if it could be decoded.
func (s *Session) fail(err error, f *frame.Frame) {
	s.end(refusal(err, f))
}

// refusal is the end that an error causes.
func refusal(err error, f *frame.Frame) End {
	e := asError(err)
	h := append(frame.Header{{Name: frame.HdrMessage, Value: e.Message}}, e.Header...)
	if f != nil {
		if id, ok := f.Header.Lookup(frame.HdrReceipt); ok {
			h = append(h, frame.Field{Name: frame.HdrReceiptID, Value: id})
		}
	}
	h = append(h, frame.Field{Name: frame.HdrContentType, Value: "text/plain"})
	last := &frame.Frame{Command: frame.Error, Header: h, Body: []byte(e.Detail)}
	return End{Reason: e.Reason, Code: e.Code, Text: e.Message, Err: err, last: last}
}

// encode makes a message of a frame of the server's own. Before a version was
// agreed no escapes are.
func encode(v frame.Version, f *frame.Frame) *Message { return &Message{Data: frame.Append(nil, v, f)} }

// End ends the session: the client gets an ERROR frame if the reason has a
// text, and the connection is closed. It returns at once and says whether it
// was this call that ended the session. From any goroutine.
func (s *Session) End(e End) bool {
	return s.end(e)
}

// closeTimeout bounds what follows the end: writing the ERROR, and the
// client's part of the closing handshake.
const closeTimeout = 5 * time.Second

// end is the only way that a session ends.
func (s *Session) end(e End) bool {
	now := stamp()
	was, version, hs, ok := s.stop(e.late)
	if !ok {
		return false
	}
	info := e.Reason.info()
	if e.Code == 0 {
		e.Code = info.code
	}
	if e.Text == "" {
		e.Text = info.text
	}
	e.At = time.Now()
	e.Silence = time.Duration(now - s.beat.lastIn.Load())

	if e.last == nil && info.text != "" {
		h := append(frame.Header{{Name: frame.HdrMessage, Value: e.Text}}, e.Header...)
		e.last = &frame.Frame{Command: frame.Error, Header: h}
	}
	var last *Message
	if was == phaseConnecting {
		version = 0 // the client does not know of one
	}
	if e.last != nil {
		last = encode(version, e.last)
	}
	if was == phaseConnected {
		s.broker.quota.leave(hs) // who sees the close may come back at once
	}
	s.finish(last, e.Code, e.Text, e.Reason == ReasonSlowConsumer)

	s.log(e, hs)
	if was == phaseConnecting {
		return true
	}
	s.endpoint.sessions.Add(-1)
	s.broker.stats.ended(e)
	if s.broker.observer != nil {
		s.shield(func() { s.broker.observer.Ended(s, e) })
	}
	s.broker.sessions.release(s.id) // not before the observer knows
	return true
}

// stop takes the session out of everything, once, and says what it was until
// then.
func (s *Session) stop(late bool) (was phase, v frame.Version, hs *Handshake, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseEnded || late && s.phase != phaseConnecting {
		return 0, 0, nil, false
	}
	was = s.phase
	s.phase = phaseEnded
	s.gone.Store(true)
	s.abort = time.AfterFunc(closeTimeout, s.transport.Abort)
	for _, sub := range s.subs {
		s.shield(func() { s.detach(sub) })
	}
	s.subs = nil
	s.broker.replies.forget(s)
	s.broker.wheel.remove(s)
	return was, s.version, s.handshake, true
}

func (s *Session) log(e End, hs *Handshake) {
	l := s.broker.Logger()
	if !l.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs := []any{
		"session_id", s.id, "user", hs.User, "remote_addr", hs.RemoteAddr,
		"endpoint", s.endpoint.name, "reason", e.Reason.String(), "code", e.Code, "silence", e.Silence,
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err)
	}
	l.Debug("session ended", attrs...)
}

// look is tick, after which the session ends if that panics.
func (s *Session) look(now int64) (next int64) {
	defer func() {
		if v := recover(); v != nil {
			s.fail(s.panicked(v), nil)
		}
	}()
	return s.tick(now)
}

// tick looks after the session's silence and returns when to look again. The
// wheel calls it, on its own goroutine.
func (s *Session) tick(now int64) (next int64) {
	s.mu.Lock()
	phase := s.phase
	s.mu.Unlock()
	if phase == phaseConnecting {
		if now >= s.connectBy {
			e := refusal(LimitExceeded("connect_timeout", s.endpoint.Policy().Limits.Connect), nil)
			e.late = true // unless CONNECT has just come
			s.end(e)
		}
		return s.connectBy
	}
	b := &s.beat
	silent := b.lastIn.Load()
	expires := s.expires.Load()
	switch {
	case expires != 0 && now >= expires:
		s.end(End{Reason: ReasonPolicy, Text: "credentials expired"})
		return now
	case now >= silent+b.giveUp(), b.agreed && now >= b.lastBytes.Load()+b.frozen():
		s.end(End{Reason: ReasonHeartBeatTimeout})
		return now
	case now >= silent+b.pingAt():
		if b.pinged != silent {
			b.pinged = silent
			s.ping()
		}
		next = silent + b.giveUp()
	default:
		next = silent + b.pingAt()
	}
	if b.agreed {
		next = min(next, b.lastBytes.Load()+b.frozen())
	}
	if expires != 0 {
		next = min(next, expires)
	}

	if b.out > 0 {
		idle := b.lastOut.Load()
		if now >= idle+b.outAt() {
			s.send(heartBeat)
			idle = now
		}
		next = min(next, idle+b.outAt())
	}
	return next
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return errors.Is(err, os.ErrDeadlineExceeded) || ok && ne.Timeout()
}
