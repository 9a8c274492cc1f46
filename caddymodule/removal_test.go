package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// sharedBroker is a site with an endpoint /stay, and more, on a broker named
// shared.
func sharedBroker(more string) string {
	return `{
	$GLOBAL
	stomp {
		broker shared
	}
}

http://localhost:$PORT {
	stomp /stay {
		name stay
		broker shared
	}
	` + more + `
}
`
}

const leaveEndpoint = `stomp /leave {
		name leave
		broker shared
	}`

// An endpoint that is gone closes its own sessions; those who stay on the
// broker are told.
func TestEndpointRemoved(t *testing.T) {
	s := run(t, sharedBroker(leaveEndpoint))
	stays := dial(t, s.ws("/stay"))
	stays.subscribe("/topic/presence")
	leaves := dial(t, s.ws("/leave"), `client-data:"leaves"`)
	stays.expectChange("joined", leaves.session)

	s.load(sharedBroker(""))
	frames := leaves.expectClose(1001)
	if len(frames) != 1 || frames[0].command != "ERROR" {
		t.Errorf("before the close came %v, want an ERROR", frames)
	}
	left := stays.expectChange("left", leaves.session)
	if left.Reason != "server-shutdown" || left.Code != 1001 || left.Clean || string(left.ClientData) != `"leaves"` {
		t.Errorf("announced %+v", left)
	}
	stays.quiet()
	wantReferences(t, map[string]int{"shared": 1})
	if status, _ := s.get(s.http("/leave")); status != http.StatusOK {
		t.Errorf("the removed endpoint answers %d", status) // an empty 200: Caddy found no handler
	}
}

// It can come back.
func TestEndpointRemovedAndBack(t *testing.T) {
	s := run(t, sharedBroker(leaveEndpoint))
	s.load(sharedBroker(""))
	s.load(sharedBroker(leaveEndpoint))
	c := dial(t, s.ws("/leave"))
	c.alive()
}

// An endpoint that moves to another broker closes its sessions on the old one.
func TestEndpointMoved(t *testing.T) {
	config := func(broker string) string {
		return `{
	$GLOBAL
	stomp {
		broker one
		broker two
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		broker ` + broker + `
	}
}
`
	}
	s := run(t, config("one"))
	c := dial(t, s.ws("/ws"))
	s.load(config("two"))
	c.expectClose(1001)
	dial(t, s.ws("/ws")).alive()
	if n := live(t, "two").broker.Endpoints()[0].Sessions(); n != 1 {
		t.Errorf("%d sessions on the new broker", n)
	}
	if n := len(live(t, "one").broker.Endpoints()); n != 0 {
		t.Errorf("%d endpoints left on the old broker", n)
	}
}

// With its broker gone there is nobody to be told.
func TestBrokerRemoved(t *testing.T) {
	s := run(t, sharedBroker(leaveEndpoint))
	watcher := dial(t, s.ws("/leave"))
	watcher.subscribe("/topic/presence")
	peers := []*client{watcher, dial(t, s.ws("/stay"), `client-data:1`)}
	watcher.expectChange("joined", peers[1].session)
	s.load(withLimit("1"))
	for _, c := range peers {
		for _, f := range c.expectClose(1001) {
			if f.command != "ERROR" {
				t.Errorf("before the close came %v", f)
			}
		}
	}
	wantReferences(t, map[string]int{"chat": 1})
}

// Stopping takes leave of everybody, the connections that have not sent
// CONNECT too, and waits for their closing handshake.
func TestStopDrains(t *testing.T) {
	s := run(t, withLimit("1"))
	c := dial(t, s.ws("/ws"))
	silent := dialRaw(t, s.ws("/ws"), nil)
	closed := make(chan error, 1)
	go func() {
		_, _, err := silent.ReadMessage()
		for err == nil {
			_, _, err = silent.ReadMessage()
		}
		closed <- err
	}()
	broker := live(t, "chat").broker
	eventually(t, "both connections", func() bool { return broker.Connections() == 2 })

	s.stop()
	if n := broker.Connections(); n != 0 {
		t.Errorf("%d connections left", n)
	}
	c.expectClose(1001)
	if err := <-closed; !websocket.IsCloseError(err, 1001) {
		t.Errorf("without CONNECT closed with %v", err)
	}
	wantReferences(t, map[string]int{})
}

// A client that does not take leave holds up a stop until drain.
func TestStopWaitsNoLongerThanDrain(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		drain 1s
	}
}
`)
	dialRaw(t, s.ws("/ws"), nil) // and never read
	broker := live(t, "chat").broker
	eventually(t, "the connection", func() bool { return broker.Connections() == 1 })
	started := time.Now()
	s.stop()
	if took := time.Since(started); took < time.Second || took > 5*time.Second {
		t.Errorf("stopping took %s, want drain (1s)", took)
	}
}
