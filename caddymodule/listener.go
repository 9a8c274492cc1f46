package caddymodule

import (
	"fmt"
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

func init() {
	caddy.RegisterModule(new(ListenerWrapper))
}

// ListenerWrapper has sessions under TLS write to their sockets as those without
// TLS do, which saves a tenth of the CPU time of a message that goes to many. It
// belongs right before the "tls" wrapper, and concerns nobody but sessions: to
// everybody else connections are what they were.
type ListenerWrapper struct {
	log *zap.Logger
}

// CaddyModule implements [caddy.Module].
func (*ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.stomp", New: func() caddy.Module { return new(ListenerWrapper) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	stomp
func (*ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // stomp
	if d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d, "stomp")
}

// Provision implements [caddy.Provisioner].
func (w *ListenerWrapper) Provision(ctx caddy.Context) error {
	w.log = ctx.Logger()
	return nil
}

// WrapListener implements [caddy.ListenerWrapper].
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	return &listener{Listener: ln, log: w.log}
}

// listener accepts connections that TLS is put above.
type listener struct {
	net.Listener
	log  *zap.Logger
	warn sync.Once
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c, ok := websocket.BelowTLS(c)
	if !ok && l.Addr().Network() != "unix" { // which servers may have besides
		l.warn.Do(func() {
			l.log.Warn("the listener wrapper stomp does nothing here: it belongs right before tls, and after no other wrapper",
				zap.Stringer("address", l.Addr()), zap.String("connection", fmt.Sprintf("%T", c)))
		})
	}
	return c, nil
}

// Interface guards
var (
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
