package stomp

import (
	"sync/atomic"
	"time"
)

// Endpoint is where sessions come in: a name, and the policy that they live
// under. It outlives the configuration that made it.
type Endpoint struct {
	name     string
	broker   *Broker
	policy   atomic.Pointer[Policy]
	sessions atomic.Int64 // connected
	closed   atomic.Bool
}

// Name identifies the endpoint in its broker, across reloads.
func (e *Endpoint) Name() string { return e.name }

// Broker is the broker that the endpoint belongs to.
func (e *Endpoint) Broker() *Broker { return e.broker }

// Policy is the policy in force. It must not be changed.
func (e *Endpoint) Policy() *Policy { return e.policy.Load() }

// SetPolicy puts another policy in force, for the sessions that live too: those
// that have subscriptions which are no longer permitted end.
func (e *Endpoint) SetPolicy(p Policy) {
	p = p.withDefaults()
	limits := p.Limits.Frame
	p.frame = &limits
	before := e.policy.Swap(&p)
	if before == nil || p.Permissions == nil || p.Permissions.same(before.Permissions) {
		return
	}
	for _, s := range e.broker.sessions.all() {
		if s.endpoint == e {
			s.recheck()
		}
	}
}

// Sessions is how many sessions are connected.
func (e *Endpoint) Sessions() int { return int(e.sessions.Load()) }

// Handshake is what the server knows of a client before its first frame. It
// is evaluated once and never changes; nothing of an HTTP request is in it.
type Handshake struct {
	// SessionID is the id that the client's URL asks for; used if it is well
	// formed and nobody has or recently had it. Otherwise one is minted.
	SessionID string
	// Aliases are further names, separated by "/", by which the client may
	// call its own session: the segments of its own URL.
	Aliases string
	// User is the authenticated name; empty for an anonymous client.
	User string
	// Attributes are facts that the server asserts.
	Attributes []Attribute
	// Expires is when the credentials do, and the session with them unless
	// they are refreshed before; zero for never.
	Expires time.Time
	// Credentials are what the client's request brought for the endpoint's
	// Authenticator, which returns a handshake without them: they do not
	// outlive CONNECT. Nil if there are none, or nobody asks.
	Credentials *Credentials
	// Authenticator names what proved who the user is, for the Authenticator
	// of the policy: only that may refresh the session.
	Authenticator string
	// Transport is the kind of connection, such as "websocket".
	Transport string
	// RemoteAddr is the peer's address, for the log.
	RemoteAddr string
	// Address is what sessions of one address are counted by; empty: not
	// counted.
	Address string
}

// Credentials are parts of a handshake's HTTP request, each only if it was there
// and asked for.
type Credentials struct {
	// Authorization is the header of that name.
	Authorization string
	// Cookies and Query are values of cookies and of query parameters, by name.
	Cookies, Query map[string]string
}

// Attribute is a fact about a session that the client cannot touch. Peers see
// it only if it is public.
type Attribute struct {
	Name, Value string
	Public      bool
}

// NewSession makes the session of a new connection. It is the transport's
// receiver. Until CONNECT it counts as connecting only. The error is
// [ErrDraining] when the endpoint was closed or its broker is about to stop, or
// an *Error that names the limit of those who are connecting.
func (e *Endpoint) NewSession(t Transport, hs *Handshake) (*Session, error) {
	if e.Draining() {
		return nil, ErrDraining
	}
	p := e.Policy()
	now := stamp()
	_, textOnly := t.(TextOnly)
	s := &Session{
		broker: e.broker, endpoint: e, transport: t, textOnly: textOnly, handshake: hs,
		handle: (*Session).connecting, connectBy: now + int64(p.Limits.Connect),
	}
	if _, quick := t.(QuickTransport); quick {
		s.shard = e.broker.shards.assign()
	}
	s.decoder.SetLimits(p.frame)
	s.beat.lastIn.Store(now)
	s.beat.lastOut.Store(now)
	s.beat.pinged = -1
	// first be seen by Close and Drain, then look whether they came before
	e.broker.open.Add(1)
	if err := e.broker.sessions.arrive(s, &p.Limits); err != nil {
		e.broker.open.Add(-1)
		return nil, err
	}
	if e.Draining() {
		e.broker.sessions.depart(s)
		e.broker.open.Add(-1)
		return nil, ErrDraining
	}
	e.broker.wheel.schedule(s, s.connectBy)
	return s, nil
}

// Admits returns the error that NewSession would return now for a connection
// from the address: for a transport that can refuse it at less cost.
func (e *Endpoint) Admits(address string) error {
	if e.Draining() {
		return ErrDraining
	}
	d := &e.broker.sessions
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full(address, &e.Policy().Limits)
}

// Draining says that NewSession would refuse.
func (e *Endpoint) Draining() bool { return e.closed.Load() || e.broker.draining.Load() }

// Close ends the endpoint's sessions with ReasonServerShutdown and an RFC 6455
// close code, and takes no new ones. Those who stay elsewhere on the broker
// are told as of any other end.
func (e *Endpoint) Close(code int, text string) {
	e.closed.Store(true)
	e.broker.mu.Lock()
	if e.broker.endpoints[e.name] == e {
		delete(e.broker.endpoints, e.name)
	}
	e.broker.mu.Unlock()
	for _, s := range e.broker.sessions.everyone() {
		if s.endpoint == e {
			s.End(End{Reason: ReasonServerShutdown, Code: code, Text: text})
		}
	}
}
