package stomp_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// Drain ends everybody, connected or not, waits for the last connection, and
// no longer than it may.
func TestDrain(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t)
		early, _ := w.dial(t)
		_, mute, _ := w.connect(t)
		mute.Mute()
		start := time.Now()
		w.Drain(t.Context(), stomp.End{Code: 1012, Text: "restarting"}, 0)
		within(t, "drained", time.Since(start), stomp.CloseTimeout, stomp.CloseTimeout+time.Second)
		for _, c := range []*stomptest.Client{c, early} {
			f := c.Expect(frame.Error, "message:restarting")
			if closing := c.ExpectClose(1012); closing.Text != "restarting" {
				t.Errorf("%v after %v", closing, f)
			}
		}
		for range 2 { // not of who had not sent CONNECT
			w.observer.ExpectEnd(t, stomp.ReasonServerShutdown)
		}
		if n := w.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
		w.Drain(t.Context(), stomp.End{Code: 1012}, 0) // nothing to do
	})
}

func TestDrainEndsInTime(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		_, pipe, _ := w.connect(t)
		pipe.Freeze()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.Drain(ctx, stomp.End{Code: 1001}, 0)
		within(t, "drained", time.Since(start), time.Second, time.Second)
		if n := w.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Whoever comes while the broker drains is refused, at the latest before
// CONNECTED.
func TestDrainRefusesNewcomers(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		w.Drain(t.Context(), stomp.End{Code: 1001}, 0)
		if !w.endpoint.Draining() {
			t.Error("not draining")
		}
		_, err := stomptest.NewPipe(func(tr stomp.Transport) (stomp.Receiver, error) {
			return w.endpoint.NewSession(tr, &stomp.Handshake{})
		})
		if !errors.Is(err, stomp.ErrDraining) {
			t.Errorf("got %v", err)
		}
		if n := w.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// However Drain and CONNECT interleave, nobody stays.
func TestDrainAgainstNewcomers(t *testing.T) {
	for range 100 {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					p, err := stomptest.NewPipe(func(tr stomp.Transport) (stomp.Receiver, error) {
						return w.endpoint.NewSession(tr, &stomp.Handshake{})
					})
					if err == nil {
						t.Cleanup(p.Client().Abort)
						_ = p.Client().Write([]byte("CONNECT\naccept-version:1.2\nhost:x\n\n\x00"))
					}
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			wg.Go(func() { w.Drain(ctx, stomp.End{Code: 1001}, 0) })
			wg.Wait()
			time.Sleep(time.Second) // all has been said; the connect timeout is far away
			synctest.Wait()
			if n := w.endpoint.Sessions(); n != 0 || w.Connections() != 0 {
				t.Errorf("%d sessions, %d connections", n, w.Connections())
			}
		})
		if t.Failed() {
			return
		}
	}
}

// Closing an endpoint ends its sessions, and nobody else's.
func TestEndpointClose(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		other := w.Endpoint("/other", stomp.Policy{})
		stays, _ := stomptest.Dial(t, other, nil)
		stays.Connect()
		stays.Subscribe("1", "/topic/a")
		goes, _, _ := w.connect(t)
		goes.Subscribe("1", "/topic/a")
		early, _ := w.dial(t)

		w.endpoint.Close(1001, "gone")
		goes.ExpectError("gone")
		if e := w.observer.ExpectEnd(t, stomp.ReasonServerShutdown); e.Code != 1001 {
			t.Errorf("code %d", e.Code)
		}
		early.ExpectError("gone")
		stays.Publish("/topic/a", "alone now")
		stays.Expect(frame.Message)
		stays.ExpectNothing()

		if _, err := w.endpoint.NewSession(nil, nil); !errors.Is(err, stomp.ErrDraining) {
			t.Errorf("a closed endpoint: %v", err)
		}
		if all := w.Endpoints(); len(all) != 1 || all[0] != other {
			t.Errorf("endpoints %v", all)
		}
		again := w.Endpoint("/ws", stomp.Policy{})
		if again == w.endpoint || again.Draining() {
			t.Error("the name of a closed endpoint cannot be used again")
		}
		w.endpoint.Close(1001, "gone")
		if w.Endpoint("/ws", stomp.Policy{}) != again {
			t.Error("closing twice took the new endpoint away")
		}
	})
}

func TestEndpointKeepsItsPolicy(t *testing.T) {
	w := newWorld(stomp.Policy{PingTimeout: 5 * time.Second})
	if e := w.Endpoint("/ws", stomp.Policy{PingTimeout: time.Hour}); e != w.endpoint || e.Policy().PingTimeout != 5*time.Second {
		t.Errorf("policy %+v", e.Policy())
	}
	if d, p := stomp.DefaultPolicy(), w.Endpoint("/default", stomp.Policy{}).Policy(); p.HeartBeatSend != d.HeartBeatSend ||
		p.Limits.Pending != d.Limits.Pending || p.Limits.ClientData() != stomp.DefaultClientData {
		t.Errorf("zero values stand for %+v", p)
	}
}

