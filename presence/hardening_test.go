package presence

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Attack: a forged announcement, in all spellings of the destination that
// reach its subscribers.
func TestForgedAnnouncement(t *testing.T) {
	for _, tt := range []struct {
		destination string
		refused     bool
	}{
		{announceAt, true},
		{announceAt + "/", true},
		{announceAt + "//", false}, // another destination, without subscribers
	} {
		t.Run(tt.destination, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt, "a")
				peer.subscribe(announceAt+"/", "b")
				peer.subscribe(registerAt, "r")
				settle()
				before := len(peer.received())
				c := s.connect(t, "mina-0001")
				c.send(frame.Send, `[{"type":"left","sessionId":"peer-0001"}]`, frame.HdrDestination, tt.destination, frame.HdrContentType, "application/json")
				settle()
				if got := peer.received()[before:]; len(got) != 0 {
					t.Errorf("the peer got %s", got[0].Data)
				}
				if got := c.refusal(t); strings.Contains(got, "cannot be sent to") != tt.refused {
					t.Errorf("ERROR says %q", got)
				}
				if tt.refused && c.closeCode() != stomp.ReasonPolicy.Code() {
					t.Errorf("closed with %d", c.closeCode())
				}
			})
		})
	}
}

// A destination may end in a slash, where it is configured and where it is
// used.
func TestTrailingSlash(t *testing.T) {
	for _, slash := range []struct{ configured, used string }{{"", ""}, {"", "/"}, {"/", ""}, {"/", "/"}} {
		t.Run(fmt.Sprintf("configured %q used %q", slash.configured, slash.used), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				s.configure(t, Settings{Register: registerAt + slash.configured, Announce: announceAt + slash.configured})
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt+slash.used, "a")
				peer.subscribe(registerAt+slash.used, "r")
				settle()
				c := s.connect(t, "mina-0001")
				c.send(frame.Send, `{"clientData":1}`, frame.HdrDestination, registerAt+slash.used)
				settle()
				s.wantRight(t, peer, "r")
				if got := peer.news(t, "a"); len(got) != 1 || got[0].Type != "joined" {
					t.Errorf("announced %s", peer.bodies(t, "a"))
				}
				for _, f := range peer.frames(t) { // clients look their subscription up by what they asked for
					d := f.Header.Get(frame.HdrDestination)
					if f.Command == frame.Message && d != announceAt+slash.used && d != registerAt+slash.used {
						t.Errorf("destination %q", d)
					}
				}
			})
		})
	}
}

// A wildcard that matches reads announcements, as they are told to all.
func TestAnnouncementsToWildcards(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		peer := s.connect(t, "peer-0001")
		for _, pattern := range []string{"/topic/*", "/topic/**"} {
			peer.subscribe(pattern, pattern)
		}
		settle()
		s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`).hangUp(1006)
		settle()
		for _, pattern := range []string{"/topic/*", "/topic/**"} {
			if got := peer.news(t, pattern); len(got) != 2 || got[0].Type != "joined" || got[1].Type != "left" {
				t.Errorf("%s: %s", pattern, peer.bodies(t, pattern))
			}
		}
	})
}

// Attack: the id of a session that is about to end. An id that was released
// before the registry knew of the end could be taken by somebody else, whose
// entry then went with the first one's.
func TestSessionIDIsTakenUntilTheEndIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(morning))
		late := &lateObserver{}
		s := newServer(t, func(r *Registry) stomp.Observer { late.Registry = r; return late })
		defer s.close()
		peer := s.connect(t, "peer-0001")
		peer.subscribe(announceAt, "p")
		victim := s.connect(t, "victim-01", stomp.ClientDataHeader, `"victim"`)
		var thief *client
		late.before = func() {
			for range 10_000 { // so many ends, and the id is not a recent one any more
				s.connectAs(t, stomp.Handshake{}).hangUp(1000)
			}
			thief = s.dial(t, stomp.Handshake{SessionID: "victim-01"})
			thief.connect(stomp.ClientDataHeader, `"thief"`)
		}
		late.armed.Store(true)
		victim.hangUp(1006)
		settle()
		if v := s.registry.Get(thief.session.ID()); v == nil || string(v.ClientData) != `"thief"` {
			t.Errorf("the registry lost %s", thief.session.ID())
		}
		if n := len(s.roster()); n != 1 {
			t.Errorf("the roster has %d sessions, want 1", n)
		}
		if got := peer.news(t, "p"); len(got) != 3 || got[1].SessionID == got[0].SessionID {
			t.Errorf("announced %s", peer.bodies(t, "p"))
		}
	})
}

// lateObserver is a registry whose mutex somebody else holds for a while.
type lateObserver struct {
	*Registry
	armed  atomic.Bool
	before func()
}

func (o *lateObserver) Ended(s *stomp.Session, end stomp.End) {
	if o.armed.CompareAndSwap(true, false) {
		o.before()
	}
	if o.Get(s.ID()) != nil { // else the registry would panic, and the test could not say why
		o.Registry.Ended(s, end)
	}
}
