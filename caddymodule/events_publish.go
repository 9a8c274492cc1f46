package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func init() {
	caddy.RegisterModule(new(PublishEvent))
}

// PublishEvent is an event handler that sends an event of Caddy's, as a JSON
// object (CloudEvents), to a destination of a broker.
type PublishEvent struct {
	// The destination: a topic, a queue or that of a user. Placeholders such
	// as {event.data.identifier} are one segment each, percent-encoded.
	Destination string `json:"destination"`
	// The broker: one of the stomp app, or the name of an endpoint that has its
	// own. Default: the only one there is.
	Broker string `json:"broker,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*PublishEvent) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.stomp_publish", New: func() caddy.Module { return new(PublishEvent) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	stomp_publish <destination> [<broker>]
func (p *PublishEvent) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // stomp_publish
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.Err("stomp_publish: expected <destination> [<broker>], such as /topic/ops")
	}
	p.Destination = args[0]
	if len(args) == 2 {
		p.Broker = args[1]
	}
	if err := p.Validate(); err != nil {
		return d.Errf("stomp_publish: %v", err)
	}
	return noBlock(d, "stomp_publish")
}

// Validate implements [caddy.Validator]. Whether there is a broker is seen
// when there is an event: brokers may be anywhere in the configuration.
func (p *PublishEvent) Validate() error {
	if !strings.HasPrefix(p.Destination, "/") || stomp.IsPattern(p.Destination) {
		return fmt.Errorf("expected a destination without wildcards, such as /topic/ops, not %q", p.Destination)
	}
	return nil
}

// Handle implements [caddyevents.Handler].
func (p *PublishEvent) Handle(ctx context.Context, e caddy.Event) error {
	b, err := p.broker()
	if err != nil {
		return err
	}
	destination := p.Destination
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		destination, err = repl.ReplaceFunc(destination, func(_ string, value any) (any, error) {
			return stomp.EncodeSegment(caddy.ToString(value)), nil
		})
		if err != nil {
			return fmt.Errorf("stomp_publish: %s: %w", p.Destination, err)
		}
	}
	body, err := json.Marshal(e.CloudEvent())
	if err != nil {
		return fmt.Errorf("stomp_publish: encoding %s: %w", e.Name(), err)
	}
	header := frame.Header{{Name: frame.HdrContentType, Value: "application/json"}}
	if err := b.broker.Publish(destination, header, body); err != nil {
		return fmt.Errorf("stomp_publish: %w", err)
	}
	return nil
}

func (p *PublishEvent) broker() (*running, error) {
	live := liveBrokers()
	if b := live[p.Broker]; b != nil {
		return b, nil
	}
	if p.Broker == "" && len(live) == 1 {
		for _, b := range live {
			return b, nil
		}
	}
	return nil, fmt.Errorf("stomp_publish: no broker %q; there are %q", p.Broker, slices.Sorted(maps.Keys(live)))
}

// Interface guards
var (
	_ caddyevents.Handler   = (*PublishEvent)(nil)
	_ caddy.Validator       = (*PublishEvent)(nil)
	_ caddyfile.Unmarshaler = (*PublishEvent)(nil)
)
