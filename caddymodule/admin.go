package caddymodule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves Caddy's admin endpoint: what the live brokers of the process
// know, whichever configuration they came with.
//
//	GET    /stomp/brokers
//	GET    /stomp/brokers/{name}
//	GET    /stomp/brokers/{name}/sessions[?limit=][&user=][&cursor=]
//	GET    /stomp/brokers/{name}/sessions/{id}
//	DELETE /stomp/brokers/{name}/sessions/{id}[?reason=]
//	POST   /stomp/brokers/{name}/publish
//	GET    /stomp/brokers/{name}/webhooks
//	POST   /stomp/brokers/{name}/webhooks/retry[?id=]
//	GET    /stomp/brokers/{name}/webhooks/dead[?id=]
//	DELETE /stomp/brokers/{name}/webhooks/dead[?id=][&event=]
//	GET    /stomp/brokers/{name}/health/live
//	GET    /stomp/brokers/{name}/health/ready
//
// Names and ids are percent-encoded: a private broker is named for its site and
// path, with a slash in it. Errors are {"error": "..."}, as Caddy's own.
type adminAPI struct{}

// CaddyModule implements [caddy.Module].
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.stomp", New: func() caddy.Module { return adminAPI{} }}
}

// Routes implements [caddy.AdminRouter].
func (adminAPI) Routes() []caddy.AdminRoute {
	const broker = "/stomp/brokers/{name}"
	return []caddy.AdminRoute{
		{Pattern: "/stomp/", Handler: caddy.AdminHandlerFunc(noResource)},
		{Pattern: "/stomp/brokers", Handler: methods{http.MethodGet: listBrokers}},
		{Pattern: broker, Handler: ofBroker(http.MethodGet, showBroker)},
		{Pattern: broker + "/sessions", Handler: ofBroker(http.MethodGet, listSessions)},
		{Pattern: broker + "/sessions/{id}", Handler: methods{
			http.MethodGet:    withBroker(showSession),
			http.MethodDelete: withBroker(kickSession),
		}},
		{Pattern: broker + "/publish", Handler: ofBroker(http.MethodPost, publish)},
		{Pattern: broker + "/webhooks", Handler: ofBroker(http.MethodGet, listWebhooks)},
		{Pattern: broker + "/webhooks/retry", Handler: ofBroker(http.MethodPost, retryWebhooks)},
		{Pattern: broker + "/webhooks/dead", Handler: methods{
			http.MethodGet:    withBroker(listDead),
			http.MethodDelete: withBroker(discardDead),
		}},
		{Pattern: broker + "/health/live", Handler: ofBroker(http.MethodGet, isLive)},
		{Pattern: broker + "/health/ready", Handler: ofBroker(http.MethodGet, isReady)},
	}
}

// methods are the handlers of a resource. GET answers HEAD too.
type methods map[string]caddy.AdminHandlerFunc

// ServeHTTP implements [caddy.AdminHandler].
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handle := m[method]; handle != nil {
		return handle(w, r)
	}
	var allowed []string
	for method := range m {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return failed(http.StatusMethodNotAllowed, "%s is not allowed here; allowed are %s", r.Method, strings.Join(allowed, ", "))
}

// brokerHandler handles a request about a broker.
type brokerHandler func(b *running, w http.ResponseWriter, r *http.Request) error

func ofBroker(method string, h brokerHandler) methods { return methods{method: withBroker(h)} }

// withBroker finds the broker that the path names. It is the pool that is asked,
// not a configuration: a broker is there before, between and after reloads, and
// while it drains.
func withBroker(h brokerHandler) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		b := liveBrokers()[name]
		if b == nil {
			return failed(http.StatusNotFound, "no broker %q", name)
		}
		return h(b, w, r)
	}
}

// liveBrokers are the brokers of the pool, by name.
func liveBrokers() map[string]*running {
	all := make(map[string]*running)
	brokers.Range(func(name, broker any) bool {
		all[name.(string)] = broker.(*running)
		return true
	})
	return all
}

func noResource(_ http.ResponseWriter, r *http.Request) error {
	return failed(http.StatusNotFound, "nothing at %s; begin at /stomp/brokers", r.URL.EscapedPath())
}

// failed is an error that the admin endpoint answers with.
func failed(status int, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return caddy.APIError{HTTPStatus: status, Err: err, Message: err.Error()}
}

// queryOf reads the query, which may have each of the parameters once.
func queryOf(r *http.Request, parameters ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, failed(http.StatusBadRequest, "query: %w", err)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(parameters, name):
			known := "there are none here"
			if len(parameters) > 0 {
				known = "expected " + strings.Join(parameters, ", ")
			}
			return nil, failed(http.StatusBadRequest, "query: no parameter %q; %s", name, known)
		case len(values) > 1:
			return nil, failed(http.StatusBadRequest, "query: %s is given twice", name)
		}
	}
	return q, nil
}

// maxAdminBody is how large the body of a request may be, in bytes: a message of
// that size is a quarter of what may wait for a slow reader by default.
const maxAdminBody = 256 << 10

// decodeBody reads a JSON object, and nothing after it.
func decodeBody(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = cmp.Or(err, errors.New("there is more behind it"))
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return failed(http.StatusRequestEntityTooLarge, "body: larger than %d bytes", tooLarge.Limit)
	}
	return failed(http.StatusBadRequest, "body: expected a JSON object: %w", err)
}

// respond answers with JSON.
func respond(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who asked may have gone
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter  = adminAPI{}
	_ caddy.AdminHandler = methods(nil)
)
