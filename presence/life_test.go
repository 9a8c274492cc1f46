package presence

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

const grace = 10 * time.Second

// connected is a header of the CONNECTED frame.
func (c *client) connected(t testing.TB, name string) string {
	t.Helper()
	synctest.Wait()
	for _, f := range c.frames(t) {
		if f.Command == frame.Connected {
			return f.Header.Get(name)
		}
	}
	return ""
}

func (c *client) token(t testing.TB) string {
	t.Helper()
	return c.connected(t, ResumeTokenHeader)
}

// comeBack connects with a resume token.
func (s *server) comeBack(t testing.TB, hs stomp.Handshake, token string, header ...string) *client {
	t.Helper()
	c := s.dial(t, hs)
	if err := c.connect(append([]string{ResumeTokenHeader, token}, header...)...); err != nil {
		t.Fatalf("CONNECT with a token: %v", err)
	}
	return c
}

// peer is a client that listens and that nobody knows.
func (s *server) peer(t testing.TB, destinations ...string) *client {
	t.Helper()
	c := s.connect(t, "peer-0001")
	for i, d := range destinations {
		if err := c.subscribe(d, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	return c
}

// told are the types and ids of what a subscription was told, in order.
func (c *client) told(t testing.TB, subscription string) []string {
	t.Helper()
	var told []string
	for _, n := range c.news(t, subscription) {
		told = append(told, n.Type+" "+n.SessionID)
	}
	return told
}

func wantStrings(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func wantTypes(t testing.TB, what string, got []Type, want ...Type) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The reason of an end decides whether there is a grace.
func TestGraceByReason(t *testing.T) {
	ends := []struct {
		name   string
		reason stomp.Reason
		end    func(c *client)
	}{
		{"DISCONNECT", stomp.ReasonDisconnect, func(c *client) { c.disconnect() }},
		{"close 1000", stomp.ReasonClosed, func(c *client) { c.hangUp(1000) }},
		{"close 1001", stomp.ReasonClosed, func(c *client) { c.hangUp(1001) }},
		{"close 1005", stomp.ReasonClosed, func(c *client) { c.hangUp(1005) }},
		{"close 4000", stomp.ReasonClosed, func(c *client) { c.hangUp(4000) }},
		{"no close", stomp.ReasonConnectionLost, func(c *client) { c.hangUp(1006) }},
		{"close 1002", stomp.ReasonProtocolError, func(c *client) { c.hangUp(1002) }},
		{"a bad frame", stomp.ReasonProtocolError, func(c *client) { c.send("NONSENSE", "") }},
	}
	for _, reason := range []stomp.Reason{
		stomp.ReasonHeartBeatTimeout, stomp.ReasonSlowConsumer, stomp.ReasonPolicy, stomp.ReasonServerShutdown, stomp.ReasonInternalError,
	} {
		ends = append(ends, struct {
			name   string
			reason stomp.Reason
			end    func(c *client)
		}{"ended " + reason.String(), reason, func(c *client) { c.session.End(stomp.End{Reason: reason}) }})
	}
	byDefault := []stomp.Reason{stomp.ReasonConnectionLost, stomp.ReasonHeartBeatTimeout}
	for _, settings := range []struct {
		name    string
		reasons []stomp.Reason
		graced  []stomp.Reason
		grace   time.Duration
	}{
		{"by default", nil, byDefault, grace},
		{"closed too", append([]stomp.Reason{stomp.ReasonClosed}, byDefault...), append([]stomp.Reason{stomp.ReasonClosed}, byDefault...), grace},
		{"none", []stomp.Reason{}, nil, grace},
		{"no time", nil, nil, 0},
	} {
		for _, tt := range ends {
			for _, announced := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/announced %v", settings.name, tt.name, announced), func(t *testing.T) {
					inBubbleWith(t, Settings{Grace: settings.grace, GraceReasons: settings.reasons, AnnounceUnreachable: announced}, func(t *testing.T, s *server) {
						peer := s.peer(t, announceAt, registerAt)
						c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
						settle()
						tt.end(c)
						lost := time.Now()
						settle()
						graced := slices.Contains(settings.graced, tt.reason)
						told, peers := []Type{Connected, Joined, Left}, []string{"joined mina-0001", "left mina-0001"}
						if graced {
							told, peers = []Type{Connected, Joined, Unreachable}, peers[:1]
							if announced {
								peers = append(peers, "unreachable mina-0001")
							}
						}
						wantTypes(t, "listener", s.told.types("mina-0001"), told...)
						wantStrings(t, "peer", peer.told(t, "a"), peers...)
						if got, want := s.registry.Known(), map[bool]int{true: 1}[graced]; got != want {
							t.Errorf("%d known, want %d", got, want)
						}
						if graced {
							time.Sleep(time.Until(lost.Add(grace - time.Millisecond)))
							wantTypes(t, "before the end of the grace", s.told.types("mina-0001"), told...)
							time.Sleep(time.Millisecond)
							settle()
							wantTypes(t, "after the grace", s.told.types("mina-0001"), append(told, Left)...)
							wantStrings(t, "peer", peer.told(t, "a"), append(peers, "left mina-0001")...)
						}
						left := s.told.of("mina-0001")[len(s.told.of("mina-0001"))-1]
						if left.Reason != tt.reason || !left.At.Equal(lost) || left.Unreachable || string(left.ClientData) != `1` {
							t.Errorf("left is %+v of %+v; the loss was at %v", left, *left.View, lost)
						}
						news := peer.news(t, "a")
						if last := news[len(news)-1]; last.Reason != tt.reason.String() || !last.At.Equal(lost.Truncate(time.Millisecond)) {
							t.Errorf("the peer was told %+v, the loss was at %v", last, lost)
						}
						p := &picture{gaps: true}
						for _, body := range peer.bodies(t, "b") {
							if err := p.take(body); err != nil {
								t.Error(err)
							}
						}
						if err := p.sameAs(s.roster()); err != nil || s.registry.Known() != 0 || s.registry.Get("mina-0001") != nil {
							t.Errorf("something is left behind: %v", err)
						}
					})
				})
			}
		}
	}
}

