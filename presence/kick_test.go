package presence

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func TestKick(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		if s.registry.Kick("mina-0001", "") {
			t.Error("kicked nobody")
		}
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		if !s.registry.Kick("mina-0001", " be gone ") {
			t.Error("not kicked")
		}
		settle()
		if c.refusal(t) != "be gone" || c.closeCode() != stomp.ReasonPolicy.Code() {
			t.Errorf("ERROR %q, close %d", c.refusal(t), c.closeCode())
		}
		wantTypes(t, "connected", s.told.types("mina-0001"), Connected, Joined, Left)

		lost := s.connect(t, "zoe-00001", stomp.ClientDataHeader, `1`)
		token := lost.token(t)
		lost.hangUp(1006)
		time.Sleep(time.Second)
		if !s.registry.Kick("zoe-00001", "") {
			t.Error("not kicked")
		}
		settle()
		wantTypes(t, "unreachable", s.told.types("zoe-00001"), Connected, Joined, Unreachable, Left)
		if left := s.told.of("zoe-00001")[3]; left.Reason != stomp.ReasonPolicy || left.Code != 1008 || left.Unreachable {
			t.Errorf("left is %+v", left)
		}
		if back := s.comeBack(t, stomp.Handshake{}, token); back.session.ID() == "zoe-00001" {
			t.Error("a kicked session came back")
		}
		time.Sleep(2 * grace)
		wantTypes(t, "later", s.told.types("zoe-00001"), Connected, Joined, Unreachable, Left)
	})
}

// A kick is final, even of a session that is just being lost.
func TestKickWhileItIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(morning))
		late := &lateObserver{}
		s := newServerWith(t, Settings{Grace: grace}, func(r *Registry) stomp.Observer { late.Registry = r; return late })
		defer s.close()
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		token := c.token(t)
		late.before = func() {
			if !s.registry.Kick("mina-0001", "") {
				t.Error("not kicked")
			}
		}
		late.armed.Store(true)
		c.hangUp(1006)
		settle()
		wantTypes(t, "listener", s.told.types("mina-0001"), Connected, Joined, Left)
		if back := s.comeBack(t, stomp.Handshake{}, token); back.session.ID() == "mina-0001" {
			t.Error("it came back")
		}
	})
}

// A kick is final, even of a session whose next connection is on its way.
func TestKickWhileItIsTakenOver(t *testing.T) {
	for _, lost := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(morning))
			kicker := &kickingObserver{}
			s := newServerWith(t, Settings{Grace: grace}, func(r *Registry) stomp.Observer { kicker.Registry = r; return kicker })
			defer s.close()
			c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
			token := c.token(t)
			if lost {
				c.hangUp(1006)
			}
			back := s.dial(t, stomp.Handshake{})
			if err := back.connect(ResumeTokenHeader, token); err == nil {
				t.Errorf("lost %v: it came back as %s", lost, back.session.ID())
			}
			settle()
			types := s.told.types("mina-0001")
			if types[len(types)-1] != Left || strings.Count(fmt.Sprint(types), "left") != 1 || s.registry.Get("mina-0001") != nil {
				t.Errorf("lost %v: told %v", lost, types)
			}
		})
	}
}

// kickingObserver kicks every session that is about to be resumed.
type kickingObserver struct{ *Registry }

func (o *kickingObserver) Resume(hs *stomp.Handshake, connect *frame.Frame) (string, func()) {
	id, done := o.Registry.Resume(hs, connect)
	if id != "" {
		o.Kick(id, "")
	}
	return id, done
}
