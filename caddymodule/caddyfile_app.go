package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("stomp", parseGlobalOption)
}

// parseGlobalOption parses the global option, which defines brokers that
// several endpoints can share. It may be given more than once.
//
//	stomp {
//		broker <name> {
//			presence {
//				register <destination>
//				announce <destination>
//				...         # as in the directive
//			}
//			store file [<path>]
//			webhook <url> { ... }    # may be repeated
//			announce_to <name> ...   # may be repeated
//			destinations { ... } # as in the directive
//			queues       { ... }
//			sessions <count>
//			drain    <duration>
//		}
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := App{Brokers: make(map[string]*BrokerConfig)}
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(earlier.Value, &app); err != nil {
			return nil, d.Errf("stomp: %v", err)
		}
	}
	d.Next() // the option's name
	if d.NextArg() {
		return nil, d.Errf("stomp: takes no argument, got %q", d.Val())
	}
	err := subdirectives{
		"broker": {repeated: true, parse: func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			if len(args) != 1 {
				return d.Err("broker: expected one name")
			}
			name := args[0]
			if app.Brokers[name] != nil {
				return d.Errf("broker %s is defined twice", name)
			}
			c := new(BrokerConfig)
			app.Brokers[name] = c
			options := subdirectives{}
			options.addBroker(c)
			if err := options.parse(d, "broker "+name); err != nil {
				return err
			}
			if err := c.validate(); err != nil {
				return d.Errf("broker %s: %v", name, err)
			}
			return nil
		}},
	}.parse(d, "stomp")
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "stomp", Value: caddyconfig.JSON(&app, nil)}, nil
}
