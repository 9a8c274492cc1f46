package caddymodule

import (
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func init() {
	caddy.RegisterModule(new(RequireHeader))
}

// RequireHeader refuses frames of a command that lack a header, or have
// another value in it than those that it may have.
type RequireHeader struct {
	// The command: CONNECT, SUBSCRIBE, UNSUBSCRIBE, SEND or DISCONNECT.
	Command string `json:"command"`
	// The name of the header.
	Header string `json:"header"`
	// The values that it may have. Default: any that is not empty.
	Values []string `json:"values,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*RequireHeader) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.interceptors.require_header", New: func() caddy.Module { return new(RequireHeader) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	require_header <command> <header> [<value>...]
func (h *RequireHeader) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // require_header
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("require_header: expected <command> <header> [<value>...], such as CONNECT app-version 2 3")
	}
	h.Command, h.Header = args[0], args[1]
	if len(args) > 2 {
		h.Values = args[2:]
	}
	if err := h.Validate(); err != nil {
		return d.Errf("require_header: %v", err)
	}
	return noBlock(d, "require_header")
}

// Validate implements [caddy.Validator].
func (h *RequireHeader) Validate() error {
	if h.Header == "" {
		return errors.New("the name of the header must not be empty")
	}
	return checkCommands([]string{h.Command})
}

// Intercept implements [Interceptor].
func (h *RequireHeader) Intercept(_ *stomp.Session, f *frame.Frame) (answered bool, err error) {
	if commandOf(f) != h.Command {
		return false, nil
	}
	switch value := f.Header.Get(h.Header); {
	case value == "":
		return false, stomp.Refuse("%s: the header %q is required", h.Command, h.Header)
	case h.Values != nil && !slices.Contains(h.Values, value):
		return false, stomp.Refuse("%s: the header %q must not be %.64q", h.Command, h.Header, value)
	}
	return false, nil
}

// Interface guards
var (
	_ Interceptor           = (*RequireHeader)(nil)
	_ caddy.Validator       = (*RequireHeader)(nil)
	_ caddyfile.Unmarshaler = (*RequireHeader)(nil)
)
