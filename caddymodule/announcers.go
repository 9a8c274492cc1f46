package caddymodule

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// Announcer is implemented by the guest modules of the namespace
// stomp.announcers, which tell somebody outside of the process what happens at a
// broker. They are provisioned as Caddy's modules are; each configuration has its
// own, which is called until the next one is in force. What their Announce is
// given, and what its errors mean, is said in package presence: the order, the
// batches, the retries, the dead letters and the bounds are not the guest's care.
//
// A guest that embeds [AnnouncerOptions], or has the method DeliverySettings
// otherwise, says what it is told and in which bounds. One that implements
// [Starter] opens what it needs there: a configuration that is only validated
// never gets so far.
type Announcer = presence.Announcer

// AnnouncerOptions are the options of an announcer that have nothing to do with
// whom it tells.
type AnnouncerOptions struct {
	// What is told: joined, updated, unreachable, returned, left, connected,
	// subscribed, unsubscribed. Default: all but the last three.
	Events []presence.Type `json:"events,omitempty"`

	// How many events are told at once. Default: 100.
	Batch int `json:"batch,omitempty"`
	// How many bytes of JSON are told at once, unless a single event has more.
	// Default: 256 KiB.
	BatchSize int `json:"batch_size,omitempty"`

	// How long it may take to tell them. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many events may wait. Beyond, the oldest are given up.
	// Default: 100000.
	Pending int `json:"pending,omitempty"`
	// How many bytes of memory they may take, roughly. Default: 64 MiB.
	PendingSize int `json:"pending_size,omitempty"`

	// How long an event may wait. Default: 72h.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
}

// DeliverySettings are the options as package presence has them.
func (o *AnnouncerOptions) DeliverySettings() presence.DeliverySettings {
	return presence.DeliverySettings{
		Types: o.Events, Batch: o.Batch, BatchBytes: o.BatchSize, Timeout: time.Duration(o.Timeout),
		Pending: o.Pending, PendingBytes: o.PendingSize, MaxAge: time.Duration(o.MaxAge),
	}
}

// UnmarshalOption parses the subdirective that d stands at, if it is one of
// these; known says whether it is:
//
//	events  <type>...
//	batch   <count> [<size>]
//	timeout <duration>
//	pending <count> [<size>]
//	max_age <duration>
func (o *AnnouncerOptions) UnmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	option, known := o.options()[d.Val()]
	if !known {
		return false, nil
	}
	return true, option.parse(d)
}

func (o *AnnouncerOptions) options() subdirectives {
	return subdirectives{
		"events":  {parse: o.parseEvents},
		"batch":   {parse: countAndSize(&o.Batch, &o.BatchSize)},
		"timeout": {parse: durationArg(&o.Timeout)},
		"pending": {parse: countAndSize(&o.Pending, &o.PendingSize)},
		"max_age": {parse: durationArg(&o.MaxAge)},
	}
}

func (o *AnnouncerOptions) parseEvents(d *caddyfile.Dispenser) error {
	for _, name := range d.RemainingArgs() {
		o.Events = append(o.Events, presence.Type(name))
	}
	if len(o.Events) == 0 {
		return d.Errf("events: expected types of events, of %v", presence.EventTypes())
	}
	if err := o.DeliverySettings().Validate(); err != nil {
		return d.WrapErr(err)
	}
	return noBlock(d, "events")
}

// countAndSize takes a number, and a size if there is one.
func countAndSize(count, size *int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return d.Errf("%s: expected <count> [<size>], such as 100 256KiB", name)
		}
		for i, into := range []*int{count, size}[:len(args)] {
			n, err := parseCount(d, name, args[i])
			if err != nil {
				return err
			}
			*into = n
		}
		return noBlock(d, name)
	}
}

// guestAnnouncer is an announcer of a configuration.
type guestAnnouncer struct {
	Announcer
	settings presence.DeliverySettings
}

