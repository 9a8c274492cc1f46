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
	presence     PresenceConfig
	destinations stomp.Destinations
	queues       stomp.QueueConfig
	sessions     int
	drain        time.Duration
	logger       *slog.Logger
	listener     presence.Listener
	endpoints    map[string]stomp.Policy

	// set by take
	name    string
	running *running
	live    map[string]*stomp.Endpoint
}

// Destruct implements [caddy.Destructor]. The broker was drained before.
func (*running) Destruct() error { return nil }

// take refers to the broker, which is made if there is none, and claims it.
func (c *claim) take(name string) error {
	v, _, err := brokers.LoadOrNew(name, func() (caddy.Destructor, error) {
		registry, err := presence.NewRegistry(presence.Config{})
		if err != nil {
			return nil, err
		}
		return &running{
			registry: registry,
			broker:   stomp.NewBroker(stomp.Config{Name: name, Observer: registry, Logger: c.logger}),
		}, nil
	})
	if err != nil {
		return err
	}
	c.name = name
	r := v.(*running)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claims = append(r.claims, c)
	c.live = make(map[string]*stomp.Endpoint)
	for endpoint, policy := range c.endpoints {
		c.live[endpoint] = r.broker.Endpoint(endpoint, policy)
	}
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
	r.broker.SetMounts(r.registry.Mounts(c.presence.Register, c.presence.Announce))
	r.registry.SetListener(c.listener)
	for endpoint, policy := range c.endpoints {
		c.live[endpoint].SetPolicy(policy)
	}
}

// release undoes take. If nobody else refers to the broker it is drained;
// otherwise the endpoints that nobody else claims are closed, and what the
// next claim says is in force.
func (c *claim) release() {
	r := c.running
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	if refs, _ := brokers.References(c.name); refs == 1 {
		c.drainBroker(ctx)
	} else {
		r.mu.Lock()
		r.claims = slices.DeleteFunc(r.claims, func(other *claim) bool { return other == c })
		if len(r.claims) > 0 {
			r.apply(r.claims[0])
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

// drainBroker ends all sessions. There are no peers left who could be told of
// the others; events are.
func (c *claim) drainBroker(ctx context.Context) {
	c.running.registry.Silence()
	if caddy.Exiting() {
		c.running.broker.Drain(ctx, 1012, "server shutdown")
	} else {
		c.running.broker.Drain(ctx, 1001, "endpoint removed")
	}
	for name := range c.live {
		drainSockJS(ctx, name)
	}
}
