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

const (
	roomA = "/topic/rooms/a"
	roomB = "/topic/rooms/b"
)

var rooms = []string{"/topic/rooms/*"}

// inRooms is what the listener was told of a session's rooms, in order.
func (l *listener) inRooms(id string) []string {
	var told []string
	for _, c := range l.of(id) {
		if c.Room != "" {
			told = append(told, strings.TrimSpace(fmt.Sprint(c.Type, " ", c.Room, " ", c.ReasonName())))
		}
	}
	return told
}

// To subscribe to a room is to join it, whatever the number of subscriptions.
func TestRoomJoinAndLeave(t *testing.T) {
	const a, b = " " + roomA, " " + roomB
	for _, tt := range []struct {
		name string
		do   func(c *client)
		want []string
	}{
		{"subscribes", func(c *client) { c.subscribe(roomA, "1") }, []string{"joined" + a}},
		{"subscribes to two", func(c *client) { c.subscribe(roomA, "1"); c.subscribe(roomB, "2") }, []string{"joined" + a, "joined" + b}},
		{"unsubscribes", func(c *client) { c.subscribe(roomA, "1"); c.unsubscribe("1") }, []string{"joined" + a, "left" + a + " unsubscribed"}},
		{"unsubscribes one of two", func(c *client) { c.subscribe(roomA, "1"); c.subscribe(roomA, "2"); c.unsubscribe("1") }, []string{"joined" + a}},
		{
			"unsubscribes two of two", func(c *client) {
				c.subscribe(roomA, "1")
				c.subscribe(roomA, "2")
				c.unsubscribe("1")
				c.unsubscribe("2")
			},
			[]string{"joined" + a, "left" + a + " unsubscribed"},
		},
		{
			"comes again", func(c *client) { c.subscribe(roomA, "1"); c.unsubscribe("1"); c.subscribe(roomA, "1") },
			[]string{"joined" + a, "left" + a + " unsubscribed", "joined" + a},
		},
		{
			"goes away", func(c *client) { c.subscribe(roomB, "1"); c.subscribe(roomA, "2"); c.hangUp(1006) },
			[]string{"joined" + b, "joined" + a, "left" + a + " connection-lost", "left" + b + " connection-lost"},
		},
		{"disconnects", func(c *client) { c.subscribe(roomA, "1"); c.subscribe(roomA, "2"); c.disconnect() }, []string{"joined" + a, "left" + a + " disconnect"}},
		{"a name with a star", func(c *client) { c.subscribe("/topic/rooms/a*b", "1"); c.unsubscribe("1") }, []string{"joined /topic/rooms/a*b", "left /topic/rooms/a*b unsubscribed"}},
		{"what is no room", func(c *client) {
			c.subscribe("/topic/other", "1")
			c.subscribe("/topic/rooms", "2")
			c.subscribe(roomA+"/x", "3")
		}, nil},
		{"a pattern", func(c *client) {
			c.subscribe("/topic/rooms/*", "1")
			c.subscribe("/topic/rooms/**", "2")
			c.unsubscribe("1")
			c.hangUp(1006)
		}, nil},
		{"the room's changes", func(c *client) { c.subscribe(roomA+roomSuffix, "1") }, nil},
		{"the room's roster", func(c *client) { c.subscribe(registerAt+roomA, "1") }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubbleWith(t, Settings{Rooms: rooms}, func(t *testing.T, s *server) {
				peer := s.peer(t, roomA+roomSuffix, roomB+roomSuffix, announceAt, registerAt+roomA)
				c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
				tt.do(c)
				settle()
				if c.refusal(t) != "" {
					t.Errorf("ERROR %s", c.refusal(t))
				}
				wantStrings(t, "listener", s.told.inRooms("mina-0001"), tt.want...)
				for subscription, room := range map[string]string{"a": roomA, "b": roomB} {
					var got, want []string
					for _, n := range peer.news(t, subscription) {
						got = append(got, strings.TrimSpace(n.Type+" "+n.Room+" "+n.Reason))
					}
					for _, w := range tt.want {
						if strings.Fields(w)[1] == room {
							want = append(want, w)
						}
					}
					wantStrings(t, "peer of "+room, got, want...)
				}
				for _, n := range peer.news(t, "c") { // all sessions' own destination says nothing of rooms
					if n.Room != "" {
						t.Errorf("told %+v", n)
					}
				}
				p := &picture{gaps: true, room: true}
				for _, body := range peer.bodies(t, "d") {
					if err := p.take(body); err != nil {
						t.Error(err)
					}
				}
				if err := p.sameAs(s.rosterOf(roomA)); err != nil {
					t.Errorf("roster of the room: %v", err)
				}
			})
		})
	}
}

