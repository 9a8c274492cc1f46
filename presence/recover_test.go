package presence

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

const recovery = 30 * time.Second

// After a crash or an exit the sessions are unreachable; who does not return
// in time has left when the server did.
func TestRecovery(t *testing.T) {
	for _, planned := range []bool{false, true} {
		for _, again := range []int{0, 1, 3} { // further crashes meanwhile
			t.Run(fmt.Sprintf("planned %v, %d crashes meanwhile", planned, again), func(t *testing.T) {
				onComputer(t, Settings{Rooms: rooms, RecoveryGrace: recovery}, func(t *testing.T, c *computer) {
					hs := stomp.Handshake{SessionID: "mina-0001", User: "mina", Attributes: []stomp.Attribute{{Name: "team", Value: "red", Public: true}}}
					who := c.connectAs(t, hs, stomp.ClientDataHeader, `1`)
					who.subscribe(roomA, "1")
					who.register(`{"clientData":2}`)
					token := who.token(t)
					c.connect(t, "gone-0001", stomp.ClientDataHeader, `1`).disconnect()
					back := c.connect(t, "back-0001", stomp.ClientDataHeader, `"back"`)
					returning := back.token(t)
					c.connect(t, "anon-0001") // nobody knows it
					time.Sleep(time.Minute)
					died := time.Now()
					reason := stomp.ReasonServerCrash
					stream, seq := c.registry.Stream(), c.disk.seq()
					if planned {
						reason = stomp.ReasonServerShutdown
						if !c.exit() {
							t.Error("not kept")
						}
					} else {
						c.crash()
					}
					time.Sleep(time.Hour)
					for range again {
						c.boot(t)
						time.Sleep(recovery - time.Second)
						if got := c.told.all(); len(got) != 0 {
							t.Errorf("told again: %v", got)
						}
						c.crash()
						time.Sleep(time.Minute)
					}
					c.boot(t)
					peer := c.peer(t, announceAt, registerAt, roomA+roomSuffix)
					if c.registry.Stream() != stream || c.registry.Known() != 2 {
						t.Errorf("stream %s, %d known", c.registry.Stream(), c.registry.Known())
					}
					resumed := c.comeBack(t, stomp.Handshake{}, returning)
					if resumed.session.ID() != "back-0001" {
						t.Errorf("came back as %s", resumed.session.ID())
					}
					time.Sleep(recovery + time.Second)
					settle()
					wantStrings(t, "peer", peer.told(t, "a"), "returned back-0001", "left mina-0001")
					wantStrings(t, "peer of the room", peer.told(t, "c"), "left mina-0001")
					wantTypes(t, "listener", c.told.types("mina-0001"), Left, Left) // and the room
					wantTypes(t, "listener", c.told.types("anon-0001"), Left)
					left := c.told.of("mina-0001")[0]
					if left.Reason != reason || left.Code != reason.Code() || string(left.ClientData) != `2` || left.UserSessions != 0 || left.Seq <= seq {
						t.Errorf("left is %+v of %+v, the last seq was %d", left, *left.View, seq)
					}
					if late := died.Sub(left.At); late < 0 || late > 5*time.Second {
						t.Errorf("left at %v, the server died at %v", left.At, died)
					}
					if p, err := (&reader{client: peer, id: "b"}).picture(t); err != nil || len(p.roster) != 2 || len(p.sessions) != 1 || p.sameAs(c.roster()) != nil {
						t.Errorf("the roster was %v, then %v: %v", p.roster, p.sessions, err)
					}
					hs.SessionID = ""
					if thief := c.comeBack(t, hs, token); thief.session.ID() == "mina-0001" {
						t.Error("resumed after it left")
					}
				})
			})
		}
	}
}