// The roster says who is unreachable, if that is announced.
func TestUnreachableInTheRoster(t *testing.T) {
	for _, announced := range []bool{true, false} {
		inBubbleWith(t, Settings{Grace: grace, AnnounceUnreachable: announced}, func(t *testing.T, s *server) {
			c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
			c.hangUp(1006)
			settle()
			peer := s.peer(t, registerAt)
			state := ""
			if announced {
				state = `,"state":"unreachable"`
			}
			seq := 2
			wantJSON(t, peer.bodies(t, "a")[0], fmt.Sprintf(`{"stream":"stream-1","seq":%d,"more":false,"sessions":[
				{"sessionId":"mina-0001","clientData":1,"connectedAt":"2100-01-01T10:00:00.000Z"%s}]}`, seq, state))
			if v := s.registry.Get("mina-0001"); v == nil || !v.Unreachable {
				t.Errorf("the registry has %+v", v)
			}
		})
	}
}

// Who returns is announced as neither joined nor left, with the client data of
// before unless he brings other.
func TestReturned(t *testing.T) {
	for _, tt := range []struct {
		name, before, meanwhile, after string
		want                           string // client data; "" if it is not known
		peers                          []string
	}{
		{"with what was known", `1`, "", "", `1`, []string{"joined", "unreachable", "returned"}},
		{"with other client data", `1`, "", `2`, `2`, []string{"joined", "unreachable", "returned"}},
		{"with client data of before the loss", `1`, `3`, "", `3`, []string{"joined", "updated", "unreachable", "returned"}},
		{"not known", "", "", "", "", nil},
		{"known from now on", "", "", `2`, `2`, []string{"joined"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubbleWith(t, Settings{Grace: grace, AnnounceUnreachable: true}, func(t *testing.T, s *server) {
				peer := s.peer(t, announceAt)
				var header []string
				if tt.before != "" {
					header = []string{stomp.ClientDataHeader, tt.before}
				}
				c := s.connectAs(t, stomp.Handshake{SessionID: "mina-0001", RemoteAddr: "192.0.2.1:1"}, header...)
				token, born := c.token(t), c.session.ConnectedAt()
				if tt.meanwhile != "" {
					c.register(`{"clientData":` + tt.meanwhile + `}`)
				}
				c.hangUp(1006)
				time.Sleep(grace / 2)
				header = nil
				if tt.after != "" {
					header = []string{stomp.ClientDataHeader, tt.after}
				}
				back := s.comeBack(t, stomp.Handshake{RemoteAddr: "192.0.2.1:2"}, token, header...)
				if got := back.connected(t, frame.HdrSession); got != "mina-0001" || back.session.ID() != got {
					t.Fatalf("CONNECTED says %q", got)
				}
				if next := back.token(t); next == "" || next == token {
					t.Errorf("the token was not rotated: %q", next)
				}
				time.Sleep(2 * grace) // its grace is over, but not it
				settle()
				var peers []string
				for _, n := range peer.news(t, "a") {
					peers = append(peers, n.Type)
				}
				wantStrings(t, "peer", peers, tt.peers...)
				v := s.registry.Get("mina-0001")
				if v == nil || v.Unreachable || v.Epoch != 2 || string(v.ClientData) != tt.want || v.RemoteAddr != "192.0.2.1:2" || !v.ConnectedAt.Equal(born) {
					t.Errorf("the registry has %+v", v)
				}
				back.disconnect()
				settle()
				if types := s.told.types("mina-0001"); types[len(types)-1] != Left || strings.Count(fmt.Sprint(types), "left") != 1 {
					t.Errorf("the listener was told %v", types)
				}
			})
		})
	}
}

