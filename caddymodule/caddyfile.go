package caddymodule

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// subdirectives parses a block: each name is known, and stands once unless its
// parser allows more.
type subdirectives map[string]subdirective

type subdirective struct {
	parse    func(*caddyfile.Dispenser) error
	repeated bool
}

// parse reads the block of the directive that d stands at.
func (s subdirectives) parse(d *caddyfile.Dispenser, what string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		sub, ok := s[name]
		if !ok && len(s) == 0 {
			return d.Errf("%s: takes no block", what)
		}
		if !ok {
			return d.Errf("%s: unrecognized subdirective %q, expected one of: %s", what, name, s.names())
		}
		if seen[name] && !sub.repeated {
			return d.Errf("%s: %s is given twice", what, name)
		}
		seen[name] = true
		if err := sub.parse(d); err != nil {
			return err
		}
	}
	return nil
}

func (s subdirectives) names() string {
	return strings.Join(slices.Sorted(maps.Keys(s)), ", ")
}

// oneArg takes exactly one argument and no block.
func oneArg(d *caddyfile.Dispenser, expected string) (string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return "", d.Errf("%s: expected %s", name, expected)
	}
	return args[0], noBlock(d, name)
}

func noBlock(d *caddyfile.Dispenser, name string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%s: takes no block", name)
	}
	return nil
}

func stringArg(into *string, expected string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) (err error) {
		*into, err = oneArg(d, expected)
		return err
	}
}

func durationArg(into *caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		arg, err := oneArg(d, "a duration such as 10s")
		if err != nil {
			return err
		}
		duration, err := parseDuration(d, name, arg)
		if err == nil && duration == 0 {
			err = d.Errf("%s: expected a duration above 0, got %q", name, arg)
		}
		*into = duration
		return err
	}
}

func parseDuration(d *caddyfile.Dispenser, name, arg string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(arg)
	if err != nil || duration < 0 {
		return 0, d.Errf("%s: expected a duration such as 10s, got %q", name, arg)
	}
	return caddy.Duration(duration), nil
}

// countArg takes a number, or a size such as 64KiB.
func countArg(into *int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		arg, err := oneArg(d, "a number or a size such as 64KiB")
		if err != nil {
			return err
		}
		*into, err = parseCount(d, name, arg)
		return err
	}
}

func parseCount(d *caddyfile.Dispenser, name, arg string) (int, error) {
	n, err := humanize.ParseBytes(arg)
	if err != nil || n == 0 || n > 1<<40 {
		return 0, d.Errf("%s: expected a number above 0 or a size such as 64KiB, got %q", name, arg)
	}
	count, err := strconv.Atoi(strconv.FormatUint(n, 10))
	if err != nil {
		return 0, d.Errf("%s: %q is too large", name, arg)
	}
	return count, nil
}

