package caddymodule

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// Apps start in random order, and Caddy's events app knows its subscriptions
// only when it has started: sessions may come before. What they tell waits
// until all apps have started, which Caddy says with an event of its own. (It
// also must not ask ShouldEmit before: the subscriptions are a map without a
// lock, which Start writes.)
func TestEventsBeforeTheEventsAppStarts(t *testing.T) {
	resetEvents(t)
	parent, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{
		"events": json.RawMessage(`{"subscriptions": [{"events": ["stomp_connected"], "handlers": [{"handler": "stomptest_record"}]}]}`),
		"stomp":  json.RawMessage(`{}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(parent)
	defer cancel()
	loaded, err := ctx.App("stomp")
	if err != nil {
		t.Fatal(err)
	}
	app := loaded.(*App)
	events := app.events
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Stop() }()
	app.queue.Changed(presence.Change{Type: presence.Connected, View: &presence.View{SessionID: "early"}})
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	startedEvent(ctx, events)
	eventually(t, "the event of the early session", func() bool { return len(recordedEvents(eventConnected)) == 1 })
}

// startedEvent is what Caddy emits when all apps have started.
func startedEvent(ctx caddy.Context, events *caddyevents.App) { events.Emit(ctx, "started", nil) }
