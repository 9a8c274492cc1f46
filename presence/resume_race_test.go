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
