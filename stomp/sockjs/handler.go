package sockjs

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// Config configures a [Handler].
type Config struct {
	// Prefix is the path that the URLs of the protocol are below, without a
	// trailing slash. Default: "", the root.
	Prefix string
	// WebSocket configures the websocket transports; its Origins hold for
	// every request.
	WebSocket websocket.Config
	// Open is called with every new connection and returns its receiver. The
	// request is valid during the call only.
	Open func(r *http.Request, c Connection, t stomp.Transport) (stomp.Receiver, error)
}

// Connection describes a new connection.
type Connection struct {
	// Transport is "websocket" for the raw websocket, and "sockjs-websocket".
	Transport string
	// Server and Session are the segments of the URL; empty for the raw
	// websocket.
	Server, Session string
}

// Handler serves all URLs of the protocol below a prefix.
type Handler struct{ config Config }

// NewHandler returns a handler; Config.Open must be set.
func NewHandler(c Config) *Handler { return &Handler{config: c} }

// ServeHTTP implements [http.Handler]. Requests outside of the prefix are
// answered with 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, h.config.Prefix)
	if !ok {
		http.NotFound(w, r)
		return
	}
	switch rest {
	case "", "/":
		h.greet(w, r)
		return
	case "/info":
		h.info(w, r)
		return
	case "/websocket":
		_ = websocket.Accept(w, r, h.config.WebSocket, func(t stomp.Transport) (stomp.Receiver, error) {
			return h.config.Open(r, Connection{Transport: "websocket"}, t)
		})
		return
	}
	server, session, transport, ok := splitSessionURL(rest)
	if !ok || transport != "websocket" {
		http.NotFound(w, r)
		return
	}
	h.websocket(w, r, server, session)
}

// splitSessionURL takes "/<server>/<session>/<transport>" apart. Server and
// session must not be empty and have no dots.
func splitSessionURL(rest string) (server, session, transport string, ok bool) {
	segments := strings.Split(rest, "/")
	if len(segments) != 4 || segments[0] != "" {
		return "", "", "", false
	}
	server, session, transport = segments[1], segments[2], segments[3]
	if server == "" || session == "" || strings.Contains(server, ".") || strings.Contains(session, ".") {
		return "", "", "", false
	}
	return server, session, transport, true
}

func (h *Handler) greet(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = w.Write([]byte("Welcome to SockJS!\n"))
}

// info tells a client what there is.
func (h *Handler) info(w http.ResponseWriter, r *http.Request) {
	if !h.cors(w, r) {
		return
	}
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "OPTIONS, GET")
		w.Header().Set("Access-Control-Max-Age", "31536000")
		w.Header().Set("Cache-Control", "public, max-age=31536000")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		noCache(w)
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		_, _ = fmt.Fprintf(w, `{"websocket":true,"origins":["*:*"],"cookie_needed":false,"entropy":%d}`, entropy())
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

// cors applies the origin policy. A request that it refuses has been answered.
func (h *Handler) cors(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	header.Add("Vary", "Origin")
	if !h.config.WebSocket.Origins.Allow(r) {
		http.Error(w, fmt.Sprintf("origin %q is not allowed", r.Header.Get("Origin")), http.StatusForbidden)
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true")
	} else {
		header.Set("Access-Control-Allow-Origin", "*")
	}
	if requested := r.Header.Get("Access-Control-Request-Headers"); requested != "" {
		header.Set("Access-Control-Allow-Headers", requested)
	}
	return true
}

func noCache(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0")
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "method not allowed; use "+allow, http.StatusMethodNotAllowed)
}
