package presence

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Attack: connect, break off, and connect again as somebody new. Who waits in the
// grace is bounded as those who are connected are.
func TestUnreachableSessionsAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit func(l *stomp.Limits)
		hs    stomp.Handshake
	}{
		{"of the endpoint", func(l *stomp.Limits) { l.Sessions = 3 }, stomp.Handshake{}},
		{"of a user", func(l *stomp.Limits) { l.SessionsPerUser = 3 }, stomp.Handshake{User: "mina"}},
		{"of an address", func(l *stomp.Limits) { l.SessionsPerAddress = 3 }, stomp.Handshake{Address: "192.0.2.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubbleWith(t, Settings{Grace: time.Hour}, func(t *testing.T, s *server) {
				p := testPolicy()
				tt.limit(&p.Limits)
				s.endpoint.SetPolicy(p)
				var first *client
				for i := range 20 {
					hs := tt.hs
					hs.SessionID = fmt.Sprintf("session-%d", i)
					c := s.connectAs(t, hs, stomp.ClientDataHeader, "1")
					if first == nil {
						first = c
					}
					c.hangUp(1006)
					settle()
				}
				if n := s.registry.Stats().Unreachable; n != 3 {
					t.Errorf("%d sessions wait, want 3", n)
				}
				wantTypes(t, "one too many", s.told.types("session-19"), Connected, Joined, Left)
				// who comes back makes room for another
				hs := tt.hs
				s.comeBack(t, hs, first.token(t)).disconnect()
				settle()
				hs.SessionID = "session-20"
				s.connectAs(t, hs, stomp.ClientDataHeader, "1").hangUp(1006)
				settle()
				if v := s.registry.Get("session-20"); v == nil || !v.Unreachable {
					t.Errorf("the one that has room again: %+v", v)
				}
				time.Sleep(time.Hour)
				settle()
				if n := s.registry.Stats().Sessions; n != 0 || len(s.registry.waiting) != 0 {
					t.Errorf("%d sessions are left, counted by %v", n, s.registry.waiting)
				}
			})
		})
	}
}

// Attack: join as many rooms as allowed, break off, come back to join as many
// others, and break off before the first ones are given up.
func TestRoomsOfReturnsDoNotAddUp(t *testing.T) {
	inBubbleWith(t, Settings{Grace: time.Hour, Rooms: rooms}, func(t *testing.T, s *server) {
		const limit = 4
		p := testPolicy()
		p.Limits.Subscriptions = limit
		s.endpoint.SetPolicy(p)
		c := s.connect(t, "session-1", stomp.ClientDataHeader, "1")
		for round := range 10 {
			for i := range limit {
				if err := c.subscribe(fmt.Sprintf("/topic/rooms/%d-%d", round, i), fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(s.registry.Session("session-1").Rooms); n > limit {
				t.Fatalf("in %d rooms, %d subscriptions are allowed", n, limit)
			}
			token := c.token(t)
			c.hangUp(1006)
			settle()
			c = s.comeBack(t, stomp.Handshake{}, token)
		}
	})
}

// Attack: be in many rooms and talk, while somebody in each does not read. What
// is kept for them is bounded over all rooms, and who has missed something is
// told so, and is right as soon as he asks.
func TestFeedsOfManyRoomsAreBounded(t *testing.T) {
	inBubbleWith(t, Settings{Rooms: rooms}, func(t *testing.T, s *server) {
		const limit, inRooms = 1 << 20, 30
		s.registry.feeds = stomp.NewFeedBudget(limit)
		s.registry.updateEvery = 0
		talker := s.connect(t, "talker-001", stomp.ClientDataHeader, "0")
		idle, attentive := s.connect(t, "idle-00001"), s.connect(t, "attentive-1")
		for i := range inRooms {
			room := fmt.Sprintf("/topic/rooms/%d", i)
			talker.subscribe(room, fmt.Sprint(i))
			idle.subscribe(registerAt+room, fmt.Sprint(i))
			attentive.subscribe(registerAt+room, fmt.Sprint(i))
		}
		settle()
		idle.stall()
		for n := range 80 { // 320 KB to each room
			talker.register(fmt.Sprintf(`{"clientData":"%d%s"}`, n, strings.Repeat("x", 4000)))
			synctest.Wait()
			if kept := s.registry.feeds.Kept(); kept > limit {
				t.Fatalf("%d bytes are kept after %d updates", kept, n+1)
			}
		}
		settle()
		idle.resume()
		settle()
		for i := range inRooms {
			room, id := fmt.Sprintf("/topic/rooms/%d", i), fmt.Sprint(i)
			if p, err := (&reader{attentive, id, room}).picture(t); err != nil || p.reset || p.sameAs(s.rosterOf(room)) != nil {
				t.Errorf("who reads is wrong about %s: %v", room, err)
			}
			if p, err := (&reader{idle, id, room}).picture(t); err != nil || !p.reset {
				t.Errorf("who did not read was not told so in %s: %v", room, err)
			}
			idle.subscribe(registerAt+room, "again"+id)
			settle()
			if p, err := (&reader{idle, "again" + id, room}).picture(t); err != nil || p.sameAs(s.rosterOf(room)) != nil {
				t.Errorf("%s, asked again: %v", room, err)
			}
		}
	})
}
