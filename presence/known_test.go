package presence

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// A session is announced once it is known: it has client data or a user.
func TestWhoIsAnnounced(t *testing.T) {
	for _, tt := range []struct {
		name   string
		user   string
		header []string
		do     func(c *client)
		peers  []string
		told   []Type
	}{
		{"nobody knows it", "", nil, func(*client) {}, nil, []Type{Connected, Left}},
		{"it talks, but not of itself", "", nil, func(c *client) { c.subscribe(registerAt, "r"); c.subscribe("/topic/a", "a") }, nil, []Type{Connected, Left}},
		{"a user", "mina", nil, func(*client) {}, []string{"joined", "left"}, []Type{Connected, Joined, Left}},
		{"client data in CONNECT", "", []string{stomp.ClientDataHeader, `1`}, func(*client) {}, []string{"joined", "left"}, []Type{Connected, Joined, Left}},
		{"null in CONNECT", "", []string{stomp.ClientDataHeader, `null`}, func(*client) {}, []string{"joined", "left"}, []Type{Connected, Joined, Left}},
		{"registers later", "", nil, func(c *client) { c.register(`{"clientData":1}`) }, []string{"joined", "left"}, []Type{Connected, Joined, Left}},
		{
			"registers twice", "", nil, func(c *client) { c.register(`{"clientData":1}`); c.register(`{"clientData":2}`) },
			[]string{"joined", "updated", "left"},
			[]Type{Connected, Joined, Updated, Left},
		},
		{"a user registers", "mina", nil, func(c *client) { c.register(`{"clientData":1}`) }, []string{"joined", "updated", "left"}, []Type{Connected, Joined, Updated, Left}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt, "p")
				c := s.connectAs(t, stomp.Handshake{SessionID: "mina-0001", User: tt.user}, tt.header...)
				tt.do(c)
				if got, want := s.registry.Known(), min(1, len(tt.peers)); got != want {
					t.Errorf("%d known, want %d", got, want)
				}
				c.hangUp(1006)
				settle()
				var peers []string
				for _, n := range peer.news(t, "p") {
					peers = append(peers, n.Type)
				}
				if !slices.Equal(peers, tt.peers) {
					t.Errorf("the peer was told %v, want %v", peers, tt.peers)
				}
				if got := s.told.types("mina-0001"); !slices.Equal(got, tt.told) {
					t.Errorf("the listener was told %v, want %v", got, tt.told)
				}
				for _, change := range s.told.of("mina-0001") {
					if announced := change.Type != Connected && len(tt.peers) > 0; (change.Seq > 0) != announced {
						t.Errorf("%s has seq %d", change.Type, change.Seq)
					}
				}
				if s.registry.Known() != 0 || s.registry.Get("mina-0001") != nil {
					t.Error("it left something behind")
				}
				if got := s.registry.Announced(); got != uint64(len(tt.peers)) {
					t.Errorf("Announced is %d, want %d", got, len(tt.peers))
				}
			})
		})
	}
}

// Events and webhooks see what peers do not.
func TestListener(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.connectAs(t, mina)
		c.hangUp(1006)
		told := s.told.of("mina-0001")
		if len(told) != 3 {
			t.Fatalf("told %v", s.told.types("mina-0001"))
		}
		for i, want := range []int{1, 1, 0} {
			if got := told[i].UserSessions; got != want {
				t.Errorf("%s with %d sessions of the user, want %d", told[i].Type, got, want)
			}
		}
		left := told[2]
		if left.Broker != "test" || left.Endpoint != "test" || left.Transport != "websocket" || left.RemoteAddr != "192.0.2.1:4711" || len(left.Attributes) != 2 {
			t.Errorf("left is %+v", *left.View)
		}
		if left.Reason != stomp.ReasonConnectionLost || left.Code != 1006 {
			t.Errorf("left with %s, %d", left.Reason, left.Code)
		}
		s.registry.SetListener(nil)
		s.connectAs(t, stomp.Handshake{User: "mina"})
		if len(s.told.all()) != 3 {
			t.Error("told without being in force")
		}
	})
}

// Before a broker ends all its sessions it falls silent: those who are about
// to go are not told of each other.
func TestSilence(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		peer := s.connect(t, "peer-0001")
		peer.subscribe(announceAt, "a")
		peer.subscribe(registerAt, "r")
		c := s.connectAs(t, mina)
		settle()
		before := len(peer.received())

		s.registry.Silence()
		c.register(`{"clientData":1}`)
		s.connect(t, "late-0001", stomp.ClientDataHeader, `1`)
		c.session.End(stomp.End{Reason: stomp.ReasonServerShutdown})
		settle()
		if got := peer.received()[before:]; len(got) != 0 {
			t.Errorf("the peer was told %s", got[0].Data)
		}
		if got := s.told.types("mina-0001"); !slices.Equal(got, []Type{Connected, Joined, Updated, Left}) {
			t.Errorf("the listener was told %v", got)
		}
		if got := s.registry.Announced(); got != 1 {
			t.Errorf("Announced is %d, want 1", got)
		}
	})
}

// userSessions says how many sessions of the user there are right after the
// change, whoever comes and goes at the same time.
func TestUserSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		peer := s.connect(t, "peer-0001")
		peer.subscribe(announceAt, "p")
		var everybody sync.WaitGroup
		for i := range 8 {
			everybody.Go(func() {
				for j := range 25 {
					hs := stomp.Handshake{User: fmt.Sprint("user-", (i+j)%3)}
					c := s.connectAs(t, hs)
					other := s.connectAs(t, hs)
					c.register(`{"clientData":1}`)
					other.hangUp(1000)
					c.disconnect()
				}
			})
		}
		everybody.Wait()
		settle()

		sessions := make(map[string]int)
		for _, change := range s.told.all() {
			switch change.Type {
			case Joined:
				sessions[change.User]++
			case Left:
				sessions[change.User]--
			default:
			}
			if change.Type != Connected && change.UserSessions != sessions[change.User] {
				t.Fatalf("seq %d, %s: %d sessions of %s, want %d", change.Seq, change.Type, change.UserSessions, change.User, sessions[change.User])
			}
		}
		told := make(map[uint64]int)
		for _, change := range s.told.all() {
			told[change.Seq] = change.UserSessions
		}
		for _, n := range peer.news(t, "p") {
			if n.UserSessions != nil && *n.UserSessions != told[n.Seq] {
				t.Fatalf("the peer was told %d, the listener %d", *n.UserSessions, told[n.Seq])
			}
		}
		if len(s.all().users) != 0 {
			t.Errorf("%v are still counted", s.all().users)
		}
	})
}
