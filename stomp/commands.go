package stomp

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// The state machine: a session is in connecting until CONNECT succeeded, then in
// connected until it ends. What was sent after DISCONNECT, which the
// specification forbids, is not looked at.

// connecting takes CONNECT or STOMP and nothing else (STOMP 1.2, "Connecting").
func (s *Session) connecting(f *frame.Frame) error {
	if f.Command != frame.Connect && f.Command != frame.Stomp {
		return protocolErrorf("%s before CONNECT", f.Command)
	}
	if _, err := s.intercept(f); err != nil {
		return err
	}
	v, err := negotiate(f.Header)
	if err != nil {
		return err
	}
	sends, wants, err := parseHeartBeat(f.Header.Get(frame.HdrHeartBeat))
	if err != nil {
		return err
	}
	p, hs := s.endpoint.Policy(), s.handshake
	if host, ok := f.Header.Lookup(frame.HdrHost); ok && len(p.Hosts) > 0 && !slices.Contains(p.Hosts, host) {
		return policyErrorf("host %q is not served here", host)
	}
	if p.Authenticator != nil {
		if hs, err = p.Authenticator.Authenticate(hs, f); err != nil {
			return err
		}
	}
	if err := s.permitConnect(hs); err != nil {
		return err
	}
	resumed, done, err := s.admit(hs, f)
	if err != nil {
		return err
	}
	if done != nil {
		defer done()
	}
	if v == frame.V10 { // has no heart-beats
		sends, wants = 0, 0
	}
	if err := s.connect(f, hs, resumed, v, sends, wants); err != nil {
		return err
	}
	s.handle = (*Session).connected
	if id, ok := f.Header.Lookup(frame.HdrReceipt); ok {
		s.receipt(id)
	}
	return nil
}

func (s *Session) permitConnect(hs *Handshake) error {
	if s.endpoint.Policy().Permissions.Allows(ActionConnect, hs, s.id, "") {
		return nil
	}
	return Refuse("CONNECT: not permitted")
}

// admit asks the policy whether it takes a client, and the next one if that has
// gone out of force meanwhile, and then returns what takeUp does.
func (s *Session) admit(hs *Handshake, connect *frame.Frame) (resumed string, done func(), err error) {
	p := s.endpoint.Policy()
	if r := s.broker.resumer; r != nil && p.Admit != nil {
		if release := r.Hold(hs, connect); release != nil {
			defer release()
		}
	}
	for p.Admit != nil {
		err := p.Admit(hs, connect)
		asked := p
		if p = s.endpoint.Policy(); p == asked || !errors.Is(err, ErrSuperseded) {
			if err != nil {
				return "", nil, err
			}
			break
		}
	}
	resumed, done = s.broker.takeUp(hs, connect)
	return resumed, done, nil
}

// takeUp returns the id of the session that a CONNECT frame goes on with, ""
// if there is none, and what is to be called when the CONNECT is over. Whoever
// has the id is ended.
func (b *Broker) takeUp(hs *Handshake, connect *frame.Frame) (id string, done func()) {
	if b.resumer == nil {
		return "", nil
	}
	id, done = b.resumer.Resume(hs, connect)
	if id == "" {
		return "", done
	}
	for s := b.sessions.get(id); s != nil; s = b.sessions.get(id) {
		if !s.end(End{Reason: ReasonPolicy, Text: "taken over"}) {
			time.Sleep(takeUpPoll) // it is just ending, and gives the id back when its observer knows
		}
	}
	return id, done
}

const takeUpPoll = time.Millisecond

// connect makes the session a connected one, whole or not at all. It has the
// id resumed, or if that is empty a new one.
func (s *Session) connect(f *frame.Frame, hs *Handshake, resumed string, v frame.Version, sends, wants time.Duration) error {
	p := s.endpoint.Policy()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseConnecting {
		return ErrEnded
	}
	s.handshake = hs
	if s.endpoint.sessions.Add(1) > int64(p.Limits.Sessions) {
		s.endpoint.sessions.Add(-1)
		return LimitExceeded("sessions", p.Limits.Sessions)
	}
	if err := s.broker.quota.enter(s.handshake, &p.Limits); err != nil {
		s.endpoint.sessions.Add(-1)
		return err
	}
	err := s.name(resumed)
	var header frame.Header
	if err == nil {
		s.version = v
		s.decoder.SetVersion(v)
		s.connectedAt = time.Now().UnixNano()
		// the id is claimed, so that recheck finds the session from here on
		if err = s.permitConnect(hs); err == nil {
			header, err = s.observe(f)
		}
		if err != nil {
			s.broker.sessions.release(s.id)
		}
	}
	if err != nil {
		s.broker.quota.leave(s.handshake)
		s.endpoint.sessions.Add(-1)
		return err
	}
	s.broker.sessions.depart(s)
	s.broker.stats.connects.Add(1)
	s.phase = phaseConnected
	s.setExpiry(hs.Expires)
	s.beat.agree(sends, wants, p)
	s.send(encode(v, &frame.Frame{Command: frame.Connected, Header: append(s.connectedHeader(p), header...)}))
	now := stamp()
	s.beat.lastOut.Store(now)
	first := now + s.beat.pingAt()
	if s.beat.out > 0 {
		first = min(first, now+s.beat.outAt())
	}
	if expires := s.expires.Load(); expires != 0 {
		first = min(first, expires)
	}
	s.broker.wheel.schedule(s, first)
	if t, ok := s.transport.(SilenceTimeout); ok {
		t.SetSilenceTimeout(time.Duration(s.beat.giveUp()))
	}
	return nil
}

