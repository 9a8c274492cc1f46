package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Limits bounds what a client can make grow. Beyond a limit it gets an ERROR
// that names the limit, and its connection is closed.
type Limits struct {
	// Bytes of a STOMP frame. Default: 64 KiB.
	FrameSize int `json:"frame_size,omitempty"`
	// Bytes of a header line. Default: 2 KiB.
	HeaderLine int `json:"header_line,omitempty"`
	// Header lines of a frame. Default: 64.
	Headers int `json:"headers,omitempty"`
	// Bytes of client data, as JSON without white space. Default: 4 KiB.
	ClientData int `json:"client_data,omitempty"`
	// Bytes of a destination. Default: 255.
	Destination int `json:"destination,omitempty"`
	// Subscriptions of a session. Default: 1000.
	Subscriptions int `json:"subscriptions,omitempty"`
	// Bytes that may wait to be written to a client. Default: 1 MiB.
	Pending int `json:"pending,omitempty"`
	// How long a client may take to send CONNECT. Default: 10s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`
	// Sessions of the endpoint at the same time. Default: 100000.
	Sessions int `json:"sessions,omitempty"`
}

// sizes are the limits that count something, by their name in the Caddyfile.
func (l *Limits) counts() map[string]*int {
	return map[string]*int{
		"frame_size": &l.FrameSize, "header_line": &l.HeaderLine, "headers": &l.Headers,
		"client_data": &l.ClientData, "destination": &l.Destination, "subscriptions": &l.Subscriptions,
		"pending": &l.Pending, "sessions": &l.Sessions,
	}
}

func (l *Limits) validate() error {
	if l == nil {
		return nil
	}
	for name, n := range l.counts() {
		if *n < 0 {
			return fmt.Errorf("limits: %s must not be negative", name)
		}
	}
	if l.ConnectTimeout < 0 {
		return fmt.Errorf("limits: connect_timeout must not be negative")
	}
	return nil
}

// apply overrides the limits that are set.
func (l *Limits) apply(p *stomp.Limits) {
	if l == nil {
		return
	}
	override(&p.Frame.Frame, l.FrameSize)
	override(&p.Frame.HeaderLine, l.HeaderLine)
	override(&p.Frame.Headers, l.Headers)
	override(&p.Destination, l.Destination)
	override(&p.Subscriptions, l.Subscriptions)
	override(&p.Pending, l.Pending)
	override(&p.Sessions, l.Sessions)
	if l.ClientData != 0 {
		p.Frame.Named = map[string]int{stomp.ClientDataHeader: l.ClientData}
	}
	if l.ConnectTimeout != 0 {
		p.Connect = time.Duration(l.ConnectTimeout)
	}
}

func override(v *int, n int) {
	if n != 0 {
		*v = n
	}
}
