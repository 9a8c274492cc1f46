package caddymodule

import (
	"strings"
	"testing"
)

// withLimit is a site with one endpoint, named chat, that allows a number of
// subscriptions.
func withLimit(n string) string {
	return `{
	$GLOBAL
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		limits {
			subscriptions ` + n + `
		}
	}
}
`
}

// A reload keeps the session and puts the new policy in force for it.
func TestReloadAppliesPolicyToLiveSessions(t *testing.T) {
	s := run(t, withLimit("2"))
	c := dial(t, s.ws("/ws"))
	c.subscribe("/topic/1")
	c.subscribe("/topic/2")
	before := live(t, "chat")

	s.load(withLimit("3"))
	if live(t, "chat") != before {
		t.Error("the reload made another broker")
	}
	c.subscribe("/topic/3")
	wantReferences(t, map[string]int{"chat": 1})

	s.load(withLimit("1"))
	c.alive() // more subscriptions than the new limit, but none is taken away
	c.send("SUBSCRIBE", "", "id:4", "destination:/topic/4")
	e := c.expect("ERROR")
	if want := "limit exceeded: subscriptions 1"; e.header["message"] != want {
		t.Errorf("ERROR says %q, want %q", e.header["message"], want)
	}
	c.expectClose(1008)
}

// Messages and announcements go on across reloads, in order, and nobody leaves.
func TestReloadLosesNothing(t *testing.T) {
	s := run(t, withLimit("5"))
	reader := dial(t, s.ws("/ws"))
	reader.subscribe("/topic/presence")
	reader.subscribe("/topic/numbers")
	sender := dial(t, s.ws("/ws"), `client-data:"sender"`)
	reader.expectChange("joined", sender.session)

	const reloads, each = 5, 200
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range reloads {
			if err := s.tryLoad(withLimit(string(rune('5' + i%2)))); err != nil {
				t.Errorf("reload: %v", err)
			}
		}
	}()
	sent := 0
	for running := true; running || sent%each != 0; sent++ {
		sender.send("SEND", strings.Repeat("x", sent%50), "destination:/topic/numbers")
		select {
		case <-done:
			running = false
		default:
		}
		if got := reader.expect("MESSAGE"); got.header["destination"] != "/topic/numbers" || len(got.body) != sent%50 {
			t.Fatalf("message %d: %v", sent, got)
		}
	}
	<-done
	reader.quiet()
	wantReferences(t, map[string]int{"chat": 1})
}

// Two configurations in a row leave the pool as one does.
func TestReloadsDoNotLeakBrokers(t *testing.T) {
	s := run(t, sharedBroker(""))
	wantReferences(t, map[string]int{"shared": 1})
	for range 3 {
		s.load(sharedBroker(""))
		wantReferences(t, map[string]int{"shared": 1})
	}
	s.load(withLimit("1"))
	wantReferences(t, map[string]int{"chat": 1})
	s.stop()
	wantReferences(t, map[string]int{})
}

// The destinations of presence belong to the broker and change with it.
func TestReloadMovesPresence(t *testing.T) {
	config := func(register, announce string) string {
		return `{
	$GLOBAL
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		presence {
			register ` + register + `
			announce ` + announce + `
		}
	}
}
`
	}
	s := run(t, config("/old/register", "/old/announce"))
	c := dial(t, s.ws("/ws"))
	c.subscribe("/old/announce")
	s.load(config("/new/register", "/new/announce"))

	other := dial(t, s.ws("/ws"))
	other.request("SEND", `{"clientData": "there"}`, "destination:/new/register")
	c.expectChange("joined", other.session)
	other.send("SEND", `[]`, "destination:/new/announce")
	if e := other.expect("ERROR"); !strings.Contains(e.header["message"], "/new/announce") {
		t.Errorf("ERROR: %v", e)
	}
}

// The same site on two ports is one endpoint.
func TestSiteOnTwoPorts(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}

http://localhost:$PORT, http://localhost:$PORT2 {
	stomp /ws {
		name chat
	}
}
`)
	wantReferences(t, map[string]int{"chat": 1})
	c := dial(t, s.ws("/ws"))
	c.subscribe("/topic/presence")
	other := dial(t, "ws://localhost:"+s.port2+"/ws", `client-data:"other"`)
	c.expectChange("joined", other.session)
	if endpoints := live(t, "chat").broker.Endpoints(); len(endpoints) != 1 || endpoints[0].Sessions() != 2 {
		t.Errorf("endpoints: %v", endpoints)
	}
}