// While the old connection still seems open, the new one takes over.
func TestTakeOver(t *testing.T) {
	for _, settings := range []Settings{{Grace: grace, AnnounceUnreachable: true}, {Grace: time.Millisecond}} {
		inBubbleWith(t, settings, func(t *testing.T, s *server) {
			peer := s.peer(t, announceAt)
			hs := stomp.Handshake{SessionID: "mina-0001", User: "mina"}
			old := s.connectAs(t, hs, willDestinationHeader, "/queue/wills", willDelayHeader, "0")
			heir := s.peerAt(t, "/queue/wills")
			token := old.token(t)
			old.stall()
			old.subscribe("/topic/a", "a")
			back := s.comeBack(t, stomp.Handshake{User: "mina"}, token)
			settle()
			if back.session.ID() != "mina-0001" {
				t.Fatalf("id %s", back.session.ID())
			}
			if s.broker.Session("mina-0001") != back.session {
				t.Error("the broker has another one")
			}
			old.hangUp(1006) // too late
			s.registry.Ended(old.session, stomp.End{Reason: stomp.ReasonConnectionLost, At: time.Now()})
			if err := s.registry.Register(old.session, []byte(`"late"`)); err != ErrUnknownSession {
				t.Errorf("the old connection may speak: %v", err)
			}
			s.registry.Subscribed(old.session, "/topic/a")
			time.Sleep(3 * grace)
			settle()
			wantStrings(t, "peer", peer.told(t, "a"), "joined mina-0001", "returned mina-0001")
			wantTypes(t, "listener", s.told.types("mina-0001"), Connected, Joined, Returned)
			if v := s.registry.Get("mina-0001"); v.ClientData != nil || v.Unreachable || v.Epoch != 2 {
				t.Errorf("the registry has %+v", v)
			}
			for _, n := range peer.news(t, "a") {
				if *n.UserSessions != 1 {
					t.Errorf("%s with %d sessions of the user", n.Type, *n.UserSessions)
				}
			}
			if got := heir.bodies(t, "a"); len(got) != 0 {
				t.Errorf("the will was carried out: %s", got)
			}
		})
	}
}

// The client whose connection was taken over is told so.
func TestTakenOver(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		old := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		s.comeBack(t, stomp.Handshake{}, old.token(t))
		settle()
		if old.refusal(t) != "taken over" || old.closeCode() != stomp.ReasonPolicy.Code() {
			t.Errorf("ERROR %q, close %d", old.refusal(t), old.closeCode())
		}
	})
}

// What the transport has waited already counts towards the grace.
func TestWaitedCounts(t *testing.T) {
	for _, tt := range []struct {
		waited, left time.Duration // after the end
	}{{0, grace}, {4 * time.Second, 6 * time.Second}, {grace, 0}, {2 * grace, 0}} {
		inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
			c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
			c.reading.Lock()
			c.gone = true
			c.session.Closed(stomp.Ending{Code: 1006, Waited: tt.waited})
			c.reading.Unlock()
			if tt.left > 0 {
				time.Sleep(tt.left - time.Millisecond)
				synctest.Wait()
				wantTypes(t, tt.waited.String(), s.told.types("mina-0001"), Connected, Joined, Unreachable)
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			if types := s.told.types("mina-0001"); types[len(types)-1] != Left {
				t.Errorf("waited %v: told %v", tt.waited, types)
			}
		})
	}
}

