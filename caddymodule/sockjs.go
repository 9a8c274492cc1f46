package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// SockJS configures the SockJS protocol.
type SockJS struct {
	// The transports that are served, of websocket, xhr_streaming, xhr,
	// eventsource, htmlfile and jsonp. The last two need origins *, because
	// browsers do not tell the origin of the pages that use them. Default: all
	// but htmlfile and jsonp.
	Transports []string `json:"transports,omitempty"`

	// How long a response may be idle before it carries a heartbeat. STOMP
	// heart-beats keep it from being idle. Default: 25s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// How long a client may be without a response before it counts as gone.
	// Default: 5s.
	DisconnectDelay caddy.Duration `json:"disconnect_delay,omitempty"`

	// How many bytes a streaming response carries before the client is to open
	// another. Default: 128 KiB.
	ResponseLimit int `json:"response_limit,omitempty"`

	// How many bytes may wait for a response. Default: 128 KiB.
	Buffer int `json:"buffer,omitempty"`

	// Where the iframe page, for pages of other origins in old browsers, loads
	// the client library from. Default: there is no iframe page.
	ClientLibraryURL string `json:"client_library_url,omitempty"`

	// Whether a JSESSIONID cookie is set, for load balancers. Default: false.
	CookieNeeded bool `json:"cookie_needed,omitempty"`
}

// sockjsSessions are the sessions of HTTP transports, by the endpoint's name:
// they outlive the handlers that serve them.
var sockjsSessions = caddy.NewUsagePool()

// pooledSessions implements [caddy.Destructor].
type pooledSessions struct{ *sockjs.Sessions }

func (pooledSessions) Destruct() error { return nil }

// sockjsSessionsOf are the sessions of an endpoint, nil if it has no SockJS.
func sockjsSessionsOf(endpoint string) (found *sockjs.Sessions) {
	sockjsSessions.Range(func(name, value any) bool {
		if name == endpoint {
			found = value.(pooledSessions).Sessions
		}
		return found == nil
	})
	return found
}

// pollerDrain is how long an exit or a reload waits for clients that poll, and
// are just not asking: those that are there ask again at once.
const pollerDrain = 700 * time.Millisecond

// drainSockJS waits until the clients of an endpoint that poll know that their
// sessions are over, and why: afterwards its handler is gone.
func drainSockJS(ctx context.Context, endpoint string) {
	ctx, cancel := context.WithTimeout(ctx, pollerDrain)
	defer cancel()
	if sessions := sockjsSessionsOf(endpoint); sessions != nil {
		sessions.Drain(ctx)
	}
}

// sockjsTransports are served by default: those whose requests tell their
// origin.
var sockjsTransports = []string{"websocket", "xhr_streaming", "xhr", "eventsource"}

func (h *Handler) validateSockJS() error {
	s := h.SockJS
	if s == nil {
		return nil
	}
	blind := slices.ContainsFunc(s.Transports, func(t string) bool { return t == "jsonp" || t == "htmlfile" })
	switch {
	case blind && !slices.Contains(h.Origins, "*"):
		return errors.New("sockjs: the transports jsonp and htmlfile need `origins *`, because browsers do not tell the origin of the pages that use them")
	case s.Heartbeat < 0, s.DisconnectDelay < 0, s.ResponseLimit < 0, s.Buffer < 0:
		return errors.New("sockjs: durations and sizes must not be negative")
	}
	c := sockjs.Config{Transports: s.Transports}
	return c.Validate()
}

func (h *Handler) sockjsConfig() sockjs.Config {
	s := h.SockJS
	sessions, _ := sockjsSessions.LoadOrStore(h.Name, pooledSessions{sockjs.NewSessions()})
	c := sockjs.Config{
		Prefix:           h.prefix(),
		Open:             h.open,
		Owner:            func(r *http.Request) string { return evaluate(r, h.User) },
		Sessions:         sessions.(pooledSessions).Sessions,
		WebSocket:        h.ws,
		Transports:       s.Transports,
		Heartbeat:        time.Duration(s.Heartbeat),
		DisconnectDelay:  time.Duration(s.DisconnectDelay),
		ResponseLimit:    s.ResponseLimit,
		Buffer:           s.Buffer,
		ClientLibraryURL: s.ClientLibraryURL,
		CookieNeeded:     s.CookieNeeded,
	}
	if c.Transports == nil {
		c.Transports = sockjsTransports
	}
	// a payload is kept whole until it is taken apart, and JSON makes a byte of
	// a frame six at most
	c.WebSocket.MaxMessage = max(1<<20, 8*int64(h.policy().Limits.Frame.Frame))
	return c
}

// options parses the block:
//
//	sockjs {
//		transports         <name>...
//		heartbeat          <duration>
//		disconnect_delay   <duration>
//		response_limit     <size>
//		buffer             <size>
//		client_library_url <url>
//		cookie_needed
//	}
func (s *SockJS) options() subdirectives {
	return subdirectives{
		"transports": {parse: func(d *caddyfile.Dispenser) error {
			if s.Transports = d.RemainingArgs(); len(s.Transports) == 0 {
				return d.Errf("transports: expected some of %v", sockjs.Transports())
			}
			c := sockjs.Config{Transports: s.Transports}
			if err := c.Validate(); err != nil {
				return d.WrapErr(err)
			}
			return noBlock(d, "transports")
		}},
		"heartbeat":          {parse: durationArg(&s.Heartbeat)},
		"disconnect_delay":   {parse: durationArg(&s.DisconnectDelay)},
		"response_limit":     {parse: countArg(&s.ResponseLimit)},
		"buffer":             {parse: countArg(&s.Buffer)},
		"client_library_url": {parse: stringArg(&s.ClientLibraryURL, "a URL")},
		"cookie_needed": {parse: func(d *caddyfile.Dispenser) error {
			if d.NextArg() {
				return d.Errf("cookie_needed: takes no argument, got %q", d.Val())
			}
			s.CookieNeeded = true
			return noBlock(d, "cookie_needed")
		}},
	}
}
