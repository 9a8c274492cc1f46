package stomp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// What the reason table of the design says of silence, over in-memory
// connections and in time that is not real.

// silences are how clients and servers may agree, and what follows.
var silences = []struct {
	name         string
	policy       stomp.Policy
	connect      string
	promised     time.Duration // by the client; 0 for nothing
	ping, giveUp time.Duration
}{
	{"10s", stomp.Policy{}, "heart-beat:10000,10000", 10 * time.Second, 15 * time.Second, 21 * time.Second},
	{"client is slower", stomp.Policy{}, "heart-beat:60000,0", time.Minute, 90 * time.Second, 121 * time.Second},
	{"client is faster", stomp.Policy{HeartBeatReceive: 2 * time.Second}, "heart-beat:1,0", 2 * time.Second, 3 * time.Second, 5 * time.Second},
	{"200ms", stomp.Policy{HeartBeatReceive: 200 * time.Millisecond}, "heart-beat:200,0", 200 * time.Millisecond, 300 * time.Millisecond, 1400 * time.Millisecond},
	{"0,0", stomp.Policy{}, "heart-beat:0,0", 0, 21750 * time.Millisecond, 30 * time.Second},
	{"0,0 with another ping timeout", stomp.Policy{PingTimeout: 5 * time.Second}, "heart-beat:0,0", 0, 3 * time.Second, 5 * time.Second},
	{"server wants none", stomp.Policy{HeartBeatReceive: -1}, "heart-beat:10000,10000", 0, 21750 * time.Millisecond, 30 * time.Second},
	{"1.0 has none", stomp.Policy{}, "accept-version:1.0", 0, 21750 * time.Millisecond, 30 * time.Second},
}

// A client that is silent and does not answer a ping either is given up in
// time, and not before; the ping comes first.
func TestSilence(t *testing.T) {
	for _, tt := range silences {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.policy, func(t *testing.T, w *world) {
				time.Sleep(37 * time.Millisecond) // at no tick of the wheel
				_, pipe, _ := w.connect(t, tt.connect)
				pipe.Mute()
				start := time.Now()
				for pipe.State().Pings == 0 {
					time.Sleep(10 * time.Millisecond)
				}
				within(t, "pinged", time.Since(start), tt.ping, tt.ping+250*time.Millisecond)
				e := w.observer.ExpectEnd(t, stomp.ReasonHeartBeatTimeout)
				within(t, "given up", time.Since(start), tt.giveUp-500*time.Millisecond, tt.giveUp)
				if e.Silence != time.Since(start) || e.Code != 1013 {
					t.Errorf("silence %v, code %d", e.Silence, e.Code)
				}
				if n := pipe.State().Pings; n != 1 {
					t.Errorf("%d pings", n)
				}
			})
		})
	}
}

// A hidden tab: its page says nothing, its browser answers pings. If it never
// promised to say anything that is enough for ever, else for three minutes.
func TestPongKeepsAlive(t *testing.T) {
	for _, tt := range silences {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.policy, func(t *testing.T, w *world) {
				start := time.Now()
				c, pipe, _ := w.connect(t, tt.connect)
				time.Sleep(170 * time.Second)
				synctest.Wait()
				if n := pipe.State().Pings; n < int(170*time.Second/tt.giveUp)-1 || n > int(170*time.Second/tt.ping) {
					t.Errorf("%d pings in 170s", n)
				}
				if tt.promised == 0 {
					time.Sleep(time.Hour)
					c.ExpectNothing()
					return
				}
				e := w.observer.ExpectEnd(t, stomp.ReasonHeartBeatTimeout)
				frozen := max(3*time.Minute, 6*tt.promised)
				within(t, "given up", e.At.Sub(start), frozen, frozen+tt.ping+200*time.Millisecond)
			})
		})
	}
}

// A client that keeps its promise is not pinged.
func TestHeartBeatsKeepAlive(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, pipe, _ := w.connect(t, "heart-beat:10000,0")
		pipe.Mute()
		for range 100 {
			time.Sleep(10 * time.Second)
			c.Raw("\n")
		}
		c.ExpectNothing()
		if n := pipe.State().Pings; n != 0 {
			t.Errorf("%d pings", n)
		}
	})
}

// A pong counts from when it comes, not from when it is due.
func TestSilenceAfterPong(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		_, pipe, _ := w.connect(t, "heart-beat:10000,0")
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if n := pipe.State().Pings; n != 1 {
			t.Fatalf("%d pings", n)
		}
		pipe.Mute() // the pong came at about 15s
		start := time.Now()
		w.observer.ExpectEnd(t, stomp.ReasonHeartBeatTimeout)
		within(t, "given up", time.Since(start), 19*time.Second, 20*time.Second)
		if n := pipe.State().Pings; n != 2 {
			t.Errorf("%d pings", n)
		}
	})
}

