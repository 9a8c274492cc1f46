package caddymodule

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

func init() {
	httpcaddyfile.RegisterDirective("stomp", parseDirective)
	// after authentication, whose result it may use; before what compresses or
	// answers
	httpcaddyfile.RegisterDirectiveOrder("stomp", httpcaddyfile.Before, "encode")
}

// parseDirective parses the directive:
//
//	stomp [@<matcher>] [<path>] {
//		name         <id>
//		broker       <name>
//		sockjs {
//			transports         <name>...
//			heartbeat          <duration>
//			disconnect_delay   <duration>
//			response_limit     <size>
//			buffer             <size>
//			client_library_url <url>
//			cookie_needed
//		}
//		origins      <origin>... | *
//		heart_beat   <send> <receive>
//		ping_timeout <duration>
//		hosts        <name>...
//		compression
//		user         <value>
//		attribute    <name> <value> [public]
//		authenticate <name> ...          # may be repeated; jwt, password, or a guest
//		allow_anonymous
//		failed_attempts <burst> <per second> | off
//		allow | deny <action> [<destination>...] [user <name>...] [attribute <name> <value>]
//		intercept    <name> ...          # may be repeated, as allow and deny; rate_limit, require_header, or a guest
//		limits {
//			frame_size      <size>
//			header_line     <size>
//			headers         <count>
//			client_data     <size>
//			destination     <size>
//			subscriptions   <count>
//			transactions    <count>
//			transaction_bytes <size>
//			unacknowledged  <count>
//			frames_per_second <count>
//			pending         <size>
//			connect_timeout <duration>
//			sessions        <count>
//			sessions_per_user    <count>
//			sessions_per_address <count>
//			connecting             <count>
//			connecting_per_address <count>
//		}
//
//		# without broker: the options of a broker of its own
//		presence {
//			register <destination>
//			announce <destination>
//			room     <pattern>     # may be repeated
//			grace    <duration> [<reason>...]
//			announce_unreachable
//			recovery_grace <duration>
//			sync           <duration>
//		}
//		store file [<path>]
//		webhook <url> {           # may be repeated
//			events  <type>...
//			secret  <secret>...   # may be repeated
//			batch   <count> [<size>]
//			timeout <duration>
//			header  <name> <value> # may be repeated
//			ca      <pem file>
//			pending <count> [<size>]
//			max_age <duration>
//		}
//		announce_to <name> ...    # may be repeated; webhook, or a guest
//		destinations {
//			topic       <prefix>
//			queue       <prefix>
//			user        <prefix>
//			temp_queue  <prefix>
//			reply_queue <prefix>
//		}
//		queues {
//			backlog       <count>
//			backlog_bytes <size>
//			total_bytes   <size>
//			overflow      drop_oldest | refuse
//		}
//		sessions <count>
//		drain    <duration>
//	}
//
// The path means itself and everything below it. If several endpoints of a
// site overlap, the longer path comes first.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	start := *h.Dispenser
	matcher, path, err := parseMatcherAndPath(h)
	if err != nil {
		return nil, err
	}
	handler := &Handler{Path: path}
	if err := handler.parseBlock(h.Dispenser); err != nil {
		return nil, err
	}
	if handler.Name == "" {
		handler.Name = siteOf(h) + path
		if err := nameOnce(h, handler.Name); err != nil {
			return nil, start.WrapErr(err)
		}
	}
	if err := handler.validate(); err != nil {
		return nil, start.WrapErr(fmt.Errorf("stomp: %w", err))
	}
	return h.NewRoute(matcher, handler), nil
}

// nameOnce notes the names that endpoints were given by their site and path: two
// of one name would be one endpoint with one broker, which only somebody who
// writes the same name twice can mean.
func nameOnce(h httpcaddyfile.Helper, name string) error {
	const key = "stomp.names"
	names, ok := h.State[key].(map[string]bool)
	if !ok {
		names = make(map[string]bool)
		h.State[key] = names
	}
	if names[name] {
		return fmt.Errorf("stomp: two endpoints are named %q: give each a name of its own (`name <id>`); to let both share a broker, "+
			"define it in the global stomp option and write broker <name> in each", name)
	}
	names[name] = true
	return nil
}

