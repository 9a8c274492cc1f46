package presence

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// slowResume is a registry in which something happens between a good token and
// the connection that it is for.
type slowResume struct {
	*Registry
	meanwhile *func()
}

func (r slowResume) Resume(hs *stomp.Handshake, connect *frame.Frame) (string, func()) {
	id, done := r.Registry.Resume(hs, connect)
	if id != "" {
		(*r.meanwhile)()
	}
	return id, done
}

// Whoever is just about to come back when the time of his session is over comes
// back: it is not left, and its will is not sent. If he is refused then, it is
// left, once; and if it was kicked meanwhile, it does not come back.
func TestTimeIsOverWhileComingBack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refused bool
		kick    bool
		want    Type
	}{
		{"admitted", false, false, Returned},
		{"refused", true, false, Left},
		{"kicked, then admitted", false, true, Left},
		{"kicked, then refused", true, true, Left},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(morning))
				var meanwhile func()
				s := newServerWith(t, Settings{Grace: grace}, func(r *Registry) stomp.Observer { return slowResume{r, &meanwhile} })
				defer s.close()
				defer s.registry.Close()
				meanwhile = func() {
					if tt.kick {
						s.registry.Kick("mina-0001", "")
					}
					time.Sleep(3 * time.Second) // the grace ends
				}
				heir := s.peer(t, "/queue/wills")
				c := s.connect(t, "mina-0001", stomp.ClientDataHeader, "1", willDestinationHeader, "/queue/wills")
				token := c.token(t)
				c.hangUp(1006)
				time.Sleep(grace - time.Second)
				header := []string{ResumeTokenHeader, token}
				if tt.refused {
					header = append(header, stomp.ClientDataHeader, "{")
				}
				err := s.dial(t, stomp.Handshake{}).connect(header...)
				if (err != nil) != (tt.refused || tt.kick) {
					t.Errorf("connected: %v", err)
				}
				if tt.want == Left && s.registry.Get("mina-0001") != nil {
					t.Error("it was not left at once")
				}
				time.Sleep(2 * grace)
				settle()
				wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, tt.want)
				stays := tt.want == Returned
				if got := len(heir.bodies(t, "a")); got == 1 == stays {
					t.Errorf("%d wills", got)
				}
				if v := s.registry.Get("mina-0001"); (v != nil) != stays {
					t.Errorf("the registry has %+v", v)
				}
			})
		})
	}
}

// slowly is a policy whose Admit asks, which may take its time. A connection may
// take as long to be admitted.
func slowly(ask func(connect *frame.Frame) error) stomp.Policy {
	p := testPolicy()
	p.Limits.Connect = time.Hour
	p.Admit = func(_ *stomp.Handshake, connect *frame.Frame) error { return ask(connect) }
	return p
}

// Who came back in time does not lose his session to a slow Admit. Who is
// refused loses it there and then, and so does who takes too long.
func TestTimeIsOverWhileBeingAdmitted(t *testing.T) {
	const early = time.Second // before the end of the grace
	refuse := func() error { return stomp.Refuse("not you") }
	admitted := func() error { return nil }
	for _, tt := range []struct {
		name   string
		takes  time.Duration
		answer func() error
		kick   bool
		want   Type
		after  time.Duration // since the loss, until it is left
	}{
		{"admitted", comingBackTakes, admitted, false, Returned, 0},
		{"refused while there was time", early / 2, refuse, false, Left, grace},
		{"refused later", 4 * time.Second, refuse, false, Left, grace - early + 4*time.Second},
		{"a panic", 4 * time.Second, func() error { panic("admit") }, false, Left, grace - early + 4*time.Second},
		{"kicked", 4 * time.Second, admitted, true, Left, grace + early},
		{"admitted too late", comingBackTakes + 2*early, admitted, false, Left, grace + comingBackTakes},
	} {
		for _, delay := range []string{"", "9.5"} { // the will's, over while being admitted
			t.Run(tt.name+" "+delay, func(t *testing.T) {
				inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
					heir := s.peer(t, "/queue/wills")
					header := []string{stomp.ClientDataHeader, "1", willDestinationHeader, "/queue/wills"}
					if delay != "" {
						header = append(header, willDelayHeader, delay)
					}
					c := s.connect(t, "mina-0001", header...)
					token := c.token(t)
					c.hangUp(1006)
					lost := time.Now()
					s.endpoint.SetPolicy(slowly(func(*frame.Frame) error { time.Sleep(tt.takes); return tt.answer() }))
					time.Sleep(grace - early)
					back := s.dial(t, stomp.Handshake{})
					go back.connect(ResumeTokenHeader, token)
					if tt.kick {
						time.AfterFunc(2*early, func() { s.registry.Kick("mina-0001", "") })
					}
					if tt.want == Left {
						time.Sleep(time.Until(lost.Add(tt.after - time.Millisecond)))
						synctest.Wait()
						if s.registry.Get("mina-0001") == nil {
							t.Error("it was left too early")
						}
						time.Sleep(time.Millisecond)
						synctest.Wait()
						if s.registry.Get("mina-0001") != nil {
							t.Error("it was not left in time")
						}
					}
					time.Sleep(3 * grace)
					settle()
					wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, tt.want)
					wills := 1
					if tt.want == Returned {
						wills = 0
						if back.session.ID() != "mina-0001" {
							t.Errorf("came back as %q", back.session.ID())
						}
					}
					if got := len(heir.bodies(t, "a")); got != wills {
						t.Errorf("%d wills, want %d", got, wills)
					}
				})
			})
		}
	}
}

