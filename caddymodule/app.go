package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App owns the brokers of STOMP endpoints: the ones that are shared by several
// `stomp` handlers are configured here, by name. A handler that names no
// broker has one of its own.
type App struct {
	// The brokers that handlers can refer to, by name.
	Brokers map[string]*BrokerConfig `json:"brokers,omitempty"`

	ctx    caddy.Context
	logger *slog.Logger
	events *caddyevents.App

	mu        sync.Mutex
	endpoints map[string]endpointSpec // by endpoint name
	claims    map[string]*claim       // by broker name; in force after Start
	queue     *eventQueue
	inForce   bool // all apps of the configuration have started
	admission *admission
	leave     sync.Once
}

// CaddyModule implements [caddy.Module].
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp", New: func() caddy.Module { return new(App) }}
}

// Provision implements [caddy.Provisioner]. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Slogger()
	a.endpoints = make(map[string]endpointSpec)
	for name, c := range a.Brokers {
		if err := c.provision(ctx); err != nil {
			return fmt.Errorf("broker %s: %w", name, err)
		}
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	a.queue = newEventQueue(ctx, a.events, a.logger)
	a.admission = newAdmission(ctx, a.events)
	// stopping comes before any app is stopped, while events still can be
	// emitted, and before the HTTP app waits for its connections
	err = errors.Join(
		a.events.On("started", eventHandler(a.started)),
		a.events.On("started", eventHandler(a.admission.start)),
		a.events.On("stopping", eventHandler(a.leaveBrokers)),
	)
	if err != nil {
		return fmt.Errorf("subscribing to Caddy's events: %w", err)
	}
	if err := ctx.GetMetricsRegistry().Register(collector{a}); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// started is called when all apps of the configuration have started.
func (a *App) started() {
	a.mu.Lock()
	a.inForce = true
	a.mu.Unlock()
	a.queue.start()
}

// endpointSpec is what a handler tells the app about its endpoint.
type endpointSpec struct {
	broker  string
	private *BrokerConfig // nil: broker is one of the app's
	policy  stomp.Policy
	start   func() error // opens what the policy needs
	config  string       // the handler's whole configuration, to compare
}

// addEndpoint is called by handlers when they are provisioned. The same
// endpoint may be added more than once, as a site on several ports does.
func (a *App) addEndpoint(name string, spec endpointSpec) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.endpoints[name]; ok {
		if known.config == spec.config {
			return nil
		}
		return fmt.Errorf("two different endpoints are named %q: give one of them another `name`; "+
			"to let both share a broker, define it in the global `stomp` option and write `broker <name>` in each", name)
	}
	_, shared := a.Brokers[spec.broker]
	if spec.private == nil && !shared {
		return fmt.Errorf("broker %q is not defined; define it in the global option: stomp { broker %s }", spec.broker, spec.broker)
	}
	if spec.private != nil && shared {
		return fmt.Errorf("endpoint %q has a broker of its own, but the global `stomp` option has a broker of that name; "+
			"write `broker %s` to use it, or give the endpoint another `name`", name, spec.broker)
	}
	a.endpoints[name] = spec
	return nil
}

// Start implements [caddy.App]: it takes the references and makes the claims.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, spec := range a.endpoints {
		if err := spec.start(); err != nil {
			return fmt.Errorf("endpoint %s: %w", name, err)
		}
	}
	a.claims = make(map[string]*claim)
	for name, c := range a.Brokers {
		a.claims[name] = a.newClaim(c)
	}
	for name, spec := range a.endpoints {
		if a.claims[spec.broker] == nil {
			a.claims[spec.broker] = a.newClaim(spec.private)
		}
		policy := spec.policy
		policy.Subscriptions, policy.Admit = a.queue, a.admission.of(spec.broker, name)
		a.claims[spec.broker].endpoints[name] = policy
	}
	for name, c := range a.claims {
		if err := c.startAnnouncers(); err != nil {
			return fmt.Errorf("broker %s: %w", name, err)
		}
	}
	for name, c := range a.claims {
		if err := c.take(name); err != nil {
			return fmt.Errorf("broker %s: %w", name, err)
		}
	}
	return nil
}

func (a *App) newClaim(c *BrokerConfig) *claim {
	if c == nil {
		c = new(BrokerConfig)
	}
	settings, _ := c.Presence.settings() // was validated
	return &claim{
		presence:     settings,
		opener:       c.store,
		guests:       c.announcers,
		destinations: c.Destinations.withDefaults(),
		queues:       c.Queues.bounds(),
		sessions:     c.Sessions,
		drain:        c.drain(),
		logger:       a.logger,
		listener:     a.queue,
		endpoints:    make(map[string]stomp.Policy),
	}
}

// Stop implements [caddy.App].
func (a *App) Stop() error {
	a.leaveBrokers()
	return nil
}

// Cleanup implements [caddy.CleanerUpper]. It is called without Stop when
// another app could not be started.
func (a *App) Cleanup() error {
	a.leaveBrokers()
	return nil
}

// leaveBrokers undoes what Start did, once: the brokers that nobody else keeps
// are drained, all at the same time.
func (a *App) leaveBrokers() {
	a.leave.Do(func() {
		a.mu.Lock()
		claims, inForce := a.claims, a.inForce
		a.mu.Unlock()
		var all sync.WaitGroup
		for _, c := range claims {
			all.Go(func() { c.release(inForce) })
		}
		all.Wait()
		if a.queue != nil {
			a.queue.close()
		}
	})
}

// eventHandler calls a function at an event of Caddy's own.
type eventHandler func()

// Handle implements [caddyevents.Handler].
func (h eventHandler) Handle(context.Context, caddy.Event) error {
	h()
	return nil
}

// endpoint returns a started endpoint, nil if there is none (yet).
func (a *App) endpoint(name string) *stomp.Endpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	spec, ok := a.endpoints[name]
	if !ok {
		return nil
	}
	if c := a.claims[spec.broker]; c != nil {
		return c.live[name]
	}
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddy.CleanerUpper  = (*App)(nil)
	_ caddyevents.Handler = eventHandler(nil)
)