// What was lost before the crash keeps its moment and its reason.
func TestRecoveryOfTheLost(t *testing.T) {
	onComputer(t, Settings{Grace: time.Minute, RecoveryGrace: recovery}, func(t *testing.T, c *computer) {
		who := c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		time.Sleep(10 * time.Second)
		who.hangUp(1006)
		lost := time.Now()
		time.Sleep(10 * time.Second)
		c.crash()
		c.boot(t)
		time.Sleep(time.Until(lost.Add(time.Minute - time.Millisecond)))
		synctest.Wait()
		wantTypes(t, "in grace", c.told.types("mina-0001"))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		wantTypes(t, "after it", c.told.types("mina-0001"), Left)
		if left := c.told.of("mina-0001")[0]; left.Reason != stomp.ReasonConnectionLost || !left.At.Equal(lost) {
			t.Errorf("left is %+v, lost at %v", left, lost)
		}
	})
}

// What was committed and not marked as told is told again, with its number;
// and those that follow come after all that may have been told.
func TestToldAgain(t *testing.T) {
	onComputer(t, Settings{Rooms: rooms}, func(t *testing.T, c *computer) {
		who := c.connectAs(t, mina, willDestinationHeader, "/queue/wills")
		who.subscribe(roomA, "1")
		synctest.Wait()
		time.Sleep(5 * aliveEvery / 2) // marked
		who.hangUp(1006)               // committed, told, not marked
		synctest.Wait()
		before := c.told.of("mina-0001")
		g := c.store.gated() // what comes now nobody sees
		c.connect(t, "lost-0001", stomp.ClientDataHeader, `1`)
		synctest.Wait()
		c.crash()
		close(g)
		c.boot(t)
		again := c.told.all()
		if len(again) != 2 {
			t.Fatalf("told again: %v", again)
		}
		for i, a := range again {
			b := before[len(before)-2+i]
			if a.Seq != b.Seq || a.Type != b.Type || a.Room != b.Room || !a.At.Equal(b.At) || a.Reason != b.Reason || a.SessionID != b.SessionID || a.UserSessions != b.UserSessions {
				t.Errorf("told %+v, and again %+v", b, a)
			}
		}
		heir := c.peerAt(t, "/queue/wills")
		settle()
		if got := heir.bodies(t, "a"); len(got) != 1 {
			t.Errorf("%d wills", len(got))
		}
		last := again[1].Seq
		c.connect(t, "next-0001", stomp.ClientDataHeader, `1`)
		synctest.Wait()
		if next := c.told.of("next-0001")[1]; next.Seq != last+reserve+1 {
			t.Errorf("seq %d after %d, want %d", next.Seq, last, last+reserve+1)
		}
		time.Sleep(2 * aliveEvery)
		c.crash()
		c.boot(t)
		if got := c.told.all(); len(got) != 0 {
			t.Errorf("told a third time: %v", got)
		}
	})
}

// A planned exit tells nobody, and nothing twice.
func TestExit(t *testing.T) {
	onComputer(t, Settings{RecoveryGrace: recovery}, func(t *testing.T, c *computer) {
		peer := c.peer(t, announceAt)
		who := c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		token := who.token(t)
		c.exit()
		if got := c.told.types("mina-0001"); len(got) != 2 || len(peer.told(t, "a")) != 1 {
			t.Errorf("told %v, the peer %v", got, peer.told(t, "a"))
		}
		commits := c.disk.commits
		time.Sleep(time.Hour)
		synctest.Wait()
		if c.disk.commits != commits {
			t.Error("written after the exit")
		}
		c.boot(t)
		if got := c.told.all(); len(got) != 0 {
			t.Errorf("told again: %v", got)
		}
		back := c.comeBack(t, stomp.Handshake{}, token)
		settle()
		if back.session.ID() != "mina-0001" {
			t.Errorf("came back as %s", back.session.ID())
		}
		wantTypes(t, "listener", c.told.types("mina-0001"), Returned)
	})
}