// rosterOf is what the registry holds of a room, oldest member first.
func (s *server) rosterOf(room string) []*View {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	var views []*View
	sc := s.registry.scope(room, nil)
	for m := sc.roster.next; m != &sc.roster; m = m.next {
		views = append(views, m.view)
	}
	return views
}

func TestRoomWire(t *testing.T) {
	inBubbleWith(t, Settings{Rooms: rooms}, func(t *testing.T, s *server) {
		peer := s.peer(t, roomA+roomSuffix) // 200 ms
		c := s.connectAs(t, mina)
		c.subscribe(roomA, "1")
		settle()
		late := s.connect(t, "late-0001")
		late.subscribe(registerAt+roomA, "r")
		settle()
		c.unsubscribe("1")
		settle()
		const who = `"sessionId":"mina-0001","user":"mina","attributes":{"team":"red"},"connectedAt":"2100-01-01T10:00:00.200Z"`
		bodies := peer.bodies(t, "a")
		wantJSON(t, bodies[0], `[{"stream":"stream-1","seq":2,"type":"joined","room":"/topic/rooms/a",`+who+`,"at":"2100-01-01T10:00:00.200Z","userSessions":1}]`)
		left := `[{"stream":"stream-1","seq":3,"type":"left","room":"/topic/rooms/a",` + who + `,"reason":"unsubscribed","clean":true,"connectedFor":0.4,"at":"2100-01-01T10:00:00.600Z","userSessions":0}]`
		wantJSON(t, bodies[1], left)
		wantJSON(t, late.bodies(t, "r")[0], `{"stream":"stream-1","seq":2,"more":false,"sessions":[{`+who+`}]}`)
		wantJSON(t, late.bodies(t, "r")[1], left)
	})
}

// Who is not known is not announced in a room, but in all of his once he is;
// what is new of him is told in each.
func TestRoomsOfTheUnknown(t *testing.T) {
	inBubbleWith(t, Settings{Rooms: rooms}, func(t *testing.T, s *server) {
		peer := s.peer(t, roomA+roomSuffix, roomB+roomSuffix, announceAt)
		c := s.connect(t, "mina-0001")
		c.subscribe(roomA, "1")
		c.subscribe(roomB, "2")
		c.unsubscribe("2")
		c.subscribe(roomB, "3")
		settle()
		for _, subscription := range []string{"a", "b", "c"} {
			wantStrings(t, subscription, peer.told(t, subscription))
		}
		c.register(`{"clientData":1}`)
		c.register(`{"clientData":2}`)
		c.hangUp(1006)
		settle()
		for _, subscription := range []string{"a", "b", "c"} {
			wantStrings(t, subscription, peer.told(t, subscription), "joined mina-0001", "updated mina-0001", "left mina-0001")
		}
		// and nobody hears of one who never was known
		s.connect(t, "anon-0001").subscribe(roomA, "1")
		s.clients[len(s.clients)-1].hangUp(1006)
		settle()
		if got := s.told.inRooms("anon-0001"); got != nil {
			t.Errorf("told %v", got)
		}
	})
}

// Rooms outlast a loss; those that are not subscribed to again within 5 s of
// the return are left.
func TestRoomsAfterTheReturn(t *testing.T) {
	inBubbleWith(t, Settings{Rooms: rooms, Grace: grace, AnnounceUnreachable: true}, func(t *testing.T, s *server) {
		peer := s.peer(t, roomA+roomSuffix, roomB+roomSuffix)
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		token := c.token(t)
		c.subscribe(roomA, "1")
		c.subscribe(roomB, "2")
		c.hangUp(1006)
		time.Sleep(grace / 2)
		back := s.comeBack(t, stomp.Handshake{}, token)
		back.subscribe(roomB, "2")
		time.Sleep(resubscribeWithin - time.Millisecond)
		synctest.Wait()
		wantStrings(t, "a, in time", peer.told(t, "a"), "joined mina-0001", "unreachable mina-0001", "returned mina-0001")
		time.Sleep(time.Millisecond)
		settle()
		wantStrings(t, "a", peer.told(t, "a"), "joined mina-0001", "unreachable mina-0001", "returned mina-0001", "left mina-0001")
		wantStrings(t, "b", peer.told(t, "b"), "joined mina-0001", "unreachable mina-0001", "returned mina-0001")
		back.unsubscribe("2") // the only subscription of this connection
		settle()
		wantStrings(t, "b", peer.told(t, "b"), "joined mina-0001", "unreachable mina-0001", "returned mina-0001", "left mina-0001")
	})
}