// parseMatcherAndPath reads what follows the directive on its line. A path
// becomes a path matcher, too, which makes Caddy sort longer paths first; the
// handler then looks at segment boundaries.
func parseMatcherAndPath(h httpcaddyfile.Helper) (caddy.ModuleMap, string, error) {
	var matcher caddy.ModuleMap
	path := ""
	for h.NextArg() {
		switch arg := h.Val(); {
		case strings.HasPrefix(arg, "@") && matcher == nil && path == "":
			h.Prev()
			var err error
			if matcher, _, err = h.MatcherToken(); err != nil {
				return nil, "", h.WrapErr(err)
			}
		case strings.HasPrefix(arg, "/") && path == "":
			if strings.Contains(arg, "*") {
				return nil, "", h.Errf("stomp: %s: no * is needed, the path means itself and everything below it", arg)
			}
			path = arg
		default:
			return nil, "", h.Errf("stomp: expected [@matcher] [/path], got %q", arg)
		}
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
		if _, has := matcher["path"]; !has {
			matcher = maps.Clone(matcher)
			if matcher == nil {
				matcher = make(caddy.ModuleMap)
			}
			matcher["path"] = caddyconfig.JSON([]string{path + "*"}, nil)
		}
	}
	if path == "" {
		path = "/"
	}
	return matcher, path, nil
}

func (h *Handler) parseBlock(d *caddyfile.Dispenser) error {
	options := subdirectives{
		"name":         {parse: stringArg(&h.Name, "an id")},
		"broker":       {parse: stringArg(&h.Broker, "the name of a broker of the global stomp option")},
		"ping_timeout": subdirective{parse: durationArg(&h.PingTimeout)}.checked(h.validatePingTimeout),
		"user":         {parse: stringArg(&h.User, "a value such as {http.auth.user.id}")},
		"sockjs": block("sockjs", func() subdirectives {
			h.SockJS = new(SockJS)
			return h.SockJS.options()
		}),
		"origins": {parse: func(d *caddyfile.Dispenser) error {
			if h.Origins = d.RemainingArgs(); len(h.Origins) == 0 {
				return d.Err("origins: expected origins such as https://example.com, or *")
			}
			if _, err := websocket.ParseOrigins(h.Origins...); err != nil {
				return d.WrapErr(err)
			}
			return noBlock(d, "origins")
		}},
		"hosts": {parse: func(d *caddyfile.Dispenser) error {
			if h.Hosts = d.RemainingArgs(); len(h.Hosts) == 0 {
				return d.Err("hosts: expected the virtual hosts that CONNECT may name")
			}
			return noBlock(d, "hosts")
		}},
		"compression": {parse: bareArg(&h.Compression)},
		"heart_beat":  subdirective{parse: h.parseHeartBeat}.checked(func() error { return h.HeartBeat.validate() }),
		"attribute":   subdirective{parse: h.parseAttribute, repeated: true}.checked(h.validateAttributes),
		"limits":      block("limits", h.limitOptions).checked(func() error { return h.Limits.validate() }),
	}
	options.addAuth(&h.AuthConfig)
	options.addAccess(&h.AccessConfig)
	options.addBroker(&h.BrokerConfig)
	return options.parse(d, "stomp")
}

func (h *Handler) parseHeartBeat(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("heart_beat: expected two durations, <send> <receive>, such as 10s 10s")
	}
	h.HeartBeat = new(HeartBeat)
	for i, into := range []*caddy.Duration{&h.HeartBeat.Send, &h.HeartBeat.Receive} {
		duration, err := parseDuration(d, "heart_beat", args[i])
		if err != nil {
			return err
		}
		*into = duration
	}
	return noBlock(d, "heart_beat")
}

func (h *Handler) parseAttribute(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 && (len(args) != 3 || args[2] != "public") {
		return d.Err("attribute: expected <name> <value> [public]")
	}
	h.Attributes = append(h.Attributes, Attribute{Name: args[0], Value: args[1], Public: len(args) == 3})
	return noBlock(d, "attribute")
}

func (h *Handler) limitOptions() subdirectives {
	h.Limits = new(Limits)
	options := subdirectives{"connect_timeout": {parse: durationArg(&h.Limits.ConnectTimeout)}}
	for name, into := range h.Limits.counts() {
		options[name] = subdirective{parse: countArg(into)}
	}
	return options
}

// siteOf is the first address of the site that the directive stands in. Caddy
// keeps it to itself, so it is read by reflection; should it be gone one day,
// names consist of the path alone, and the golden files say so.
func siteOf(h httpcaddyfile.Helper) string {
	keys := reflect.ValueOf(h).FieldByName("parentBlock")
	if keys.Kind() == reflect.Struct {
		keys = keys.FieldByName("Keys")
	}
	if keys.Kind() != reflect.Slice || keys.Len() == 0 || keys.Index(0).Kind() != reflect.Struct {
		return ""
	}
	if text := keys.Index(0).FieldByName("Text"); text.Kind() == reflect.String {
		return strings.TrimSuffix(text.String(), ",")
	}
	return ""
}