// Without a store, or with one that failed, nothing can be kept: who is
// unreachable leaves at the end.
func TestExitWithoutStore(t *testing.T) {
	inBubbleWith(t, Settings{Grace: time.Hour}, func(t *testing.T, s *server) {
		lost := s.connect(t, "lost-0001", stomp.ClientDataHeader, `1`)
		lost.hangUp(1006)
		here := s.connect(t, "here-0001", stomp.ClientDataHeader, `1`)
		if s.registry.Keep() {
			t.Error("kept where?")
		}
		here.session.End(stomp.End{Reason: stomp.ReasonServerShutdown})
		s.registry.Close()
		wantTypes(t, "unreachable", s.told.types("lost-0001"), Connected, Joined, Unreachable, Left)
		wantTypes(t, "connected", s.told.types("here-0001"), Connected, Joined, Left)
		if left := s.told.of("lost-0001")[3]; left.Reason != stomp.ReasonConnectionLost {
			t.Errorf("left is %+v", left)
		}
	})
}

// A store that cannot be read is left as it is; one that cannot be written at
// first is written later.
func TestOpenFails(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		synctest.Wait()
		c.crash()
		commits := c.disk.commits
		c.disk.loading = errDisk
		c.boot(t)
		if err := c.registry.Health(); !errors.Is(err, errDisk) || c.registry.Known() != 0 {
			t.Errorf("Health says %v", err)
		}
		c.connect(t, "zoe-00001", stomp.ClientDataHeader, `1`)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantTypes(t, "in memory", c.told.types("zoe-00001"), Connected, Joined)
		if c.disk.commits != commits {
			t.Error("what could not be read was written")
		}
		c.crash()
		c.disk.loading = nil

		c.server = newServerWith(t, c.settings, registryItself)
		c.store = c.disk.open()
		c.store.hook(func(*Batch) error { return errDisk })
		c.registry.Open(c.store)
		if err := c.registry.Health(); !errors.Is(err, errDisk) || c.registry.Known() != 1 {
			t.Errorf("Health says %v, %d known", err, c.registry.Known())
		}
		c.store.hook(nil)
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		if err := c.registry.Health(); err != nil || c.disk.commits == commits {
			t.Errorf("Health says %v", err)
		}
	})
}

// A will whose delay is over counts from the restart: until then nobody could
// come back.
func TestWillAfterRecovery(t *testing.T) {
	onComputer(t, Settings{RecoveryGrace: recovery}, func(t *testing.T, c *computer) {
		c.connect(t, "mina-0001", willDestinationHeader, "/topic/wills", willDelayHeader, "5")
		back := c.connect(t, "back-0001", willDestinationHeader, "/topic/wills", willDelayHeader, "5")
		token := back.token(t)
		c.crash()
		time.Sleep(time.Minute)
		c.boot(t)
		heir := c.peer(t, "/topic/wills")
		c.comeBack(t, stomp.Handshake{}, token)
		time.Sleep(4 * time.Second)
		if got := heir.bodies(t, "a"); len(got) != 0 {
			t.Errorf("%d wills after 4 s", len(got))
		}
		time.Sleep(time.Second)
		settle()
		if got := heir.bodies(t, "a"); len(got) != 1 {
			t.Errorf("%d wills after 5 s", len(got))
		}
		time.Sleep(time.Hour)
		if got := heir.bodies(t, "a"); len(got) != 1 {
			t.Errorf("%d wills after an hour", len(got))
		}
	})
}

// Tokens outlive the process, and only with its store.
func TestTokenOfAnotherStore(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		token := c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`).token(t)
		c.crash()
		c.disk = newMemoryStore()
		c.boot(t)
		who := c.comeBack(t, stomp.Handshake{SessionID: "mina-0001"}, token)
		if who.refusal(t) != "" || who.connected(t, frame.HdrSession) == "" {
			t.Errorf("ERROR %s", who.refusal(t))
		}
		wantTypes(t, "listener", c.told.types("mina-0001"), Connected)
	})
}
