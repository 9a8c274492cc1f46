package presence

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// A will is carried out when its session went other than cleanly: at its loss
// + delay or when it is left, whichever is earlier.
func TestWill(t *testing.T) {
	const never = -1
	lose := func(c *client) { c.hangUp(1006) }
	for _, tt := range []struct {
		name   string
		delay  string
		grace  time.Duration
		end    func(c *client)
		back   time.Duration // after the end; 0: it does not return
		wanted time.Duration // after the end
	}{
		{"lost", "", 0, lose, 0, 0},
		{"disconnect", "", 0, func(c *client) { c.disconnect() }, 0, never},
		{"closed", "", 0, func(c *client) { c.hangUp(1001) }, 0, never},
		{"protocol error", "", 0, func(c *client) { c.send("NONSENSE", "") }, 0, 0},
		{"kicked", "", grace, func(c *client) { c.server.registry.Kick("mina-0001", "") }, 0, 0},
		{"lost, in grace", "", grace, lose, 0, grace},
		{"returned", "", grace, lose, grace / 2, never},
		{"delay", "2.5", grace, lose, 0, 2500 * time.Millisecond},
		{"no delay", "0", grace, lose, 0, 0},
		{"delay longer than the grace", "60", grace, lose, 0, grace},
		{"delay without grace", "60", 0, lose, 0, 0},
		{"returned before the delay", "6", grace, lose, 5 * time.Second, never},
		{"returned after the delay", "4", grace, lose, 5 * time.Second, 4 * time.Second},
		{"kicked while unreachable", "8", grace, func(c *client) { c.hangUp(1006); c.server.registry.Kick("mina-0001", "") }, 0, 0},
		{"closed, which is clean, in grace", "0", grace, func(c *client) { c.hangUp(1000) }, 0, never},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubbleWith(t, Settings{Grace: tt.grace, GraceReasons: []stomp.Reason{stomp.ReasonConnectionLost, stomp.ReasonClosed}}, func(t *testing.T, s *server) {
				heir := s.peer(t, "/topic/wills")
				header := []string{willDestinationHeader, "/topic/wills", willBodyHeader, "all to zoe", willContentTypeHeader, "text/plain"}
				if tt.delay != "" {
					header = append(header, willDelayHeader, tt.delay)
				}
				c := s.connect(t, "mina-0001", header...)
				token := c.token(t)
				tt.end(c)
				come := func(after time.Duration) {
					if after > 0 {
						time.Sleep(after)
					}
					synctest.Wait()
				}
				wills := func() int { return len(heir.bodies(t, "a")) }
				if tt.wanted > 0 {
					come(tt.wanted - time.Millisecond)
					if wills() != 0 {
						t.Error("too early")
					}
					come(time.Millisecond)
				} else {
					come(0)
				}
				if got := wills(); (got == 1) != (tt.wanted != never) {
					t.Errorf("carried out %d times", got)
				}
				if tt.back > 0 {
					come(tt.back - max(0, tt.wanted))
					if back := s.comeBack(t, stomp.Handshake{}, token); back.session.ID() != "mina-0001" {
						t.Fatalf("came back as %s", back.session.ID())
					}
				}
				come(2 * time.Minute)
				if got := wills(); got > 1 || (got == 1) != (tt.wanted != never) {
					t.Errorf("in the end carried out %d times", got)
				}
				for _, f := range heir.frames(t) {
					if f.Command == frame.Message && (string(f.Body) != "all to zoe" || f.Header.Get(frame.HdrContentType) != "text/plain" || f.Header.Get(frame.HdrDestination) != "/topic/wills") {
						t.Errorf("the will is %v %s", f.Header, f.Body)
					}
				}
			})
		})
	}
}