// Who returns twice in 5 s has them from the second time on.
func TestRoomsAfterTwoReturns(t *testing.T) {
	inBubbleWith(t, Settings{Rooms: rooms, Grace: grace}, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		c.subscribe(roomA, "1")
		for range 2 {
			token := c.token(t)
			c.hangUp(1006)
			time.Sleep(time.Second)
			c = s.comeBack(t, stomp.Handshake{}, token)
			time.Sleep(3 * time.Second)
		}
		wantStrings(t, "after two returns", s.told.inRooms("mina-0001"),
			"joined "+roomA, "unreachable "+roomA+" connection-lost", "returned "+roomA, "unreachable "+roomA+" connection-lost", "returned "+roomA)
		c.subscribe(roomA, "1")
		time.Sleep(time.Minute)
		if got := len(s.told.inRooms("mina-0001")); got != 5 {
			t.Errorf("told %v", s.told.inRooms("mina-0001"))
		}
	})
}

// Attack: announcements of rooms, forged.
func TestForgedRoomAnnouncement(t *testing.T) {
	for _, destination := range []string{roomA + roomSuffix, roomA + roomSuffix + "/", registerAt + roomA, registerAt + roomA + "/"} {
		for _, transaction := range []bool{false, true} {
			inBubbleWith(t, Settings{Rooms: rooms}, func(t *testing.T, s *server) {
				peer := s.peer(t, roomA+roomSuffix, registerAt+roomA, roomA+roomSuffix+"/")
				before := len(peer.received())
				c := s.connect(t, "mina-0001")
				header := []string{frame.HdrDestination, destination}
				if transaction {
					c.send(frame.Begin, "", frame.HdrTransaction, "tx")
					header = append(header, frame.HdrTransaction, "tx")
				}
				c.send(frame.Send, `[]`, header...)
				if transaction {
					c.send(frame.Commit, "", frame.HdrTransaction, "tx")
				}
				settle()
				if !strings.Contains(c.refusal(t), "cannot be sent to") || len(peer.received()) != before {
					t.Errorf("%s, transaction %v: ERROR %q, the peer got %d messages", destination, transaction, c.refusal(t), len(peer.received())-before)
				}
				if err := s.broker.Publishable(destination); err == nil {
					t.Errorf("%s: the server's own Publish takes it", destination)
				}
			})
		}
	}
}

// Scopes that nobody is in, reads or is about to read are forgotten.
func TestScopesAreForgotten(t *testing.T) {
	inBubbleWith(t, Settings{Rooms: []string{"/topic/**"}}, func(t *testing.T, s *server) {
		member := s.connect(t, "member-01", stomp.ClientDataHeader, `1`)
		member.subscribe("/topic/member", "1")
		s.peer(t, "/topic/read"+roomSuffix)
		gone := s.connect(t, "gone-0001", stomp.ClientDataHeader, `1`)
		visit := func(from, to int) {
			for i := from; i < to; i++ {
				gone.subscribe(fmt.Sprint("/topic/", i), "1")
				gone.unsubscribe("1")
				gone.subscribe(fmt.Sprint(registerAt, "/topic/", i), "1")
				gone.unsubscribe("1")
				synctest.Wait()
			}
		}
		visit(0, 1000)
		time.Sleep(2 * askedFor)
		asked := s.registry.roomScope("/topic/asked")
		visit(1000, 4000)
		s.registry.mu.Lock()
		defer s.registry.mu.Unlock()
		for _, key := range []scopeKey{{room: "/topic/member"}, {room: "/topic/read"}, {room: "/topic/asked"}, {}} {
			if s.registry.scopes[key] == nil {
				t.Errorf("the scope %q was forgotten", key.room)
			}
		}
		if s.registry.scopes[scopeKey{room: "/topic/asked"}] != asked {
			t.Error("somebody reads a scope that is not in use")
		}
		if s.registry.scopes[scopeKey{room: "/topic/0"}] != nil {
			t.Error("a room of two minutes ago is still there")
		}
		time.Sleep(2 * askedFor)
		s.registry.sweep()
		if got := len(s.registry.scopes); got != 3 {
			t.Errorf("%d scopes", got)
		}
	})
}
