package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler makes a route an endpoint that STOMP clients connect to over
// WebSocket, and that knows who is connected and tells the others who came,
// changed and left, and why.
//
// Requests outside of its path are passed on to the next handler.
type Handler struct {
	// Identifies the endpoint across configuration reloads, and its broker if
	// it has one of its own: sessions live on where the name stays. The
	// Caddyfile sets it to the site and the path. Default: the path.
	Name string `json:"name,omitempty"`

	// The path of the endpoint: itself and everything below it, relative to
	// what handlers before have left of the request's path. Default: /.
	Path string `json:"path,omitempty"`

	// A broker of the stomp app, to be shared with other endpoints. Without
	// it the endpoint has a broker of its own, which presence and drain
	// configure.
	Broker string `json:"broker,omitempty"`

	BrokerConfig

	// If set, SockJS clients are served too.
	SockJS *SockJS `json:"sockjs,omitempty"`

	// The origins whose pages may connect, besides the endpoint's own:
	// "https://example.com", "https://*.example.com" or, alone, "*".
	Origins []string `json:"origins,omitempty"`

	// The heart-beats that the server offers. Default: 10s both ways.
	HeartBeat *HeartBeat `json:"heart_beat,omitempty"`

	// How long a client that sends no heart-beats may be silent and not answer
	// a ping. Default: 30s.
	PingTimeout caddy.Duration `json:"ping_timeout,omitempty"`

	// The virtual hosts that clients may name when they connect; naming none
	// is always allowed. Default: any.
	Hosts []string `json:"hosts,omitempty"`

	// Whether messages are compressed (permessage-deflate) for clients that
	// can: less traffic for more CPU time. Default: false.
	Compression bool `json:"compression,omitempty"`

	// The authenticated name of the client; placeholders are evaluated once,
	// when it connects. It has 255 bytes at most, without control characters,
	// or the client is refused. Default: none, the client is anonymous.
	User string `json:"user,omitempty"`

	// What the server knows about the client, evaluated once as well.
	Attributes []Attribute `json:"attributes,omitempty"`

	AuthConfig
	AccessConfig

	// Bounds of everything that a client can make grow.
	Limits *Limits `json:"limits,omitempty"`

	app    *App
	logger *slog.Logger
	sockjs *sockjs.Handler
	ws     websocket.Config
}

// HeartBeat is the server's side of heart-beat negotiation.
type HeartBeat struct {
	// How often the server can send. 0: not at all.
	Send caddy.Duration `json:"send"`
	// How often the server wants to hear from the client. 0: not at all.
	Receive caddy.Duration `json:"receive"`
}

