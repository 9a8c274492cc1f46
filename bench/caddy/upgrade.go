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
		return upgrade{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("bench_upgrade", httpcaddyfile.Before, "respond")
}

// upgrade is the floor of connecting: a handler that makes a WebSocket with
// gorilla/websocket and returns, and a goroutine that reads from it, as gorilla's
// chat example has it. The access log is written as it returns.
type upgrade struct{}

// CaddyModule implements [caddy.Module].
func (upgrade) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_upgrade", New: func() caddy.Module { return new(upgrade) }}
}

var upgrader websocket.Upgrader

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (upgrade) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	conn, err := upgrader.Upgrade(hijacker{w}, r, nil)
	if err != nil {
		return nil //nolint:nilerr // gorilla has answered
	}
	go func() {
		defer conn.Close()
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return // the client has gone
			}
		}
	}()
	return nil
}

// hijacker is what gorilla/websocket asks for, and Caddy's writers are not.
type hijacker struct{ http.ResponseWriter }

// Hijack implements [http.Hijacker].
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

var _ caddyhttp.MiddlewareHandler = upgrade{}