// Whoever could not SEND it himself cannot leave it either.
func TestWillRefused(t *testing.T) {
	for _, tt := range []struct{ name, value, refusal string }{
		{willDestinationHeader, announceAt, "server's own"},
		{willDestinationHeader, announceAt + "/", "server's own"},
		{willDestinationHeader, registerAt, "server's own"},
		{willDestinationHeader, roomA + roomSuffix, "server's own"},
		{willDestinationHeader, registerAt + roomA, "server's own"},
		{willDestinationHeader, "", "will-destination"},
		{willDestinationHeader, "/nowhere", "will-destination"},
		{willDestinationHeader, "/topic/*", "will-destination"},
		{willDestinationHeader, "/temp-queue/x", "will-destination"},
		{willDelayHeader, "soon", "will-delay"},
		{willDelayHeader, "-1", "will-delay"},
		{willDelayHeader, "NaN", "will-delay"},
		{willDelayHeader, "Inf", "will-delay"},
		{willDelayHeader, "1e9", "will-delay"},
	} {
		inBubbleWith(t, Settings{Rooms: rooms}, func(t *testing.T, s *server) {
			header := []string{tt.name, tt.value}
			if tt.name != willDestinationHeader {
				header = append(header, willDestinationHeader, "/topic/wills")
			}
			c := s.dial(t, stomp.Handshake{SessionID: "mina-0001", User: "mina"})
			if err := c.connect(header...); err == nil {
				t.Errorf("%s %q was taken", tt.name, tt.value)
			}
			settle()
			if !strings.Contains(c.refusal(t), tt.refusal) || s.registry.Known() != 0 || len(s.told.all()) != 0 {
				t.Errorf("%s %q: ERROR %q, %d known", tt.name, tt.value, c.refusal(t), s.registry.Known())
			}
		})
	}
}

// Updates are told at most once a second; the last one wins, and is not lost
// when the session goes meanwhile.
func TestUpdatesAreGathered(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(s *server, c *client)
		want []string
	}{
		{"it stays", func(*server, *client) {}, []string{"joined 0", "updated 1", "updated 9"}},
		{"it leaves", func(_ *server, c *client) { c.disconnect() }, []string{"joined 0", "updated 1", "left 9"}},
		{"it is lost", func(_ *server, c *client) { c.hangUp(1006) }, []string{"joined 0", "updated 1", "unreachable 9", "left 9"}},
		{"it is taken over", func(s *server, c *client) {
			synctest.Wait()
			for _, f := range c.frames(t) {
				if token, ok := f.Header.Lookup(ResumeTokenHeader); ok {
					s.comeBack(t, stomp.Handshake{}, token).subscribe(roomA, "1")
				}
			}
		}, []string{"joined 0", "updated 1", "returned 9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubbleWith(t, Settings{Grace: grace, AnnounceUnreachable: true, Rooms: rooms}, func(t *testing.T, s *server) {
				peer := s.peer(t, announceAt, registerAt, roomA+roomSuffix)
				c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `0`)
				c.subscribe(roomA, "1")
				for i := range 9 {
					c.register(`{"clientData":` + string(rune('1'+i)) + `}`)
					time.Sleep(10 * time.Millisecond)
				}
				tt.end(s, c)
				time.Sleep(2 * grace)
				settle()
				for _, subscription := range []string{"a", "c"} {
					var got []string
					for _, n := range peer.news(t, subscription) {
						got = append(got, n.Type+" "+string(n.ClientData))
					}
					wantStrings(t, subscription, got, tt.want...)
				}
				p := &picture{gaps: true}
				for _, body := range peer.bodies(t, "b") {
					if err := p.take(body); err != nil {
						t.Fatal(err)
					}
				}
				if err := p.sameAs(s.roster()); err != nil {
					t.Error(err)
				}
				var before time.Time
				for _, change := range s.told.of("mina-0001") {
					if change.Type == Updated && change.Room == "" {
						if change.At.Sub(before) < time.Second {
							t.Errorf("told twice in %v", change.At.Sub(before))
						}
						before = change.At
					}
				}
			})
		})
	}
}

// One that talks all the time is told of every second, with what it said last.
func TestUpdatesGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `0`)
		for range 1000 {
			c.register(`{"clientData":{"t":"` + time.Now().Format(time.TimeOnly) + `"}}`)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		updates := s.told.types("mina-0001")[2:]
		if len(updates) < 10 || len(updates) > 11 {
			t.Errorf("%d updates in 10 s", len(updates))
		}
		changes := s.told.of("mina-0001")
		if last := string(changes[len(changes)-1].ClientData); last != s.clientData("mina-0001") {
			t.Errorf("last told %s, the registry has %s", last, s.clientData("mina-0001"))
		}
	})
}
