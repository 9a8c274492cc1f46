package main

import (
	"bufio"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gorilla/websocket"
)

func init() {
	caddy.RegisterModule(upgrade{})
	httpcaddyfile.RegisterHandlerDirective("bench_upgrade", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return upgrade{Answer: h.NextArg() && h.Val() == "answer"}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("bench_upgrade", httpcaddyfile.Before, "respond")
}

// upgrade is the floor of connecting: a handler that makes a WebSocket with
// gorilla/websocket and reads from it, as its documentation has it.
type upgrade struct {
	// Whether a message is answered with one of 100 bytes. Default: false.
	Answer bool `json:"answer,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (upgrade) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_upgrade", New: func() caddy.Module { return new(upgrade) }}
}

var upgrader websocket.Upgrader

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (u upgrade) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	conn, err := upgrader.Upgrade(hijacker{w}, r, nil)
	if err != nil {
		return nil //nolint:nilerr // gorilla has answered
	}
	defer conn.Close()
	for {
		if _, _, err := conn.NextReader(); err != nil {
			return nil //nolint:nilerr // the client has gone
		}
		if u.Answer && conn.WriteMessage(websocket.TextMessage, make([]byte, 100)) != nil {
			return nil
		}
	}
}

// hijacker is what gorilla/websocket asks for, and Caddy's writers are not.
type hijacker struct{ http.ResponseWriter }

// Hijack implements [http.Hijacker].
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

var _ caddyhttp.MiddlewareHandler = upgrade{}
