package caddymodule

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// ofRunning is an admission of the configuration that runs.
func ofRunning(t *testing.T) *admission {
	t.Helper()
	ctx := caddy.ActiveContext()
	app, err := ctx.App("events")
	if err != nil {
		t.Fatal(err)
	}
	a := newAdmission(ctx, app.(*caddyevents.App))
	a.start()
	return a
}

// Where nobody listens nobody waits, not even for a turn. A log at DEBUG listens.
func TestConnectingOnlyIfSomebodyListens(t *testing.T) {
	run(t, strings.Replace(withRules(""), "$GLOBAL", strings.Replace(global, "level DEBUG", "level INFO", 1), 1))
	a := ofRunning(t)
	for range maxAdmissions {
		a.slots <- struct{}{}
	}
	if err := a.of("chat", "/ws")(&stomp.Handshake{}, &frame.Frame{Command: frame.Connect}); err != nil {
		t.Error(err)
	}
}

// pastDue is over, as a context is whose handlers heed it and return first.
type pastDue struct{ context.Context }

func (pastDue) Err() error { return context.DeadlineExceeded }

// An answer that comes when the time is over is none: handlers that return
// because it is have not decided, and others were not asked.
func TestConnectingAnswerTooLate(t *testing.T) {
	resetEvents(t)
	run(t, guarded)
	a := ofRunning(t)
	if err := a.ask(a.ctx, map[string]any{"user": "mina"}); err != nil {
		t.Fatal(err)
	}
	if err := a.ask(pastDue{a.ctx}, map[string]any{"user": "mina"}); err == nil {
		t.Error("admitted after the time was over")
	}
}
