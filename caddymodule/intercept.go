package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// AccessConfig configures who may do what at an endpoint.
type AccessConfig struct {
	// Who may do what, in order. Default: everybody everything that is not the
	// server's own.
	Permissions []PermissionRule `json:"permissions,omitempty"`

	// What sees the frames of clients before anything else does, in order.
	// Default: nothing.
	InterceptorsRaw []json.RawMessage `json:"interceptors,omitempty" caddy:"namespace=stomp.interceptors inline_key=module"`

	permissions  *stomp.Permissions
	interceptors []stomp.Interceptor
}

// Interceptor is implemented by the guest modules of the namespace
// stomp.interceptors. They are provisioned as Caddy's modules are; each
// configuration has its own, which is called until the next one is in force.
// Its method is called by all sessions of the endpoint at the same time.
type Interceptor = stomp.Interceptor

func (c *AccessConfig) provision(ctx caddy.Context) error {
	if c.InterceptorsRaw == nil {
		return nil
	}
	guests, err := ctx.LoadModule(c, "InterceptorsRaw")
	if err != nil {
		return fmt.Errorf("interceptors: %w", err)
	}
	for _, guest := range guests.([]any) {
		i, ok := guest.(Interceptor)
		if !ok {
			return fmt.Errorf("interceptors: %T is no interceptor", guest)
		}
		c.interceptors = append(c.interceptors, i)
	}
	return nil
}

func (c *AccessConfig) validate() (err error) {
	c.permissions, err = permissionsOf(c.Permissions)
	return err
}

func (c *AccessConfig) apply(p *stomp.Policy) {
	p.Permissions, p.Interceptors = c.permissions, c.interceptors
}

// addAccess adds the options of access:
//
//	allow | deny <action> [<destination>...] [user <name>...] [attribute <name> <value>]
//	intercept <name> ...  # such as: intercept rate_limit 20 1s
//
// All may be repeated, and are in order.
func (s subdirectives) addAccess(c *AccessConfig) {
	s["allow"] = subdirective{parse: c.parseRule, repeated: true}
	s["deny"] = subdirective{parse: c.parseRule, repeated: true}
	s["intercept"] = subdirective{parse: c.parseInterceptor, repeated: true}
}

// parseInterceptor parses the subdirective of a guest module of
// stomp.interceptors.
func (c *AccessConfig) parseInterceptor(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("intercept: expected the name of an interceptor, such as rate_limit")
	}
	name := d.Val()
	guest, err := caddyfile.UnmarshalModule(d, "stomp.interceptors."+name)
	if err != nil {
		return err
	}
	if _, ok := guest.(Interceptor); !ok {
		return d.Errf("intercept: module stomp.interceptors.%s is no interceptor", name)
	}
	c.InterceptorsRaw = append(c.InterceptorsRaw, caddyconfig.JSONModuleObject(guest, "module", name, nil))
	return nil
}

// interceptedCommands are the commands of the frames that interceptors see.
var interceptedCommands = []string{frame.Connect, frame.Subscribe, frame.Unsubscribe, frame.Send, frame.Disconnect}

// commandOf is a frame's command, of which STOMP is another name of CONNECT.
func commandOf(f *frame.Frame) string {
	if f.Command == frame.Stomp {
		return frame.Connect
	}
	return f.Command
}

func checkCommands(commands []string) error {
	for _, command := range commands {
		if !slices.Contains(interceptedCommands, command) {
			return fmt.Errorf("expected commands of %s, got %q", strings.Join(interceptedCommands, ", "), command)
		}
	}
	return nil
}
