package caddymodule

import (
	"cmp"
	"maps"
	"net/http"
	"slices"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// adminBroker is a broker as the admin endpoint shows it.
type adminBroker struct {
	Name          string          `json:"name"`
	Stream        string          `json:"stream"`
	Sessions      int             `json:"sessions"` // unreachable ones too
	Unreachable   int             `json:"unreachable"`
	Announced     int             `json:"announced"`
	Rooms         int             `json:"rooms"`
	Connections   int             `json:"connections"`
	Subscriptions int             `json:"subscriptions"`
	Endpoints     []adminEndpoint `json:"endpoints"`
	Degraded      []degraded      `json:"degraded"`
}

type adminEndpoint struct {
	Name     string `json:"name"`
	Sessions int    `json:"sessions"` // connected
}

func (r *running) shown() adminBroker {
	s := r.registry.Stats()
	b := adminBroker{
		Name: r.broker.Name(), Stream: s.Stream, Sessions: s.Sessions, Unreachable: s.Unreachable, Announced: s.Announced, Rooms: s.Rooms,
		Connections: r.broker.Connections(), Subscriptions: r.broker.Stats().Subscriptions,
		Endpoints: []adminEndpoint{}, Degraded: r.degraded(),
	}
	for _, e := range r.broker.Endpoints() {
		b.Endpoints = append(b.Endpoints, adminEndpoint{e.Name(), e.Sessions()})
	}
	slices.SortFunc(b.Endpoints, func(a, b adminEndpoint) int { return cmp.Compare(a.Name, b.Name) })
	return b
}

func listBrokers(w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	live, all := liveBrokers(), []adminBroker{}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		all = append(all, live[name].shown())
	}
	return respond(w, http.StatusOK, all)
}

func showBroker(b *running, w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	return respond(w, http.StatusOK, b.shown())
}

// degraded is a state in which a broker does less than it should.
type degraded struct {
	State   string `json:"state"`
	Message string `json:"message"`
}

// The names of the degraded states.
const (
	degradedStore    = "store"    // sessions are in memory only
	degradedDraining = "draining" // it is about to go, and takes no sessions
	degradedWebhook  = "webhook"  // an announcer fails for long, or wants nothing any more
)

func (r *running) degraded() []degraded {
	all := []degraded{}
	if err := r.registry.Health(); err != nil {
		all = append(all, degraded{degradedStore, err.Error()})
	}
	if r.broker.Draining() {
		all = append(all, degraded{degradedDraining, stomp.ErrDraining.Error()})
	}
	for _, a := range r.registry.Announcers() {
		if a.State != presence.StateOpen && a.State != presence.StateDisabled {
			continue
		}
		message := a.ID + " is " + a.State
		if a.Error != nil {
			message += ": " + a.Error.Error()
		}
		all = append(all, degraded{degradedWebhook, message})
	}
	return all
}

// health is the answer of the health resources. It is no APIError: Caddy would
// log each probe as an error.
type health struct {
	Broker   string     `json:"broker"`
	OK       bool       `json:"ok"`
	Degraded []degraded `json:"degraded"`
}

// isLive answers if the broker is there and its locks can be had. Restarting the
// process mends no store, so that a degraded state is told and nothing more.
func isLive(b *running, w http.ResponseWriter, _ *http.Request) error {
	return respond(w, http.StatusOK, health{b.broker.Name(), true, b.degraded()})
}

// isReady says whether new clients should be sent here: they have no need of
// webhooks.
func isReady(b *running, w http.ResponseWriter, _ *http.Request) error {
	h := health{Broker: b.broker.Name(), Degraded: b.degraded()}
	status := http.StatusOK
	if h.OK = !slices.ContainsFunc(h.Degraded, func(d degraded) bool { return d.State != degradedWebhook }); !h.OK {
		status = http.StatusServiceUnavailable
	}
	return respond(w, status, h)
}

// publication is what is to be published.
type publication struct {
	Destination string            `json:"destination"`
	Body        *string           `json:"body"`
	BodyBase64  []byte            `json:"bodyBase64"`
	ContentType string            `json:"contentType"`
	Headers     map[string]string `json:"headers"`
}

// publish sends a message of the operator's. Those of its headers that are the
// broker's to say, such as message-id, are left out, as they are of a client's.
func publish(b *running, w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	var p publication
	if err := decodeBody(w, r, &p); err != nil {
		return err
	}
	body := p.BodyBase64
	if p.Body != nil {
		body = []byte(*p.Body)
	}
	_, typed := p.Headers[frame.HdrContentType]
	_, unnamed := p.Headers[""]
	switch {
	case p.Destination == "":
		return failed(http.StatusBadRequest, "body: destination is missing")
	case p.Body != nil && p.BodyBase64 != nil:
		return failed(http.StatusBadRequest, "body: there is body and bodyBase64; give one of them")
	case typed:
		return failed(http.StatusBadRequest, "body: %s is given as contentType, not in headers", frame.HdrContentType)
	case unnamed:
		return failed(http.StatusBadRequest, "body: a header has no name")
	}
	if err := b.broker.Publishable(p.Destination); err != nil {
		return failed(http.StatusBadRequest, "body: %w", err)
	}
	var h frame.Header
	if p.ContentType != "" {
		h = append(h, frame.Field{Name: frame.HdrContentType, Value: p.ContentType})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		h = append(h, frame.Field{Name: name, Value: p.Headers[name]})
	}
	if err := b.broker.Publish(p.Destination, h, body); err != nil { // a queue is full
		return failed(http.StatusServiceUnavailable, "%w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