// A ping that falls due while messages are on their way to the client is not
// forgotten: it may be all that a throttled tab would answer.
func TestPingBesideMessages(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		reader, pipe, _ := w.connect(t, "heart-beat:10000,0")
		reader.Subscribe("1", "/topic/a")
		sender, _, _ := w.connect(t)
		time.Sleep(14500 * time.Millisecond)
		pipe.Freeze()
		sender.Publish("/topic/a", "being written while the ping falls due")
		time.Sleep(time.Second)
		sender.Publish("/topic/a", "waits with the ping")
		synctest.Wait()
		pipe.Thaw()
		reader.Expect(frame.Message)
		reader.Expect(frame.Message)
		synctest.Wait()
		if n := pipe.State().Pings; n != 1 {
			t.Errorf("%d pings after 15s of silence", n)
		}
	})
}

// EOLs come in time, whatever else is sent, and not while messages do as well.
func TestServerHeartBeats(t *testing.T) {
	for _, tt := range []struct {
		send  time.Duration
		wants string
		every time.Duration
	}{
		{10 * time.Second, "0,10000", 10 * time.Second},
		{10 * time.Second, "0,1", 10 * time.Second},
		{time.Second, "0,5000", 5 * time.Second},
		{time.Second, "0,1000", time.Second},
		{200 * time.Millisecond, "0,200", 200 * time.Millisecond},
		{time.Second, "0,400", time.Second},
	} {
		bubble(t, stomp.Policy{HeartBeatSend: tt.send}, func(t *testing.T, w *world) {
			time.Sleep(51 * time.Millisecond)
			c, _, _ := w.connect(t, "heart-beat:"+tt.wants)
			last := time.Now()
			c.WaitHeartBeats(100)
			for i, at := range c.HeartBeats() {
				if gap := at.Sub(last); gap > tt.every || gap < tt.every/3 {
					t.Errorf("%v with %s: heart-beat %d after %v", tt.send, tt.wants, i, gap)
				}
				last = at
			}
		})
	}
}

func TestNoHeartBeatsBesideMessages(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t, "heart-beat:0,10000")
		c.Subscribe("1", "/topic/a")
		for range 50 {
			time.Sleep(5 * time.Second)
			c.Publish("/topic/a", "x")
			c.Expect(frame.Message)
		}
		if n := len(c.HeartBeats()); n != 0 {
			t.Errorf("%d heart-beats on a busy connection", n)
		}
	})
}

func TestNoHeartBeatsUnlessAgreed(t *testing.T) {
	for _, tt := range []struct {
		policy  stomp.Policy
		connect string
	}{
		{stomp.Policy{}, "heart-beat:10000,0"},
		{stomp.Policy{HeartBeatSend: -1}, "heart-beat:10000,10000"},
		{stomp.Policy{}, "accept-version:1.0"},
	} {
		bubble(t, tt.policy, func(t *testing.T, w *world) {
			c, _, _ := w.connect(t, tt.connect)
			time.Sleep(10 * time.Minute)
			if n := len(c.HeartBeats()); n != 0 {
				t.Errorf("%+v: %d heart-beats", tt, n)
			}
		})
	}
}

// A socket that never sends CONNECT is told why it is closed, and nobody else
// ever hears of it. Signs of life do not help.
func TestConnectTimeout(t *testing.T) {
	for _, limit := range []time.Duration{0, 3 * time.Second} {
		bubble(t, stomp.Policy{Limits: stomp.Limits{Connect: limit}}, func(t *testing.T, w *world) {
			if limit == 0 {
				limit = 10 * time.Second // the default
			}
			start := time.Now()
			c, _ := w.dial(t)
			for range 4 {
				time.Sleep(limit / 5)
				c.Raw("\n")
			}
			c.Raw("CONN")
			f, closing := c.ExpectError("connect_timeout")
			within(t, "closed", time.Since(start), limit, limit+200*time.Millisecond)
			if closing.Code != 1008 {
				t.Errorf("%v after %v", closing, f)
			}
			if s := w.Stats(); s.Connects != 0 || s.Ends[stomp.ReasonPolicy] != 0 {
				t.Errorf("counted: %+v", s)
			}
			w.observer.ExpectOnce(t, 0)
		})
	}
}

// The histogram of detection: what was silent for how long.
func TestDetectionStats(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t)
		time.Sleep(700 * time.Millisecond)
		c.Abort()
		w.observer.ExpectEnd(t, stomp.ReasonConnectionLost)
		_, pipe, _ := w.connect(t, "heart-beat:10000,0")
		pipe.Mute()
		e := w.observer.ExpectEnd(t, stomp.ReasonHeartBeatTimeout)
		s, bounds := w.Stats(), stomp.DetectionBounds()
		for i, n := range s.Detection {
			want := uint64(0)
			if i < len(bounds) && (bounds[i] == 1 || bounds[i] == 21) {
				want = 1
			}
			if n != want {
				t.Errorf("%d in the bucket up to %v", n, bounds[min(i, len(bounds)-1)])
			}
		}
		if s.DetectionSum != 700*time.Millisecond+e.Silence {
			t.Errorf("sum %v", s.DetectionSum)
		}
		if s.Ends[stomp.ReasonConnectionLost] != 1 || s.Ends[stomp.ReasonHeartBeatTimeout] != 1 || s.Connects != 2 {
			t.Errorf("%+v", s)
		}
	})
}