// observe asks the observer. A panic is a refusal: what CONNECT has taken so far
// is given back.
func (s *Session) observe(connect *frame.Frame) (header frame.Header, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.panicked(v)
		}
	}()
	if o := s.broker.observer; o != nil {
		return o.Connected(s, connect)
	}
	return nil, nil
}

func (s *Session) connectedHeader(p *Policy) frame.Header {
	h := frame.Header{
		{Name: frame.HdrVersion, Value: s.version.String()},
		{Name: frame.HdrSession, Value: s.id},
		{Name: frame.HdrServer, Value: s.broker.server},
	}
	if s.version != frame.V10 {
		h = append(h, frame.Field{Name: frame.HdrHeartBeat, Value: formatHeartBeat(p)})
	}
	if u := s.handshake.User; u != "" {
		h = append(h, frame.Field{Name: "user-name", Value: u})
	}
	return h
}

// name gives the session its id: the one resumed, the one that its URL asks
// for, if it may have it, or a new one.
func (s *Session) name(resumed string) error {
	if resumed != "" && s.broker.sessions.claim(resumed, s, false) {
		s.id, s.minted, s.resumed = resumed, true, true
		return nil
	}
	if want := s.handshake.SessionID; validSessionID(want) && (s.broker.resumer == nil || !s.broker.resumer.Reserved(want)) {
		want = strings.Clone(want)
		if s.broker.sessions.claim(want, s, true) {
			s.id = want
			return nil
		}
	}
	for {
		id, err := s.broker.newSessionID()
		if err != nil {
			return &Error{Message: "no session id could be made", Reason: ReasonServerShutdown, Code: 1011, Err: err}
		}
		if s.broker.sessions.claim(id, s, true) {
			s.id, s.minted = id, true
			return nil
		}
	}
}

// validSessionID: [A-Za-z0-9_-]{8,64}
func validSessionID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// negotiate chooses the highest common version; a client that names none
// speaks 1.0 (STOMP 1.2, "Protocol Negotiation").
func negotiate(h frame.Header) (frame.Version, error) {
	accept, ok := h.Lookup(frame.HdrAcceptVersion)
	if !ok {
		return frame.V10, nil
	}
	var best frame.Version
	for name := range strings.SplitSeq(accept, ",") {
		if v, ok := frame.ParseVersion(strings.TrimSpace(name)); ok {
			best = max(best, v)
		}
	}
	if best == 0 {
		return 0, &Error{
			Message: "unsupported protocol version",
			Detail:  "supported protocol versions are 1.0, 1.1 and 1.2",
			Header:  frame.Header{{Name: frame.HdrVersion, Value: "1.0,1.1,1.2"}},
		}
	}
	return best, nil
}

// intercept shows a frame to the interceptors, until one has answered it. CONNECT
// cannot be answered: whoever says so keeps it from none of the others.
func (s *Session) intercept(f *frame.Frame) (answered bool, err error) {
	connecting := f.Command == frame.Connect || f.Command == frame.Stomp
	for _, i := range s.endpoint.Policy().Interceptors {
		if answered, err = i.Intercept(s, f); answered && !connecting || err != nil {
			return answered, err
		}
	}
	return false, nil
}

func intercepted(command string) bool {
	switch command {
	case frame.Connect, frame.Stomp, frame.Subscribe, frame.Unsubscribe, frame.Send, frame.Disconnect:
		return true
	}
	return false
}

// connected takes everything but CONNECT (STOMP 1.2, "Client Frames"). A
// RECEIPT follows the effect of the frame that asks for it; inside of a
// transaction, that the transaction holds the frame.
func (s *Session) connected(f *frame.Frame) error {
	answered, err := false, error(nil)
	if len(s.endpoint.Policy().Interceptors) > 0 && intercepted(f.Command) {
		answered, err = s.intercept(f)
	}
	switch {
	case answered || err != nil:
	case f.Command == frame.Disconnect:
		s.disconnect(f)
		return ErrEnded
	default:
		err = s.command(f)
	}
	if err != nil {
		return err
	}
	if id, ok := f.Header.Lookup(frame.HdrReceipt); ok {
		s.receipt(id)
	}
	return nil
}

// command does what a frame asks for.
func (s *Session) command(f *frame.Frame) (err error) {
	switch f.Command {
	case frame.Send, frame.Ack, frame.Nack:
		if tx, ok := f.Header.Lookup(frame.HdrTransaction); ok {
			err = s.hold(tx, f)
		} else {
			err = s.perform(f)
		}
	case frame.Begin:
		err = s.onBegin(f)
	case frame.Commit:
		err = s.onCommit(f)
	case frame.Abort:
		err = s.onAbort(f)
	case frame.Subscribe:
		err = s.onSubscribe(f)
	case frame.Unsubscribe:
		err = s.onUnsubscribe(f)
	case frame.Connect, frame.Stomp:
		err = protocolErrorf("%s: already connected", f.Command)
	default:
		err = protocolErrorf("unknown command %q", f.Command)
	}
	return err
}

func (s *Session) receipt(id string) { s.send(encode(s.version, receiptFrame(id))) }

func receiptFrame(id string) *frame.Frame {
	return &frame.Frame{Command: frame.Receipt, Header: frame.Header{{Name: frame.HdrReceiptID, Value: id}}}
}

func (s *Session) disconnect(f *frame.Frame) {
	e := End{Reason: ReasonDisconnect}
	if id, ok := f.Header.Lookup(frame.HdrReceipt); ok {
		e.last = receiptFrame(id)
	}
	s.end(e)
}
