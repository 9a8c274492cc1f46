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
	// Transactions of a session at the same time. Default: 100.
	Transactions int `json:"transactions,omitempty"`
	// Bytes that a session's transactions hold. Default: 1 MiB.
	TransactionBytes int `json:"transaction_bytes,omitempty"`
	// Messages that a subscription may owe an acknowledgement for. Default:
	// 1000.
	Unacknowledged int `json:"unacknowledged,omitempty"`
	// Frames that a session may send in a second, and twice as many at once.
	// Default: 10000.
	FramesPerSecond int `json:"frames_per_second,omitempty"`
	// Bytes that may wait to be written to a client: frame_size twice at least.
	// Default: 1 MiB, or four times frame_size if that is more.
	Pending int `json:"pending,omitempty"`
	// How long a client may take to send CONNECT. Default: 10s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`
	// Sessions of the endpoint at the same time. Default: 100000.
	Sessions int `json:"sessions,omitempty"`
	// Sessions of a user, on all endpoints of the broker. Default: 1000.
	SessionsPerUser int `json:"sessions_per_user,omitempty"`
	// Sessions of a client address, as Caddy knows it behind trusted proxies,
	// on all endpoints of the broker. Default: 10000.
	SessionsPerAddress int `json:"sessions_per_address,omitempty"`
	// Connections that have not sent CONNECT yet, on all endpoints of the
	// broker. More are answered with 503. Default: 20000.
	Connecting int `json:"connecting,omitempty"`
	// Those of a client address. Many clients may share one, and come at once
	// after a restart; where they do not, some 100 are enough. Default: 10000.
	ConnectingPerAddress int `json:"connecting_per_address,omitempty"`
}

// counts are the limits that count something, by their name in the Caddyfile.
func (l *Limits) counts() map[string]*int {
	return map[string]*int{
		"frame_size": &l.FrameSize, "header_line": &l.HeaderLine, "headers": &l.Headers,
		"client_data": &l.ClientData, "destination": &l.Destination, "subscriptions": &l.Subscriptions,
		"transactions": &l.Transactions, "transaction_bytes": &l.TransactionBytes, "unacknowledged": &l.Unacknowledged,
		"frames_per_second": &l.FramesPerSecond, "pending": &l.Pending,
		"sessions": &l.Sessions, "sessions_per_user": &l.SessionsPerUser, "sessions_per_address": &l.SessionsPerAddress,
		"connecting": &l.Connecting, "connecting_per_address": &l.ConnectingPerAddress,
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
	p := stomp.DefaultPolicy().Limits
	l.apply(&p)
	if p.Pending != 0 && p.Pending < 2*p.Frame.Frame {
		return fmt.Errorf("limits: pending (%d) must be at least twice frame_size (%d): else one message makes a slow consumer of whoever "+
			"is still reading the last", p.Pending, p.Frame.Frame)
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
	override(&p.Transactions, l.Transactions)
	override(&p.TransactionBytes, l.TransactionBytes)
	override(&p.Unacknowledged, l.Unacknowledged)
	override(&p.FramesPerSecond, l.FramesPerSecond)
	override(&p.SessionsPerUser, l.SessionsPerUser)
	override(&p.SessionsPerAddress, l.SessionsPerAddress)
	override(&p.Connecting, l.Connecting)
	override(&p.ConnectingPerAddress, l.ConnectingPerAddress)
	p.Pending = l.Pending // 0: by frame_size
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
