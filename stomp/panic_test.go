package stomp_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// bomb is a guest that panics wherever it is told to.
type bomb struct {
	where string
	feed  *stomp.Feed
}

func (b *bomb) blow(where string) {
	if b.where == where {
		var nobody *stomp.Session
		_ = nobody.ID() // as our own bugs do
	}
}

func (b *bomb) Send(*stomp.Session, *frame.Frame) error {
	b.blow("Send")
	return nil
}

func (b *bomb) Check(*stomp.Session, *frame.Frame) error {
	b.blow("Check")
	return nil
}

func (b *bomb) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	b.blow("Subscribe")
	return b.feed, nil, nil
}

func (b *bomb) Authenticate(hs *stomp.Handshake, f *frame.Frame) (*stomp.Handshake, error) {
	if f.Header.Get(frame.HdrLogin) == "bomb" {
		b.blow("Authenticate")
	}
	return hs, nil
}

// A guest that panics ends the session that it was called for, with 1011 and an
// ERROR that says nothing of our code. Nobody else is touched, and no lock and no
// count is left behind.
func TestPanics(t *testing.T) {
	for _, tt := range []struct {
		where     string
		connected bool
		act       func(c *stomptest.Client, pipe *stomptest.Pipe, b *bomb)
	}{
		{"Send", true, func(c *stomptest.Client, _ *stomptest.Pipe, _ *bomb) { c.Publish("/app/bomb", "x") }},
		{"Check", true, func(c *stomptest.Client, _ *stomptest.Pipe, _ *bomb) {
			c.Send(frame.Begin, "", "transaction:1")
			c.Publish("/app/bomb", "x", "transaction:1")
		}},
		{"Subscribe", true, func(c *stomptest.Client, _ *stomptest.Pipe, _ *bomb) {
			c.Send(frame.Subscribe, "", "id:1", "destination:/app/bomb")
		}},
		{"Reset", true, func(c *stomptest.Client, pipe *stomptest.Pipe, b *bomb) { // on the writing goroutine, with locks held
			c.Subscribe("1", "/app/bomb")
			pipe.Freeze()
			for i := range uint64(3) { // one is written, one is kept
				b.feed.Append(i, []byte("x"))
				synctest.Wait()
			}
			pipe.Thaw()
			c.Expect(frame.Message)
		}},
		{"Authenticate", false, func(c *stomptest.Client, _ *stomptest.Pipe, _ *bomb) {
			c.Send(frame.Connect, "", "accept-version:1.2", "login:bomb")
		}},
		{"Connected", false, func(c *stomptest.Client, _ *stomptest.Pipe, _ *bomb) {
			c.Send(frame.Connect, "", "accept-version:1.2", "login:bomb")
		}},
	} {
		t.Run(tt.where, func(t *testing.T) {
			b := &bomb{where: tt.where}
			b.feed = stomp.NewFeed(stomp.FeedConfig{Keep: 1, Reset: func(uint64) []byte {
				b.blow("Reset")
				return nil
			}})
			bubble(t, stomp.Policy{Authenticator: b}, func(t *testing.T, w *world) {
				log := new(bytes.Buffer)
				w.SetLogger(slog.New(slog.NewTextHandler(log, nil)))
				w.observer.Refuse = func(f *frame.Frame) error {
					if f.Header.Get(frame.HdrLogin) == "bomb" {
						b.blow("Connected")
					}
					return nil
				}
				w.SetMounts(mounts{"/app/bomb": b})
				witness := w.client(t)
				witness.Subscribe("1", "/topic/a")
				c, pipe := w.dial(t)
				if tt.connected {
					c.Connect()
				}
				tt.act(c, pipe, b)
				if f, closing := c.ExpectError("internal error"); closing.Code != 1011 || strings.Contains(stomptest.Show(f), "nil") {
					t.Errorf("closed with %v after %s", closing, stomptest.Show(f))
				}
				if tt.connected {
					w.observer.ExpectEnd(t, stomp.ReasonInternalError)
				}
				if entry := log.String(); !strings.Contains(entry, "nil pointer") || !strings.Contains(entry, "panic_test.go") {
					t.Errorf("logged %q", entry)
				}
				witness.Publish("/topic/a", "still here")
				expectBodies(t, witness, "still here")
				w.client(t).ExpectNothing()
				if n := w.endpoint.Sessions(); n != 2 {
					t.Errorf("%d sessions are counted, want 2", n)
				}
			})
		})
	}
}

// An Observer that panics when it is told of an end, on the wheel's goroutine:
// the wheel goes on looking after the others.
func TestPanicOfTheWheel(t *testing.T) {
	observer := stomptest.NewObserver()
	synctest.Test(t, func(t *testing.T) {
		b := stomp.NewBroker(stomp.Config{Observer: endBomb{observer}})
		log := new(bytes.Buffer)
		b.SetLogger(slog.New(slog.NewTextHandler(log, nil)))
		e := b.Endpoint("/", stomp.Policy{})
		for range 3 { // one after the other
			c, pipe := stomptest.Dial(t, e, nil)
			c.Patience = time.Hour
			id := c.Connect("heart-beat:1000,0").Header.Get(frame.HdrSession)
			pipe.Mute()
			time.Sleep(time.Minute)
			if b.Session(id) != nil || e.Sessions() != 0 || b.Connections() != 0 {
				t.Error("the session is still there")
			}
		}
		if n := strings.Count(log.String(), "panic: the end of"); n < 3 {
			t.Errorf("%d panics were logged, want 3", n)
		}
	})
}

type endBomb struct{ *stomptest.Observer }

func (endBomb) Ended(s *stomp.Session, _ stomp.End) { panic("the end of " + s.ID()) }
