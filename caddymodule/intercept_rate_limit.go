package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func init() {
	caddy.RegisterModule(new(RateLimit))
}

// RateLimit bounds how many frames clients may send in a time. Who sends more
// is told in an ERROR that names the limit, and disconnected.
type RateLimit struct {
	// How many frames.
	Count int `json:"count"`
	// In what time.
	Window caddy.Duration `json:"window"`
	// What they are counted by: session, user or address. Without a user the
	// address counts, and so it does for CONNECT, when neither session nor
	// user is known yet. Default: session.
	Per string `json:"per,omitempty"`
	// How many may come at once. Default: count.
	Burst int `json:"burst,omitempty"`
	// Which commands count: CONNECT, SUBSCRIBE, UNSUBSCRIBE, SEND or
	// DISCONNECT. Default: SEND.
	Commands []string `json:"commands,omitempty"`

	perSecond float64
	refusal   *stomp.Error

	mu      sync.Mutex
	buckets map[bucketKey]*bucket // of those who have less than a burst left
	sweepAt time.Time
}

const (
	perSession = "session"
	perUser    = "user"
	perAddress = "address"

	// maxBuckets bounds the memory, to some 20 MiB. Beyond, somebody is let
	// begin anew.
	maxBuckets = 100_000
)

type bucketKey struct{ kind, name string }

// CaddyModule implements [caddy.Module].
func (*RateLimit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.interceptors.rate_limit", New: func() caddy.Module { return new(RateLimit) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	rate_limit <count> <duration> [session | user | address] {
//		burst    <count>
//		commands <command>...
//	}
func (l *RateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // rate_limit
	args := d.RemainingArgs()
	if len(args) != 2 && len(args) != 3 {
		return d.Err("rate_limit: expected <count> <duration> [session | user | address], such as 20 1s user")
	}
	var err error
	if l.Count, err = strconv.Atoi(args[0]); err != nil {
		return d.Errf("rate_limit: expected a number, got %q", args[0])
	}
	if l.Window, err = parseDuration(d, "rate_limit", args[1]); err != nil {
		return err
	}
	if len(args) == 3 {
		l.Per = args[2]
	}
	start := *d
	err = subdirectives{
		"burst": {parse: countArg(&l.Burst)},
		"commands": {parse: func(d *caddyfile.Dispenser) error {
			l.Commands = d.RemainingArgs()
			return noBlock(d, "commands")
		}},
	}.parse(d, "rate_limit")
	if err != nil {
		return err
	}
	if err := l.Validate(); err != nil {
		return start.WrapErr(fmt.Errorf("rate_limit: %w", err))
	}
	return nil
}

// Provision implements [caddy.Provisioner].
func (l *RateLimit) Provision(caddy.Context) error {
	if l.Per == "" {
		l.Per = perSession
	}
	if l.Burst == 0 {
		l.Burst = l.Count
	}
	if l.Commands == nil {
		l.Commands = []string{frame.Send}
	}
	l.buckets = make(map[bucketKey]*bucket)
	l.perSecond = float64(l.Count) / time.Duration(l.Window).Seconds()
	l.refusal = stomp.LimitExceeded("rate_limit", fmt.Sprintf("%d in %s per %s", l.Count, time.Duration(l.Window), l.Per))
	return nil
}

// Validate implements [caddy.Validator].
func (l *RateLimit) Validate() error {
	switch {
	case l.Count <= 0 || l.Window <= 0:
		return errors.New("expected a count and a duration above 0")
	case l.Burst < 0:
		return errors.New("burst must not be negative")
	case l.Per != "" && !slices.Contains([]string{perSession, perUser, perAddress}, l.Per):
		return fmt.Errorf("counts per session, user or address, not %q", l.Per)
	case l.Commands != nil && len(l.Commands) == 0:
		return errors.New("commands: expected commands such as SEND")
	}
	return checkCommands(l.Commands)
}

// Intercept implements [Interceptor].
func (l *RateLimit) Intercept(s *stomp.Session, f *frame.Frame) (answered bool, err error) {
	if !slices.Contains(l.Commands, commandOf(f)) {
		return false, nil
	}
	key, ok := l.key(s)
	if ok && !l.take(key, time.Now()) {
		return false, l.refusal
	}
	return false, nil
}

// key is what a session is counted by; false if nothing is known of it.
func (l *RateLimit) key(s *stomp.Session) (bucketKey, bool) {
	hs := s.Handshake()
	switch {
	case l.Per == perUser && hs.User != "":
		return bucketKey{perUser, hs.User}, true
	case l.Per == perSession && s.ID() != "":
		return bucketKey{perSession, s.ID()}, true
	case hs.Address != "":
		return bucketKey{perAddress, hs.Address}, true
	default:
		return bucketKey{perSession, s.ID()}, s.ID() != ""
	}
}

// take takes a token; false if there is none.
func (l *RateLimit) take(key bucketKey, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			l.makeRoom(now)
		}
		b = &bucket{tokens: float64(l.Burst), at: now}
		l.buckets[key] = b
	}
	b.tokens, b.at = l.tokens(b, now), now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (l *RateLimit) tokens(b *bucket, now time.Time) float64 {
	return min(float64(l.Burst), b.tokens+now.Sub(b.at).Seconds()*l.perSecond)
}

// makeRoom forgets the buckets that are full, which is as good as none; if it
// has just done so, any one. With l.mu held.
func (l *RateLimit) makeRoom(now time.Time) {
	if now.After(l.sweepAt) {
		l.sweepAt = now.Add(time.Second) // it costs some milliseconds
		for key, b := range l.buckets {
			if l.tokens(b, now) >= float64(l.Burst) {
				delete(l.buckets, key)
			}
		}
	}
	for key := range l.buckets {
		if len(l.buckets) < maxBuckets {
			return
		}
		delete(l.buckets, key)
	}
}

// Interface guards
var (
	_ Interceptor           = (*RateLimit)(nil)
	_ caddy.Provisioner     = (*RateLimit)(nil)
	_ caddy.Validator       = (*RateLimit)(nil)
	_ caddyfile.Unmarshaler = (*RateLimit)(nil)
)