// Another policy holds for sessions that live, too; what they agreed in their
// handshake stays.
func TestSetPolicy(t *testing.T) {
	limits := func(change func(*stomp.Limits)) stomp.Policy {
		p := stomp.DefaultPolicy()
		change(&p.Limits)
		return p
	}
	for _, tt := range []struct {
		name   string
		policy stomp.Policy
		do     func(c *stomptest.Client)
		about  string
	}{
		{
			"destination", limits(func(l *stomp.Limits) { l.Destination = 10 }),
			func(c *stomptest.Client) { c.Publish("/topic/12345", "") }, "destination 10",
		},
		{
			"subscriptions", limits(func(l *stomp.Limits) { l.Subscriptions = 1 }),
			func(c *stomptest.Client) { c.Send(frame.Subscribe, "", "id:2", "destination:/topic/b") }, "subscriptions 1",
		},
		{
			"frame size", limits(func(l *stomp.Limits) { l.Frame.Frame = 1000 }),
			func(c *stomptest.Client) { c.Publish("/topic/a", body(1000)) }, "frame_size 1000",
		},
		{
			"header lines", limits(func(l *stomp.Limits) { l.Frame.Headers = 2 }),
			func(c *stomptest.Client) { c.Publish("/topic/a", "", "a:1", "b:2") }, "headers 2",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, _, _ := w.connect(t)
				c.Subscribe("1", "/topic/a")
				c.ExpectNothing()
				w.endpoint.SetPolicy(tt.policy)
				tt.do(c)
				c.ExpectError(tt.about)
			})
		})
	}
}

func TestSetPolicyKeepsHeartBeats(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		_, pipe, _ := w.connect(t, "heart-beat:10000,10000")
		w.endpoint.SetPolicy(stomp.Policy{HeartBeatReceive: time.Minute, PingTimeout: time.Hour})
		pipe.Mute()
		start := time.Now()
		w.observer.ExpectEnd(t, stomp.ReasonHeartBeatTimeout)
		within(t, "given up", time.Since(start), 20*time.Second, 21*time.Second)
	})
}

// A trailing slash makes no difference in a mounted destination; in a topic it
// does (stomptest, "not below, not above").
func TestMounts(t *testing.T) {
	for mounted, destinations := range map[string][]string{
		"/ws":             {"/ws", "/ws/"},
		"/ws/":            {"/ws", "/ws/"},
		"plain":           {"plain", "plain/"},
		"/topic/presence": {"/topic/presence", "/topic/presence/"},
		"/":               {"/"},
	} {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			m := &echoMount{feed: stomp.NewFeed(stomp.FeedConfig{})}
			w.SetMounts(mounts{mounted: m})
			c, _, _ := w.connect(t)
			for i, d := range destinations {
				c.Publish(d, "x")
				c.Subscribe(strings.Repeat("x", i+1), d)
				m.feed.Append(1, []byte("y"))
				for range i + 1 {
					c.Receive()
				}
			}
			if n := int(m.sends.Load()); n != len(destinations) {
				t.Errorf("%s: %d frames", mounted, n)
			}
			w.SetMounts(stomp.NoMounts{})
			c.Publish("/nowhere", "")
			c.ExpectError("/nowhere")
		})
	}
}

// A mount that is taken away keeps its readers.
func TestMountTakenAway(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		m := &echoMount{feed: stomp.NewFeed(stomp.FeedConfig{})}
		w.SetMounts(mounts{"/feed": m, "/write-only": &echoMount{}})
		c, _, _ := w.connect(t)
		c.Subscribe("1", "/feed")
		w.SetMounts(mounts{"/write-only": &echoMount{}})
		m.feed.Append(1, []byte("x"))
		c.Expect(frame.Message, "subscription:1")
		c.Send(frame.Unsubscribe, "", "id:1", "receipt:1")
		c.Expect(frame.Receipt)
		if n := m.feed.Readers(); n != 0 {
			t.Errorf("%d readers", n)
		}
		c.Send(frame.Subscribe, "", "id:2", "destination:/write-only")
		c.ExpectError("write only")
	})
}

func TestStats(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t)
		c.Subscribe("1", "/topic/a")
		c.Publish("/topic/a", "hello")
		c.Expect(frame.Message)
		c.Raw("\n")
		synctest.Wait()
		s := w.Stats()
		if s.FramesIn != 3 || s.FramesOut != 3 || s.Subscriptions != 1 || s.Connects != 1 || s.Dropped != 0 || s.BytesIn == 0 || s.BytesOut == 0 {
			t.Errorf("%+v", s)
		}
		c.Send(frame.Disconnect, "")
		c.ExpectClose(1000)
		synctest.Wait()
		if s := w.Stats(); s.Ends[stomp.ReasonDisconnect] != 1 || s.Subscriptions != 0 || len(s.Ends) != len(stomp.Reasons()) {
			t.Errorf("%+v", s)
		}
	})
}