// As long as one of those who came in time may be admitted, the session is his;
// the refusal of another is not that of all.
func TestSeveralComeBackAtOnce(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, "1")
		token := c.token(t)
		c.hangUp(1006)
		s.endpoint.SetPolicy(slowly(func(connect *frame.Frame) error {
			takes, err := time.ParseDuration(connect.Header.Get("takes"))
			if err != nil {
				return err
			}
			time.Sleep(takes)
			if connect.Header.Get("refuse") != "" {
				return stomp.Refuse("not you")
			}
			return nil
		}))
		time.Sleep(grace - time.Second)
		back := s.dial(t, stomp.Handshake{})
		go s.dial(t, stomp.Handshake{}).connect(ResumeTokenHeader, token, "takes", "3s", "refuse", "1")
		go back.connect(ResumeTokenHeader, token, "takes", "5s")
		late := s.dial(t, stomp.Handshake{})
		go late.connect(ResumeTokenHeader, token, "takes", "20s")
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if back.session.ID() != "mina-0001" {
			t.Fatalf("came back as %q", back.session.ID())
		}
		// whose token was used by another meanwhile has a hold of nothing
		back.hangUp(1006)
		time.Sleep(grace)
		settle()
		wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, Returned, Unreachable, Left)
		time.Sleep(2 * grace)
		settle()
		if id := late.session.ID(); id == "" || id == "mina-0001" {
			t.Errorf("the one that came too late is %q", id)
		}
		wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, Returned, Unreachable, Left)
	})
}

// However many are refused at the last moment while another may still come, the
// end of the session is put off once, and not once for each.
func TestRefusalsLeaveOneAlarm(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, "1")
		token := c.token(t)
		c.hangUp(1006)
		s.endpoint.SetPolicy(slowly(func(connect *frame.Frame) error {
			if connect.Header.Get(stomp.ClientDataHeader) == "" {
				time.Sleep(4 * time.Second)
			}
			return nil
		}))
		time.Sleep(grace - time.Second)
		back := s.dial(t, stomp.Handshake{})
		go back.connect(ResumeTokenHeader, token)
		time.Sleep(2 * time.Second) // the grace is over
		for range 10 {
			if err := s.dial(t, stomp.Handshake{}).connect(ResumeTokenHeader, token, stomp.ClientDataHeader, "{"); err == nil {
				t.Fatal("connected with client data that is none")
			}
		}
		s.registry.mu.Lock()
		alarms, putOff := len(s.registry.alarms.heap), len(s.registry.entries["mina-0001"].back.putOff)
		s.registry.mu.Unlock()
		if alarms != 1 || putOff != 1 {
			t.Errorf("%d alarms, %d put off", alarms, putOff)
		}
		time.Sleep(2 * time.Second)
		settle()
		wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, Returned)
	})
}

// Attack: with the token, a session that is unreachable is to be kept from ending
// by trying again and again, with a CONNECT that is refused.
func TestTryingKeepsNoSession(t *testing.T) {
	for _, takes := range []time.Duration{100 * time.Millisecond, 4 * time.Second, time.Hour} {
		inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
			c := s.connect(t, "mina-0001", stomp.ClientDataHeader, "1")
			token := c.token(t)
			c.hangUp(1006)
			end := time.Now().Add(grace + comingBackTakes)
			over := make(chan struct{})
			s.endpoint.SetPolicy(slowly(func(*frame.Frame) error {
				select {
				case <-time.After(takes):
				case <-over:
				}
				return stomp.Refuse("not you")
			}))
			for time.Now().Before(end) {
				go s.dial(t, stomp.Handshake{}).connect(ResumeTokenHeader, token)
				time.Sleep(50 * time.Millisecond)
			}
			s.registry.mu.Lock()
			alarms := len(s.registry.alarms.heap)
			s.registry.mu.Unlock()
			if alarms > 1 {
				t.Errorf("%d alarms", alarms)
			}
			settle()
			wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, Left)
			close(over)
			synctest.Wait()
			s.registry.mu.Lock()
			defer s.registry.mu.Unlock()
			if n := len(s.registry.entries) + len(s.registry.waiting); n > 0 {
				t.Errorf("%d are left behind", n)
			}
		})
	}
}

// Whose token another has used meanwhile does not let go of the session for those
// who come back after that one was lost.
func TestLateRefusalIsNotThatOfOthers(t *testing.T) {
	inBubbleWith(t, Settings{Grace: grace}, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, "1")
		first := c.token(t)
		c.hangUp(1006)
		s.endpoint.SetPolicy(slowly(func(connect *frame.Frame) error {
			takes, err := time.ParseDuration(connect.Header.Get("takes"))
			time.Sleep(takes)
			return err
		}))
		go s.dial(t, stomp.Handshake{}).connect(ResumeTokenHeader, first, "takes", (grace - time.Second/2).String())
		synctest.Wait()
		next := s.dial(t, stomp.Handshake{})
		if err := next.connect(ResumeTokenHeader, first, "takes", "0s"); err != nil {
			t.Fatal(err)
		}
		second := next.token(t)
		next.hangUp(1006)
		time.Sleep(grace - time.Second)
		last := s.dial(t, stomp.Handshake{})
		go last.connect(ResumeTokenHeader, second, "takes", "6s") // the first gets its answer, and then the time is over
		time.Sleep(10 * time.Second)
		settle()
		if last.session.ID() != "mina-0001" {
			t.Errorf("came back as %q", last.session.ID())
		}
		wantTypes(t, "told", s.told.types("mina-0001"), Connected, Joined, Unreachable, Returned, Unreachable, Returned)
	})
}
