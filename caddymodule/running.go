package caddymodule

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// brokers are the brokers of the process, by name. Each configuration holds
// one reference to each of its brokers.
var brokers = caddy.NewUsagePool()

// running is a live broker, with its registry and what configurations want
// it to be.
type running struct {
	broker   *stomp.Broker
	registry *presence.Registry

	mu     sync.Mutex
	claims []*claim // oldest first: the first is in force
}

// claim is what one configuration wants a broker to be.
type claim struct {
	presence     presence.Settings
	opener       Store // nil: in memory
	guests       []guestAnnouncer
	destinations stomp.Destinations
	queues       stomp.QueueConfig
	sessions     int
	drain        time.Duration
	logger       *slog.Logger
	listener     presence.Listener
	endpoints    map[string]stomp.Policy

	// set by take
	name       string
	running    *running
	live       map[string]*stomp.Endpoint
	store      openStore
	announcers []presence.AnnouncerConfig
}

// Destruct implements [caddy.Destructor]. The broker was drained before.
func (*running) Destruct() error { return nil }

// take refers to the broker, which is made if there is none, and claims it.
func (c *claim) take(name string) error {
	v, _, err := brokers.LoadOrNew(name, func() (caddy.Destructor, error) {
		registry, err := presence.NewRegistry(presence.Config{Settings: c.presence, Listener: c.listener, Logger: c.logger})
		if err != nil {
			return nil, err
		}
		broker := stomp.NewBroker(stomp.Config{Name: name, Observer: registry, Logger: c.logger})
		broker.SetMounts(registry)
		registry.Bind(broker)
		return &running{registry: registry, broker: broker}, nil
	})
	if err != nil {
		return err
	}
	c.name = name
	r := v.(*running)
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.store, err = c.openStore(); err != nil {
		_, _ = brokers.Delete(name)
		return err
	}
	c.live = make(map[string]*stomp.Endpoint)
	for endpoint, policy := range c.endpoints {
		c.live[endpoint] = r.broker.Endpoint(endpoint, policy)
	}
	c.takeAnnouncers()
	if len(r.claims) == 0 {
		// there may be wills in the store, which go by destinations and rules
		r.broker.SetDestinations(c.destinations)
		r.broker.SetQueues(c.queues)
		r.registry.SetAnnouncers(c.announcers) // before the store is read, which has events for them
		c.store.begin(r.registry)
	}
	r.claims = append(r.claims, c)
	if r.claims[0] == c {
		r.apply(c)
	}
	c.running = r
	return nil
}

// apply puts a claim in force. With r.mu held.
func (r *running) apply(c *claim) {
	r.broker.SetLogger(c.logger.With("broker", c.name))
	r.broker.SetDestinations(c.destinations)
	r.broker.SetQueues(c.queues)
	r.broker.SetSessions(c.sessions)
	r.registry.SetLogger(c.logger.With("broker", c.name))
	if err := r.registry.Configure(c.presence); err != nil { // it was validated
		c.logger.Error("presence settings", "broker", c.name, "error", err)
	}
	r.registry.SetListener(c.listener)
	c.store.apply(r.registry)
	for endpoint, policy := range c.endpoints {
		c.live[endpoint].SetPolicy(policy)
	}
}

// release undoes take. If nobody else refers to the broker it is drained;
// otherwise the endpoints that nobody else claims are closed, and what the
// next claim says is in force. The broker of a configuration that was never in
// force, as another app could not be started, leaves its store as at an exit:
// it is the next one that its sessions come back to.
func (c *claim) release(inForce bool) {
	r := c.running
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	defer c.store.close()
	defer c.releaseAnnouncers()
	if refs, _ := brokers.References(c.name); refs == 1 {
		c.drainBroker(ctx, caddy.Exiting() || !inForce)
	} else {
		settle := func(context.Context) {}
		r.mu.Lock()
		wasFirst := r.claims[0] == c
		r.claims = slices.DeleteFunc(r.claims, func(other *claim) bool { return other == c })
		if len(r.claims) > 0 {
			r.apply(r.claims[0])
			if wasFirst {
				settle = r.registry.SetAnnouncers(r.claims[0].announcers)
			}
		}
		var removed []*stomp.Endpoint
		for name, e := range c.live {
			if !r.claimed(name) {
				removed = append(removed, e)
			}
		}
		r.mu.Unlock()
		for _, e := range removed {
			e.Close(1001, "endpoint removed")
		}
		settle(ctx)
		for _, e := range removed {
			drainSockJS(ctx, e.Name())
		}
	}
	_, _ = brokers.Delete(c.name) // Destruct returns no error
}

// claimed says whether a configuration has that endpoint. With r.mu held.
func (r *running) claimed(endpoint string) bool {
	return slices.ContainsFunc(r.claims, func(c *claim) bool {
		_, ok := c.endpoints[endpoint]
		return ok
	})
}

// spreadPerSession is how far apart the ends of two sessions are when the
// process exits, so that not all clients come back in the same instant.
const spreadPerSession = time.Millisecond

// retryAfter tells clients, in seconds, when a new process may be there.
var retryAfter = frame.Header{{Name: "retry-after", Value: "1"}}

// drainBroker ends all sessions. There are no peers left who could be told of
// the others; events are. If it comes back its store is kept.
func (c *claim) drainBroker(ctx context.Context, comesBack bool) {
	r := c.running
	kept := comesBack && r.registry.Keep()
	if !kept {
		r.registry.Silence()
	}
	clients := ctx
	if len(c.announcers) > 0 { // who are told of them afterwards
		var cancel context.CancelFunc
		clients, cancel = context.WithTimeout(ctx, c.drain*5/6)
		defer cancel()
	}
	if comesBack {
		spread := min(c.drain*2/3, time.Duration(len(r.broker.Sessions()))*spreadPerSession)
		r.broker.Drain(clients, stomp.End{Code: 1012, Text: "server shutdown", Header: retryAfter}, spread)
	} else {
		r.broker.Drain(clients, stomp.End{Code: 1001, Text: "endpoint removed"}, 0)
	}
	if kept {
		r.registry.StopAnnouncers(ctx)
	}
	r.registry.Close()
	if !kept {
		r.registry.StopAnnouncers(ctx)
	}
	if !comesBack {
		forgetStore(r.registry)
	}
	for name := range c.live {
		drainSockJS(ctx, name)
	}
}
