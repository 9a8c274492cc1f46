package sockjs

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// Handler serves all URLs of the protocol below a prefix.
type Handler struct {
	config  Config
	closing chan struct{}
	close   sync.Once
}

// NewHandler returns a handler. The configuration must be valid.
func NewHandler(c Config) *Handler {
	return &Handler{config: c.withDefaults(), closing: make(chan struct{})}
}

// Close ends the open responses of HTTP transports at a frame's end: their
// clients ask again, and find whoever serves the URLs now. Sessions live on.
func (h *Handler) Close() { h.close.Do(func() { close(h.closing) }) }

// Knows says whether a request belongs to a session of an HTTP transport that
// is there already, ended ones included whose clients may still ask.
func (h *Handler) Knows(r *http.Request) bool {
	rest, _ := strings.CutPrefix(r.URL.Path, h.config.Prefix)
	_, key, _, ok := splitSessionURL(rest)
	return ok && h.config.Sessions.find(key, h.owner(r)) != nil
}

func (h *Handler) owner(r *http.Request) string {
	if h.config.Owner == nil {
		return ""
	}
	return h.config.Owner(r)
}

// ServeHTTP implements [http.Handler]. Requests outside of the prefix are
// answered with 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, h.config.Prefix)
	switch {
	case !ok:
		http.NotFound(w, r)
	case rest == "" || rest == "/":
		greet(w, r)
	case rest == "/info":
		h.info(w, r)
	case isIframe(rest):
		h.iframe(w, r)
	case rest == "/websocket" && h.config.serves("websocket"):
		_ = websocket.Accept(w, r, h.config.WebSocket, func(t stomp.Transport) (stomp.Receiver, error) {
			return h.config.Open(r, Connection{Transport: "websocket"}, t)
		})
	default:
		h.session(w, r, rest)
	}
}

// session serves the URL of a session: the transports.
func (h *Handler) session(w http.ResponseWriter, r *http.Request, rest string) {
	server, key, name, ok := splitSessionURL(rest)
	method, carrier := carriers[name]
	if !ok || !h.serves(name) {
		http.NotFound(w, r)
		return
	}
	if name == "websocket" {
		h.websocket(w, r, server, key)
		return
	}
	if !carrier {
		method = http.MethodPost
	}
	if !h.cors(w, r) {
		return
	}
	h.cookie(w, r)
	switch r.Method {
	case http.MethodOptions:
		preflight(w, "OPTIONS, "+method)
	case method:
		switch name {
		case "xhr_send":
			h.xhrSend(w, r, key)
		case "jsonp_send":
			h.jsonpSend(w, r, key)
		default:
			h.carry(w, r, Connection{Transport: "sockjs-" + name, Server: server, Session: key}, name)
		}
	default:
		notAllowed(w, "OPTIONS, "+method)
	}
}

// carriers are the transports whose responses carry messages, with their
// methods.
var carriers = map[string]string{
	"xhr": http.MethodPost, "xhr_streaming": http.MethodPost,
	"eventsource": http.MethodGet, "htmlfile": http.MethodGet, "jsonp": http.MethodGet,
}

// serves says whether the transport is on that a URL belongs to; xhr_send
// belongs to all that have nothing of their own to send with.
func (h *Handler) serves(name string) bool {
	switch name {
	case "jsonp_send":
		return h.config.serves("jsonp")
	case "xhr_send":
		return slices.ContainsFunc([]string{"xhr", "xhr_streaming", "eventsource", "htmlfile"}, h.config.serves)
	}
	return h.config.serves(name)
}

// carry serves a response that carries what the session sends.
func (h *Handler) carry(w http.ResponseWriter, r *http.Request, c Connection, name string) {
	var f format
	switch name {
	case "xhr":
		f = xhrFormat
	case "xhr_streaming":
		f = xhrStreamingFormat
	case "eventsource":
		f = eventSourceFormat
	default:
		function, ok := callback(w, r)
		if !ok {
			return
		}
		if name == "jsonp" {
			f = jsonpFormat(function)
		} else {
			f = htmlFileFormat(function)
		}
	}
	// only after the body does the HTTP server notice that a client went away
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, h.config.WebSocket.MaxMessage))
	s, err := h.config.Sessions.open(h, r, c)
	switch {
	case err == nil:
	case errors.Is(err, errNotYours):
		http.NotFound(w, r)
		return
	case r.Context().Err() != nil: // nobody is there to be answered, and nothing is wrong
		return
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	noCache(w)
	w.Header().Set("Content-Type", f.contentType)
	w.WriteHeader(http.StatusOK)
	newResponse(w, r, f, h.config.ResponseLimit).run(s, h, r.Context().Done())
}

// maxSegment bounds the server and session segments of a URL, in bytes; the
// client library's have 3 and 8.
const maxSegment = 128

// splitSessionURL takes "/<server>/<session>/<transport>" apart. Server and
// session must not be empty, have no dots, and not be longer than maxSegment.
func splitSessionURL(rest string) (server, session, transport string, ok bool) {
	segments := strings.Split(rest, "/")
	if len(segments) != 4 || segments[0] != "" {
		return "", "", "", false
	}
	server, session, transport = segments[1], segments[2], segments[3]
	if !validSegment(server) || !validSegment(session) {
		return "", "", "", false
	}
	return server, session, transport, true
}

func validSegment(s string) bool {
	return s != "" && len(s) <= maxSegment && !strings.Contains(s, ".")
}

func greet(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = io.WriteString(w, "Welcome to SockJS!\n")
}

// info tells a client what there is.
func (h *Handler) info(w http.ResponseWriter, r *http.Request) {
	if !h.cors(w, r) {
		return
	}
	switch r.Method {
	case http.MethodOptions:
		preflight(w, "OPTIONS, GET")
	case http.MethodGet:
		noCache(w)
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		_, _ = fmt.Fprintf(w, `{"websocket":%t,"origins":["*:*"],"cookie_needed":%t,"entropy":%d}`,
			h.config.serves("websocket"), h.config.CookieNeeded, entropy())
	default:
		notAllowed(w, "OPTIONS, GET")
	}
}

// entropy seeds the client's random numbers: fresh for every request.
func entropy() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return binary.BigEndian.Uint32(b[:])
}
