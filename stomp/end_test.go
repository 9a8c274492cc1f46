package stomp_test

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// However many find out at the same time: one end, one word to the Observer.
func TestEndsOnce(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		const rounds = 300
		for range rounds {
			c, pipe, s := w.connect(t)
			c.Subscribe("1", "/topic/a")
			var wg sync.WaitGroup
			var won atomic.Int32
			start := make(chan struct{})
			race := func(f func()) {
				wg.Go(func() {
					<-start
					f()
				})
			}
			for range 4 {
				race(func() {
					if s.End(stomp.End{Reason: stomp.ReasonPolicy}) {
						won.Add(1)
					}
				})
			}
			race(func() { c.Raw("DISCONNECT\nreceipt:1\n\n\x00") })
			race(func() { c.Raw("NONSENSE\n\n\x00") })
			race(func() { pipe.End(stomp.Ending{Code: 1006, Err: io.EOF}) })
			race(func() { pipe.Fail(io.ErrClosedPipe) })
			close(start)
			wg.Wait()
			synctest.Wait()
			e := w.observer.NextEnd(t)
			if (e.Reason == stomp.ReasonPolicy) != (won.Load() == 1) || won.Load() > 1 {
				t.Fatalf("%d calls of End have ended the session; its reason is %v", won.Load(), e.Reason)
			}
			if s.End(stomp.End{Reason: stomp.ReasonPolicy}) {
				t.Fatal("an ended session was ended again")
			}
		}
		w.observer.ExpectOnce(t, rounds)
		if n := w.endpoint.Sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// How connections end, and what the Observer is told.
func TestReasonOfTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ending stomp.Ending
		reason stomp.Reason
		code   int
	}{
		{"normal", stomp.Ending{Code: 1000}, stomp.ReasonClosed, 1000},
		{"going away", stomp.Ending{Code: 1001}, stomp.ReasonClosed, 1001},
		{"no code", stomp.Ending{Code: 1005}, stomp.ReasonClosed, 1005},
		{"application", stomp.Ending{Code: 4321}, stomp.ReasonClosed, 4321},
		{"no handshake", stomp.Ending{Code: 1006, Err: io.EOF}, stomp.ReasonConnectionLost, 1006},
		{"the client's complaint", stomp.Ending{Code: 1007}, stomp.ReasonProtocolError, 1007},
		{"broken transport", stomp.Ending{Code: 1002, Err: io.ErrNoProgress}, stomp.ReasonProtocolError, 1002},
		{
			"refusal of the transport",
			stomp.Ending{Code: 1006, Err: &stomp.Error{Message: "too large", Reason: stomp.ReasonPolicy, Code: 1009}},
			stomp.ReasonPolicy, 1009,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				_, pipe, _ := w.connect(t)
				time.Sleep(3 * time.Second)
				pipe.End(tt.ending)
				e := w.observer.ExpectEnd(t, tt.reason)
				if e.Code != tt.code || !errors.Is(e.Err, tt.ending.Err) || e.Silence != 3*time.Second || !e.At.Equal(time.Now()) {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

// ERROR, if there is a text, then the close with the reason's code.
func TestEndOnTheWire(t *testing.T) {
	for _, r := range stomp.Reasons() {
		switch r {
		case stomp.ReasonConnectionLost, stomp.ReasonServerCrash, stomp.ReasonNodeLost:
			continue // nobody is there to be told
		default:
		}
		for _, text := range []string{"", "why: because"} {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, _, s := w.connect(t)
				s.End(stomp.End{Reason: r, Text: text})
				if !r.Clean() {
					f := c.Expect(frame.Error)
					if text != "" && f.Header.Get("message") != text {
						t.Errorf("%v: %v", r, f)
					}
				}
				if closing := c.ExpectClose(r.Code()); text != "" && closing.Text != text {
					t.Errorf("%v: %v", r, closing)
				}
				w.observer.ExpectEnd(t, r)
			})
		}
	}
}

// A client that does not answer the close is dropped, in time.
func TestCloseTimeout(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, pipe, s := w.connect(t)
		pipe.Mute()
		start := time.Now()
		s.End(stomp.End{Reason: stomp.ReasonPolicy})
		w.observer.ExpectEnd(t, stomp.ReasonPolicy) // at once
		c.ExpectError("policy")
		within(t, "told", time.Since(start), 0, 0)
		time.Sleep(stomp.CloseTimeout - time.Millisecond)
		if pipe.State().Aborted {
			t.Error("dropped too early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !pipe.State().Aborted || w.Connections() != 0 {
			t.Errorf("not dropped: %+v", pipe.State())
		}
	})
}

// Nor does one that does not even read hold anybody up.
func TestCloseTimeoutOfAFrozenClient(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		_, pipe, s := w.connect(t)
		pipe.Freeze()
		s.End(stomp.End{Reason: stomp.ReasonPolicy})
		w.observer.ExpectEnd(t, stomp.ReasonPolicy)
		synctest.Wait()
		if !pipe.State().Blocked {
			t.Error("the server does not try to tell")
		}
		time.Sleep(stomp.CloseTimeout + time.Millisecond)
		synctest.Wait()
		if !pipe.State().Aborted || w.Connections() != 0 {
			t.Errorf("not dropped: %+v", pipe.State())
		}
	})
}

// Whoever was ended has no say any more, not even while the closing handshake
// is under way.
func TestEndedSessionIsNotHeard(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		witness, _, _ := w.connect(t)
		witness.Subscribe("1", "/topic/a")
		mount := &echoMount{}
		w.SetMounts(mounts{"/mount": mount})
		c, pipe, s := w.connect(t)
		pipe.Mute()
		s.End(stomp.End{Reason: stomp.ReasonPolicy, Text: "kicked"})
		c.ExpectError("kicked")
		c.Publish("/topic/a", "still here")
		c.Publish("/mount", "still here")
		synctest.Wait()
		witness.ExpectNothing()
		if n := mount.sends.Load(); n != 0 {
			t.Errorf("a mount was given %d frames of an ended session", n)
		}
	})
}

type echoMount struct {
	sends atomic.Int32
	feed  *stomp.Feed
}

func (m *echoMount) Send(*stomp.Session, *frame.Frame) error {
	m.sends.Add(1)
	return nil
}

func (m *echoMount) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	if m.feed == nil {
		return nil, nil, stomp.Refuse("write only")
	}
	return m.feed, nil, nil
}

// The Observer refuses with a word of its own, and is not told of the end.
func TestObserverRefuses(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		w.observer.Refuse = func(f *frame.Frame) error {
			if f.Header.Get("login") == "eve" {
				return stomp.Refuse("not you, eve")
			}
			return nil
		}
		c, _ := w.dial(t)
		c.Send(frame.Connect, "", "accept-version:1.2", "host:x", "login:eve")
		if _, closing := c.ExpectError("not you, eve"); closing.Code != 1008 {
			t.Error(closing)
		}
		w.connect(t, "login:mina")
		if n := w.endpoint.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if len(w.Sessions()) != 1 {
			t.Errorf("sessions %v", w.Sessions())
		}
	})
}
