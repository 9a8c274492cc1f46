package caddymodule

import (
	"testing"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// A session that was left just before a crash, with nobody told yet, has its
// will carried out at the start: by the destinations and the rules of the
// configuration that starts.
func TestWillsAtTheStart(t *testing.T) {
	config := withRules(`store stomptest_faulty
		destinations {
			queue /q/
		}
		deny send /q/wills user omar`)
	newFaultyStore()
	s := run(t, config)
	endpoint := live(t, "chat").broker.Endpoints()[0].Name()
	s.stop()

	f := newFaultyStore()
	f.meta = presence.Meta{Stream: "stream-1", Key: make([]byte, 32), Seq: 3}
	for i, user := range []string{"omar", "mina", "omar"} {
		f.changes = append(f.changes, &presence.KeptChange{
			Session: &presence.Record{SessionID: "session-" + user, User: user, Endpoint: endpoint, Epoch: 1},
			Type:    presence.Left, Seq: uint64(i + 1), Reason: stomp.ReasonConnectionLost, Code: 1006,
			Will: &presence.Will{Destination: "/q/wills", Body: "of " + user, Delay: -1},
		})
	}
	s.load(config)
	c := dial(t, s.ws("/ws"))
	c.subscribe("/q/wills")
	if m := c.expect("MESSAGE"); m.body != "of mina" {
		t.Errorf("%v", m)
	}
	// wills are carried out in order, so the last one was refused by now, or comes
	eventually(t, "the last will is refused", func() bool {
		return len(s.logged(func(entry map[string]any) bool { return entry["msg"] == "a will could not be carried out" })) == 2
	})
	c.quiet()
}