// Attribute is a fact that the server asserts about a client.
type Attribute struct {
	// The name by which events and peers know it.
	Name string `json:"name"`
	// The value, usually a placeholder. Who would have one of more than 1024
	// bytes is refused.
	Value string `json:"value"`
	// Whether other clients are told.
	Public bool `json:"public,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.stomp", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements [caddy.Provisioner].
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.validate(); err != nil {
		return err
	}
	config, err := json.Marshal(h) // loading guests takes their part away
	if err != nil {
		return fmt.Errorf("encoding the configuration: %w", err)
	}
	if err := h.BrokerConfig.provision(ctx); err != nil {
		return err
	}
	if err := h.AuthConfig.provision(ctx); err != nil {
		return err
	}
	if err := h.AccessConfig.provision(ctx); err != nil {
		return err
	}
	origins, err := websocket.ParseOrigins(h.Origins...)
	if err != nil {
		return err
	}
	app, err := ctx.App("stomp")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.logger = ctx.Slogger()
	spec := endpointSpec{broker: h.Broker, policy: h.policy(), start: h.AuthConfig.start, config: string(config)}
	if h.Broker == "" {
		spec.broker, spec.private = h.Name, &h.BrokerConfig
	}
	if err := h.app.addEndpoint(h.Name, spec); err != nil {
		return err
	}
	h.ws = websocket.Config{
		Origins:      origins,
		Subprotocols: websocket.Subprotocols(),
		Compression:  h.Compression,
		MaxMessage:   max(16<<20, 16*int64(spec.policy.Limits.Frame.Frame)),
	}
	if h.SockJS != nil {
		h.sockjs = sockjs.NewHandler(h.sockjsConfig())
	}
	return nil
}

// Cleanup implements [caddy.CleanerUpper]: responses that were open for long
// would keep the old configuration's server alive.
func (h *Handler) Cleanup() error {
	if h.sockjs != nil {
		h.sockjs.Close()
		_, _ = sockjsSessions.Delete(h.Name) // Destruct returns no error
	}
	return nil
}

func (h *Handler) validate() error {
	if h.Path == "" {
		h.Path = "/"
	}
	switch {
	case !strings.HasPrefix(h.Path, "/"):
		return fmt.Errorf("path %q must begin with /", h.Path)
	case strings.Contains(h.Path, "*"):
		return fmt.Errorf("path %q: no * is needed, the path means itself and everything below it", h.Path)
	}
	if len(h.Path) > 1 {
		h.Path = strings.TrimSuffix(h.Path, "/")
	}
	if h.Name == "" {
		h.Name = h.Path
	}
	if h.Broker != "" && !h.BrokerConfig.isZero() {
		return fmt.Errorf("endpoint %q uses the broker %q: presence, store, webhook, destinations, queues, sessions and drain are configured there", h.Name, h.Broker)
	}
	if err := h.BrokerConfig.validate(); err != nil {
		return err
	}
	if err := h.AuthConfig.validate(); err != nil {
		return err
	}
	if err := h.AccessConfig.validate(); err != nil {
		return err
	}
	if err := h.validateSockJS(); err != nil {
		return err
	}
	return errors.Join(h.validateAttributes(), h.validatePingTimeout(), h.HeartBeat.validate(), h.Limits.validate())
}

func (h *Handler) validateAttributes() error {
	seen := make(map[string]bool)
	for _, a := range h.Attributes {
		if a.Name == "" || seen[a.Name] {
			return fmt.Errorf("attribute %q: names must be unique and not empty", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

func (h *Handler) validatePingTimeout() error {
	if p := time.Duration(h.PingTimeout); p != 0 && p < 3*time.Second {
		return fmt.Errorf("ping_timeout %s is too short: 3s at least", p)
	}
	return nil
}

func (b *HeartBeat) validate() error {
	if b != nil && (tooShort(b.Send) || tooShort(b.Receive)) {
		return errors.New("heart_beat: 0 for none, or 200ms at least")
	}
	return nil
}

// tooShort: shorter than what the server can keep.
func tooShort(d caddy.Duration) bool { return d != 0 && time.Duration(d) < 200*time.Millisecond }

func (h *Handler) policy() stomp.Policy {
	p := stomp.DefaultPolicy()
	if b := h.HeartBeat; b != nil {
		p.HeartBeatSend, p.HeartBeatReceive = orNever(b.Send), orNever(b.Receive)
	}
	if h.PingTimeout != 0 {
		p.PingTimeout = time.Duration(h.PingTimeout)
	}
	p.Hosts = h.Hosts
	h.Limits.apply(&p.Limits)
	h.AuthConfig.apply(&p)
	h.AccessConfig.apply(&p)
	return p
}

func orNever(d caddy.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return time.Duration(d)
}

// prefix is the path as a prefix of what is below it.
func (h *Handler) prefix() string { return strings.TrimSuffix(h.Path, "/") }

func (h *Handler) matches(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, h.prefix())
	return ok && (rest == "" || rest[0] == '/')
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler]. It returns when the
// upgrade is done; the session goes on without it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.matches(r) {
		return next.ServeHTTP(w, r)
	}
	// an endpoint that takes the whole site leaves what is no handshake to it
	if h.sockjs == nil && h.Path == "/" && r.Method != http.MethodConnect && !websocket.IsUpgrade(r) {
		return next.ServeHTTP(w, r)
	}
	defer h.auth.hide(w, r)()
	// of what is below the path SockJS takes everything; a WebSocket at the
	// path itself is a plain one
	upgrade := websocket.IsUpgrade(r)
	plain := h.sockjs == nil || r.URL.Path == h.Path && upgrade
	e := h.app.endpoint(h.Name)
	if e == nil || e.Draining() && (plain || !h.sockjs.Knows(r)) {
		unavailable(w, "the STOMP endpoint is not ready, try again")
		return nil
	}
	if upgrade { // HTTP transports are refused by open, at no more cost
		if err := e.Admits(address(r)); err != nil {
			unavailable(w, err.Error())
			return nil
		}
	}
	if !plain {
		h.sockjs.ServeHTTP(w, r)
		return nil
	}
	err := websocket.Accept(w, r, h.ws, func(t stomp.Transport) (stomp.Receiver, error) {
		return h.open(r, sockjs.Connection{Transport: "websocket"}, t)
	})
	if err != nil {
		h.logger.Debug("no connection", "endpoint", h.Name, "remote_addr", r.RemoteAddr, "error", err)
	}
	return nil
}

// unavailable is for what may be different in a moment.
func unavailable(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, text, http.StatusServiceUnavailable)
}

// open makes the session of a connection.
func (h *Handler) open(r *http.Request, c sockjs.Connection, t stomp.Transport) (stomp.Receiver, error) {
	e := h.app.endpoint(h.Name)
	if e == nil {
		return nil, stomp.ErrDraining
	}
	hs := h.handshake(r, c)
	if err := checkHandshake(hs); err != nil {
		return nil, err
	}
	return e.NewSession(t, hs)
}

// handshake evaluates the placeholders. What it returns outlives the request,
// so every string is a copy.
func (h *Handler) handshake(r *http.Request, c sockjs.Connection) *stomp.Handshake {
	hs := &stomp.Handshake{Transport: c.Transport, RemoteAddr: strings.Clone(r.RemoteAddr), Address: strings.Clone(address(r))}
	if c.Session != "" {
		hs.Aliases = c.Server + "/" + c.Session + "/websocket"
		if !c.HTTP() { // there it is a key, and nobody else's to know
			hs.SessionID = strings.Clone(c.Session)
		}
	}
	hs.User = evaluate(r, h.User)
	hs.Credentials = h.auth.capture(r)
	for _, a := range h.Attributes {
		hs.Attributes = append(hs.Attributes, stomp.Attribute{Name: a.Name, Value: evaluate(r, a.Value), Public: a.Public})
	}
	return hs
}

// address is what connections of one client are counted by: as Caddy knows it
// behind trusted proxies.
func address(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// evaluate replaces the placeholders in value by what they are for r.
func evaluate(r *http.Request, value string) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		repl = caddy.NewReplacer()
	}
	return strings.Clone(strings.ToValidUTF8(repl.ReplaceAll(value, ""), "\uFFFD"))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
