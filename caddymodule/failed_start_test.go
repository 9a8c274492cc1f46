package caddymodule

import (
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// A process that does not start as another app fails, such as one whose port is
// still taken, leaves what the one before has kept to the next attempt.
func TestFailedStartLeavesTheStore(t *testing.T) {
	s := run(t, "{\n$GLOBAL\n}\n")
	store := newFaultyStore()
	kept := presence.Meta{Stream: "b2k9", Key: make([]byte, 32), Seq: 7, Announced: 7, Alive: time.Now()}
	const id = "abcdefgh"
	store.meta = kept
	store.records[id] = &presence.Record{SessionID: id, User: "mina", ConnectedAt: time.Now(), Broker: "chat", Epoch: 1, Announced: true}
	config := func(option string) string {
		return "{\n$GLOBAL\n" + option + "\nstomp {\nbroker chat {\nstore stomptest_faulty\n}\n}\n}\n" +
			"http://localhost:$PORT {\nstomp /ws {\nbroker chat\n}\n}\n"
	}
	clear(stompStarted)
	for range 100 {
		if err := s.tryLoad(config("stomptest_failing")); err == nil {
			t.Fatal("the start did not fail")
		}
		wantReferences(t, nil)
		store.set(func() {
			if store.records[id] == nil || store.meta.Stream != kept.Stream || store.meta.Seq != kept.Seq {
				t.Fatalf("after a start that failed the store holds %v and %+v", store.records, store.meta)
			}
		})
		if stompStarted[true] > 2 {
			break
		}
	}
	if stompStarted[true] <= 2 {
		t.Fatalf("ours was always last: %v", stompStarted)
	}
	s.load(config(""))
	if session := live(t, "chat").registry.Session(id); session == nil || session.Lost == nil {
		t.Errorf("the session after the start that did not fail: %+v", session)
	}
	// a configuration that was in force, and goes, empties it
	s.load("{\n$GLOBAL\n}\n")
	store.set(func() {
		if len(store.records) != 0 {
			t.Errorf("the broker is gone, but %v was kept", store.records)
		}
	})
}
