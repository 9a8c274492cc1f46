package caddymodule

import (
	"runtime"
	"testing"
	"weak"

	"github.com/caddyserver/caddy/v2"
)

// Law 1: what is left of a configuration after a reload is garbage, however
// long its sessions live.
func TestSessionsDoNotKeepTheirConfiguration(t *testing.T) {
	resetEvents(t)
	s := run(t, withEvents(""))
	clients := []*client{dial(t, s.ws("/ws/websocket")), dial(t, s.ws("/ws/websocket"), `client-data:1`)}
	clients[0].subscribe("/topic/presence")
	old := func() weak.Pointer[App] {
		app, err := caddy.ActiveContext().AppIfConfigured("stomp")
		if err != nil {
			t.Fatal(err)
		}
		return weak.Make(app.(*App))
	}()
	s.load(withEvents(""))
	s.load(withEvents("")) // Caddy itself may hold on to the one before
	eventually(t, "the old configuration to be collected", func() bool {
		runtime.GC()
		return old.Value() == nil
	})
	for _, c := range clients {
		c.alive()
	}
}
