package stomp

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// brittle is a transport that panics when it writes a MESSAGE.
type brittle struct {
	discard
	aborted *atomic.Bool
}

func (b brittle) Abort() { b.aborted.Store(true) }

func (b brittle) Write(batch []*Message) error {
	for _, m := range batch {
		if bytes.HasPrefix(m.Data, []byte("MESSAGE")) {
			panic("brittle")
		}
	}
	return nil
}

// A transport that panics while it writes is dropped; the publisher, and whoever
// subscribed to the same, do not notice.
func TestPanicOfATransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // until the wheel stops
		log := new(bytes.Buffer)
		b := NewBroker(Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
		e := b.Endpoint("/", Policy{})
		var aborted atomic.Bool
		fragile, other := open(t, e, brittle{aborted: &aborted}), open(t, e, discard{})
		for _, s := range []*Session{fragile, other} {
			say(t, s, "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00")
		}
		for range 3 {
			say(t, other, "SEND\ndestination:/topic/a\n\nx\x00")
			synctest.Wait()
		}
		if !aborted.Load() || fragile.connectedNow() || !other.connectedNow() {
			t.Errorf("aborted %v, connected %v and %v", aborted.Load(), fragile.connectedNow(), other.connectedNow())
		}
		if s := b.Stats(); s.Ends[ReasonInternalError] != 1 || s.Subscriptions != 1 {
			t.Errorf("%+v", s)
		}
		if n := strings.Count(log.String(), "panic: brittle"); n != 1 {
			t.Errorf("%d panics were logged: %s", n, log)
		}
	})
}