// peerAt is one more client that listens.
func (s *server) peerAt(t testing.TB, destinations ...string) *client {
	t.Helper()
	c := s.connectAs(t, stomp.Handshake{})
	for i, d := range destinations {
		if err := c.subscribe(d, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// userSessions counts the tabs of a user that are there, unreachable or not.
func TestUserSessionsOfSeveralTabs(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace, AnnounceUnreachable: true}, func(t *testing.T, s *server) {
		peer := s.peer(t, announceAt)
		user := stomp.Handshake{User: "mina"}
		one, two := s.connectAs(t, user), s.connectAs(t, user)
		token := one.token(t)
		one.hangUp(1006)
		two.register(`{"clientData":1}`)
		three := s.connectAs(t, user)
		back := s.comeBack(t, user, token)
		two.disconnect()
		three.hangUp(1006)
		time.Sleep(2 * grace)
		back.disconnect()
		settle()
		var got []string
		for _, n := range peer.news(t, "a") {
			got = append(got, fmt.Sprint(n.Type, " ", *n.UserSessions))
		}
		wantStrings(t, "peer", got, "joined 1", "joined 2", "unreachable 2", "updated 2", "joined 3", "returned 3", "left 2", "unreachable 2", "left 1", "left 0")
		if len(s.all().users) != 0 {
			t.Errorf("%v are still counted", s.all().users)
		}
	})
}

// Everything at once, for the race detector: many goroutines connect, register,
// subscribe, end, resume and kick, while settings and store change. In the end
// nobody is left, anywhere.
func TestEverythingAtOnce(t *testing.T) {
	onComputer(t, Settings{Rooms: rooms, Grace: time.Second, AnnounceUnreachable: true}, func(t *testing.T, c *computer) {
		peer := c.peer(t, registerAt, registerAt+roomA)
		var everybody sync.WaitGroup
		for i := range 16 {
			everybody.Go(func() {
				hs := stomp.Handshake{User: fmt.Sprint("user-", i%3)}
				for n := range 40 {
					who := c.connectAs(t, hs)
					id := who.session.ID()
					c.registry.mu.Lock()
					given := token(c.registry.key, c.registry.entries[id].view)
					c.registry.mu.Unlock()
					who.subscribe(roomA, "1")
					who.subscribe(roomB, "2")
					who.register(`{"clientData":1}`)
					switch n % 4 {
					case 0:
						go who.hangUp(1006)
					case 1:
						go who.unsubscribe("1")
					case 2:
						go c.registry.Kick(id, "")
					default:
					}
					back := c.dial(t, hs)
					if back.connect(ResumeTokenHeader, given) != nil {
						continue
					}
					back.subscribe(roomB, "2")
					if n%2 == 0 {
						back.disconnect()
					} else {
						back.hangUp(1006)
					}
				}
			})
		}
		everybody.Go(func() {
			for n := range 20 {
				c.configure(t, Settings{Rooms: rooms, Grace: time.Second, AnnounceUnreachable: n%2 == 0})
				c.registry.SetStore([]Store{nil, c.store}[n%2])
				time.Sleep(time.Millisecond)
			}
		})
		everybody.Wait()
		time.Sleep(time.Minute)
		settle()
		for i, room := range []string{"", roomA} {
			p := &picture{gaps: true, room: room != ""}
			for _, body := range peer.bodies(t, string(rune('a'+i))) {
				if err := p.take(body); err != nil {
					t.Fatalf("roster of %q: %v", room, err)
				}
			}
			if err := p.sameAs(c.rosterOf(room)); err != nil || len(p.sessions) != 0 {
				t.Errorf("roster of %q: %v, %d are left", room, err, len(p.sessions))
			}
		}
		sessions := make(map[string]int)
		for _, change := range c.told.all() {
			key := change.Room + " " + change.User
			switch {
			case change.Seq == 0:
				continue
			case change.Type == Joined:
				sessions[key]++
			case change.Type == Left:
				sessions[key]--
			}
			if change.UserSessions != sessions[key] {
				t.Fatalf("seq %d, %s of %s in %q: %d sessions of the user, want %d", change.Seq, change.Type, change.User, change.Room, change.UserSessions, sessions[key])
			}
		}
		if c.registry.Known() != 0 || len(c.disk.records) != 1 || len(c.all().users) != 0 {
			t.Errorf("%d known, %d kept, %v counted", c.registry.Known(), len(c.disk.records), c.all().users)
		}
	})
}
