package stomp_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// Attack: slowloris. Many connections begin a CONNECT frame and never end it.
// All of them are gone after the connect timeout, whatever they trickle.
func TestHalfFrames(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		const n = 200
		var all []*stomptest.Client
		for range n {
			c, _ := w.dial(t)
			c.Raw("CONNECT\naccept-version:")
			all = append(all, c)
		}
		for range 9 {
			time.Sleep(time.Second)
			for _, c := range all {
				c.Raw("1")
			}
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if left := w.Connections(); left != 0 {
			t.Errorf("%d connections are left", left)
		}
	})
}

// Attack: the same after CONNECT, without heart-beats: a half frame is no sign
// of life for ever, and holds no lock.
func TestHalfFrameThenSilence(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, pipe, _ := w.connect(t)
		c.Raw("SEND\ndestination:/topic/a\ncontent-length:60000\n\nx")
		pipe.Mute()
		w.observer.ExpectEnd(t, stomp.ReasonHeartBeatTimeout)
	})
}

// Attack: a flood of headers, in one frame, before and after CONNECT.
func TestHeaderFlood(t *testing.T) {
	for _, start := range []string{"CONNECT\n", "SEND\ndestination:/topic/a\n"} {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			c, _ := w.dial(t)
			if strings.HasPrefix(start, "SEND") {
				c.Connect()
			}
			c.Raw(start)
			for i := range 100 {
				c.Raw(fmt.Sprintf("h%d:x\n", i))
			}
			c.ExpectError("headers 64")
		})
	}
}

// Attack: 100,000 subscriptions. The limit ends it, and nothing stays.
func TestSubscriptionFlood(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t)
		var flood strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&flood, "SUBSCRIBE\nid:%d\ndestination:/topic/%d\n\n\x00", i, i)
		}
		c.Raw(flood.String())
		c.ExpectError("subscriptions 1000")
		w.observer.ExpectEnd(t, stomp.ReasonPolicy)
		if n := w.Stats().Subscriptions; n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// Attack: a client that asks for a heart-beat every millisecond, and sends a
// million EOLs itself. The first costs no more than the server's own interval,
// the second nothing at all.
func TestTinyHeartBeats(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t, "heart-beat:1,1")
		for range 60 {
			c.Raw(strings.Repeat("\n", 20_000))
			time.Sleep(time.Second)
		}
		if n := len(c.HeartBeats()); n > 7 {
			t.Errorf("%d heart-beats in a minute", n)
		}
		c.ExpectNothing()
	})
}

// Attack: heart-beats that overflow.
func TestHugeHeartBeats(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t, "heart-beat:9223372036854775807,9223372036854775807")
		time.Sleep(time.Hour)
		c.ExpectNothing()
	})
}

// Attack: acting on what belongs to others: their subscription ids, their
// session id, the headers that say who sent something.
func TestOthersAreNotReached(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		victim, _, s := w.connect(t)
		victim.Subscribe("1", "/topic/a")
		for _, attack := range []string{
			"UNSUBSCRIBE\nid:1\n\n\x00",
			"SEND\ndestination:/topic/../topic/a\nsession:" + s.ID() + "\n\nx\x00UNSUBSCRIBE\nid:1\n\n\x00",
			"CONNECT\naccept-version:1.2\nhost:x\nsession:" + s.ID() + "\n\n\x00",
		} {
			c, _, _ := w.connect(t)
			c.Raw(attack)
			c.ExpectError("")
		}
		thief, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{SessionID: s.ID()})
		if id := thief.Connect().Header.Get("session"); id == s.ID() {
			t.Error("a session id was stolen")
		}
		thief.Publish("/topic/a", "x", "subscription:2", "message-id:0")
		f := victim.Expect(frame.Message, "subscription:1")
		if f.Header.Get("message-id") == "0" {
			t.Errorf("got %s", stomptest.Show(f))
		}
		victim.ExpectNothing()
	})
}

// Attack: destinations of all lengths, each of them new. What nobody
// subscribes to is not remembered.
func TestDestinationFlood(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t)
		for i := range 5000 {
			c.Publish(fmt.Sprintf("/topic/%d", i), "")
		}
		c.ExpectNothing()
		c.Publish("/topic/"+strings.Repeat("x", 249), "")
		c.ExpectError("destination 255")
	})
}