// addBroker adds the options of a broker to those of a block:
//
//	presence {
//		register <destination>
//		announce <destination>
//		room     <pattern>     # may be repeated
//		grace    <duration> [<reason>...]
//		announce_unreachable
//		recovery_grace <duration>
//		sync           <duration>
//	}
//	store <name> ...           # such as: store file [<path>]
//	webhook <url> { ... }      # may be repeated; see Webhook
//	announce_to <name> ...     # may be repeated; a guest of stomp.announcers
//	destinations {
//		topic       <prefix>
//		queue       <prefix>
//		user        <prefix>
//		temp_queue  <prefix>
//		reply_queue <prefix>
//	}
//	queues {
//		backlog       <count>
//		backlog_bytes <size>
//		total_bytes   <size>
//		overflow      drop_oldest | refuse
//	}
//	sessions <count>
//	drain    <duration>
func (s subdirectives) addBroker(c *BrokerConfig) {
	s["presence"] = block("presence", func() subdirectives {
		c.Presence = new(PresenceConfig)
		return subdirectives{
			"register": {parse: stringArg(&c.Presence.Register, "a destination such as "+presence.DefaultRegister)},
			"announce": {parse: stringArg(&c.Presence.Announce, "a destination such as "+presence.DefaultAnnounce)},
			"room": {repeated: true, parse: func(d *caddyfile.Dispenser) error {
				pattern, err := oneArg(d, "a pattern of topics such as /topic/rooms/*")
				c.Presence.Rooms = append(c.Presence.Rooms, pattern)
				return err
			}},
			"grace":                {parse: c.Presence.parseGrace},
			"announce_unreachable": {parse: bareArg(&c.Presence.AnnounceUnreachable)},
			"recovery_grace":       {parse: durationArg(&c.Presence.RecoveryGrace)},
			"sync":                 {parse: durationArg(&c.Presence.Sync)},
		}
	}).checked(func() error { return c.Presence.validate() })
	s["store"] = subdirective{parse: c.parseStore}
	s["webhook"] = subdirective{parse: c.parseWebhook, repeated: true}
	s["announce_to"] = subdirective{parse: c.parseAnnouncer, repeated: true}
	s["destinations"] = block("destinations", func() subdirectives {
		d := new(DestinationsConfig)
		c.Destinations = d
		options := subdirectives{}
		for name, into := range map[string]*string{
			"topic": &d.Topic, "queue": &d.Queue, "user": &d.User, "temp_queue": &d.TempQueue, "reply_queue": &d.ReplyQueue,
		} {
			options[name] = subdirective{parse: stringArg(into, "a prefix such as /topic/")}
		}
		return options
	}).checked(func() error { return c.Destinations.validate() })
	s["queues"] = block("queues", func() subdirectives {
		c.Queues = new(QueuesConfig)
		return subdirectives{
			"backlog":       {parse: countArg(&c.Queues.Backlog)},
			"backlog_bytes": {parse: countArg(&c.Queues.BacklogBytes)},
			"total_bytes":   {parse: countArg(&c.Queues.TotalBytes)},
			"overflow":      {parse: stringArg(&c.Queues.Overflow, overflowDrop+" or "+overflowRefuse)},
		}
	}).checked(func() error { return c.Queues.validate() })
	s["sessions"] = subdirective{parse: countArg(&c.Sessions)}
	s["drain"] = subdirective{parse: durationArg(&c.Drain)}
}

func (c *PresenceConfig) parseGrace(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("grace: expected a duration such as 5s, and the reasons that it is for")
	}
	grace, err := parseDuration(d, "grace", args[0])
	if err != nil {
		return err
	}
	c.Grace, c.GraceReasons = grace, args[1:]
	if len(c.GraceReasons) == 0 {
		c.GraceReasons = nil
	}
	return noBlock(d, "grace")
}

// parseStore parses the subdirective of a guest module of stomp.stores.
func (c *BrokerConfig) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store: expected the name of a store, such as file")
	}
	name := d.Val()
	guest, err := caddyfile.UnmarshalModule(d, "stomp.stores."+name)
	if err != nil {
		return err
	}
	if _, ok := guest.(Store); !ok {
		return d.Errf("store: module stomp.stores.%s is no store", name)
	}
	c.StoreRaw = caddyconfig.JSONModuleObject(guest, "module", name, nil)
	return nil
}

// bareArg is a subdirective that stands alone.
func bareArg(into *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if d.NextArg() {
			return d.Errf("%s: takes no argument, got %q", name, d.Val())
		}
		*into = true
		return noBlock(d, name)
	}
}

// block is a subdirective with a block of its own and no arguments.
func block(name string, options func() subdirectives) subdirective {
	return subdirective{parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.Errf("%s: takes no argument, got %q", name, d.Val())
		}
		return options().parse(d, name)
	}}
}

// checked is the subdirective with a check of what it set; an error names the
// line where the subdirective stands, not where its block ends.
func (s subdirective) checked(check func() error) subdirective {
	parse := s.parse
	s.parse = func(d *caddyfile.Dispenser) error {
		start := *d
		if err := parse(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return start.WrapErr(err)
		}
		return nil
	}
	return s
}