// provisionAnnouncers loads the guest modules.
func (c *BrokerConfig) provisionAnnouncers(ctx caddy.Context) error {
	if c.AnnouncersRaw == nil {
		return nil
	}
	guests, err := ctx.LoadModule(c, "AnnouncersRaw")
	if err != nil {
		return fmt.Errorf("announcers: %w", err)
	}
	for _, guest := range guests.([]any) {
		a, ok := guest.(Announcer)
		if !ok {
			return fmt.Errorf("announcers: %T is no announcer", guest)
		}
		g := guestAnnouncer{Announcer: a}
		if s, ok := guest.(interface {
			DeliverySettings() presence.DeliverySettings
		}); ok {
			g.settings = s.DeliverySettings()
		}
		switch err := g.settings.Validate(); {
		case err != nil:
			return fmt.Errorf("announcer %s: %w", a.ID(), err)
		case a.ID() == "" || len(a.ID()) > maxAnnouncerID:
			return fmt.Errorf("announcers: %T has an id of %d bytes; expected 1 to %d", guest, len(a.ID()), maxAnnouncerID)
		case slices.ContainsFunc(c.announcers, func(other guestAnnouncer) bool { return other.ID() == a.ID() }):
			return fmt.Errorf("announcer %s is given twice", a.ID())
		}
		c.announcers = append(c.announcers, g)
	}
	return nil
}

// maxAnnouncerID is how long the id of an announcer may be: it is a key in
// stores and a label of metrics.
const maxAnnouncerID = 2 << 10

// parseAnnouncer parses the subdirective of a guest module of stomp.announcers.
func (c *BrokerConfig) parseAnnouncer(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("announce_to: expected the name of an announcer, such as webhook")
	}
	return c.addAnnouncer(d, d.Val())
}

// parseWebhook parses what is short for announce_to webhook.
func (c *BrokerConfig) parseWebhook(d *caddyfile.Dispenser) error {
	return c.addAnnouncer(d, d.Val())
}

func (c *BrokerConfig) addAnnouncer(d *caddyfile.Dispenser, name string) error {
	guest, err := caddyfile.UnmarshalModule(d, "stomp.announcers."+name)
	if err != nil {
		return err
	}
	if _, ok := guest.(Announcer); !ok {
		return d.Errf("announce_to: module stomp.announcers.%s is no announcer", name)
	}
	c.AnnouncersRaw = append(c.AnnouncersRaw, caddyconfig.JSONModuleObject(guest, "module", name, nil))
	return nil
}

// announcing bounds how many announcers of the process are called at a time.
var announcing = make(chan struct{}, 64)

// circuits are those of the receivers of the process, by the ids of announcers.
// Each claim holds a reference to those of its announcers.
var circuits = caddy.NewUsagePool()

type pooledCircuit struct{ presence.Circuit }

// Destruct implements [caddy.Destructor].
func (*pooledCircuit) Destruct() error { return nil }

// startAnnouncers opens what they need.
func (c *claim) startAnnouncers() error {
	for _, g := range c.guests {
		if s, ok := g.Announcer.(Starter); ok {
			if err := s.Start(); err != nil {
				return fmt.Errorf("announcer %s: %w", g.ID(), err)
			}
		}
	}
	return nil
}

// takeAnnouncers makes what the registry is told of them.
func (c *claim) takeAnnouncers() {
	for _, g := range c.guests {
		v, _, _ := circuits.LoadOrNew(g.ID(), func() (caddy.Destructor, error) { return new(pooledCircuit), nil })
		c.announcers = append(c.announcers, presence.AnnouncerConfig{
			Announcer: g.Announcer, DeliverySettings: g.settings, Circuit: &v.(*pooledCircuit).Circuit, Slots: announcing,
		})
	}
	if len(c.guests) > 0 && c.opener == nil {
		c.logger.Info("without a store, what announcers were not told yet is lost when the process dies", "broker", c.name)
	}
}

func (c *claim) releaseAnnouncers() {
	for _, a := range c.announcers {
		_, _ = circuits.Delete(a.ID()) // Destruct returns no error
	}
}
