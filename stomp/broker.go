package stomp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Broker routes messages between sessions by destination. It is long-lived:
// what may change while it lives (endpoints, mounts, logger) is swapped
// atomically. All methods may be called from any goroutine.
type Broker struct {
	name     string
	rand     io.Reader
	observer Observer
	resumer  Resumer              // nil, or the observer
	follower SubscriptionObserver // nil, or the observer
	server   string

	logger       atomic.Pointer[slog.Logger]
	mounts       atomic.Pointer[Mounts]
	topics       topics
	wildcards    wildcards
	queues       queues
	replies      replies
	quota        quota
	destinations atomic.Pointer[Destinations]
	sessions     directory
	wheel        wheel
	shards       shards
	stats        stats
	lastID       atomic.Uint64

	draining atomic.Bool
	open     atomic.Int64 // connections, of whatever state

	mu        sync.Mutex
	endpoints map[string]*Endpoint
}

// Config configures a [Broker].
type Config struct {
	// Name identifies the broker in logs and metrics.
	Name string
	// Observer follows the sessions. Default: nobody.
	Observer Observer
	// Logger. Default: slog.Default().
	Logger *slog.Logger
	// Server is the server header of CONNECTED (STOMP 1.2, "CONNECT or STOMP
	// frame"). Default: "caddy-stomp".
	Server string
	// Rand is where session ids come from. Default: crypto/rand.
	Rand io.Reader
}

// NewBroker returns a broker without endpoints.
func NewBroker(c Config) *Broker {
	b := &Broker{
		name: c.Name, rand: c.Rand, observer: c.Observer, server: c.Server,
		endpoints: make(map[string]*Endpoint),
	}
	b.resumer, _ = c.Observer.(Resumer)
	b.follower, _ = c.Observer.(SubscriptionObserver)
	if b.rand == nil {
		b.rand = rand.Reader
	}
	if b.server == "" {
		b.server = "caddy-stomp"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	b.SetLogger(c.Logger)
	b.SetMounts(NoMounts{})
	b.SetDestinations(DefaultDestinations())
	b.topics.init()
	b.queues.init(&b.stats.dropped)
	b.quota.init()
	b.sessions.init()
	b.shards.init()
	return b
}

// Name is the broker's name.
func (b *Broker) Name() string { return b.name }

// Observer is who follows the sessions, nil for nobody.
func (b *Broker) Observer() Observer { return b.observer }

// Logger is the logger in force.
func (b *Broker) Logger() *slog.Logger { return b.logger.Load() }

// SetLogger puts another logger in force.
func (b *Broker) SetLogger(l *slog.Logger) { b.logger.Store(l) }

// Destinations are the prefixes in force.
func (b *Broker) Destinations() *Destinations { return b.destinations.Load() }

// SetDestinations puts other prefixes in force, which must be valid. Live
// subscriptions keep what they read.
func (b *Broker) SetDestinations(d Destinations) { b.destinations.Store(&d) }

// SetQueues puts other bounds of queues in force.
func (b *Broker) SetQueues(c QueueConfig) {
	c = c.withDefaults()
	b.queues.config.Store(&c)
}

// SetSessions bounds how many sessions all endpoints may have at the same time;
// 0: no limit, but each endpoint's own. Those that are connected stay. Default:
// 0.
func (b *Broker) SetSessions(max int) { b.quota.limit(max) }

// Endpoint returns the endpoint with that name, made with the policy if it is
// new; an existing one keeps its policy.
func (b *Broker) Endpoint(name string, p Policy) *Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoints[name]
	if e == nil {
		e = &Endpoint{name: name, broker: b}
		e.SetPolicy(p)
		b.endpoints[name] = e
	}
	return e
}

// Endpoints are the endpoints that are not closed.
func (b *Broker) Endpoints() []*Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*Endpoint, 0, len(b.endpoints))
	for _, e := range b.endpoints {
		all = append(all, e)
	}
	return all
}

// Session returns the connected session with that id, or nil.
func (b *Broker) Session(id string) *Session {
	if s := b.sessions.get(id); s != nil && s.connectedNow() {
		return s
	}
	return nil
}

// Sessions are the connected sessions.
func (b *Broker) Sessions() []*Session {
	return slices.DeleteFunc(b.sessions.all(), func(s *Session) bool { return !s.connectedNow() })
}

// Connections is how many connections there are, connected sessions or not.
func (b *Broker) Connections() int { return int(b.open.Load()) }

// Draining says that Drain was called.
func (b *Broker) Draining() bool { return b.draining.Load() }

// Drain ends all sessions with e, as ReasonServerShutdown, takes no new ones, and returns when the last
// connection is gone or ctx ends; those that are left then are dropped by their
// own timers. The ends are spread evenly over a time, so that not all clients
// come back in the same instant.
func (b *Broker) Drain(ctx context.Context, e End, over time.Duration) {
	b.draining.Store(true)
	e.Reason = ReasonServerShutdown
	all, began := b.sessions.everyone(), time.Now()
	for i, s := range all {
		at := over * time.Duration(i) / time.Duration(len(all))
		if wait := at - time.Since(began); wait > drainPoll && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
		s.End(e)
	}
	for b.open.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainPoll):
		}
	}
}

// drainPoll is how often Drain looks whether all are gone.
const drainPoll = 5 * time.Millisecond

func (b *Broker) nextMessageID() uint64 { return b.lastID.Add(1) }

// sessionIDBytes is 128 bits (OWASP asks for 64 of entropy at least).
const sessionIDBytes = 16

// newSessionID mints an id that matches [A-Za-z0-9_-]{22}.
func (b *Broker) newSessionID() (string, error) {
	var raw [sessionIDBytes]byte
	if _, err := io.ReadFull(b.rand, raw[:]); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw[:]), nil
}
