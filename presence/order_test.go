package presence

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Clients come, register, subscribe and go in any order and at the same time;
// whatever they do, each roster with the changes after it makes the same
// picture that the registry has, and the changes of each session have an order
// that makes sense.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scripts := rapid.SliceOfN(rapid.Custom(drawScript), 2, 10).Draw(rt, "clients")
		var err error
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(morning))
			s := newServer(t, registryItself)
			defer s.close()
			err = s.play(t, scripts)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// step is something that a client does; some are pauses, for another order of
// things.
type step string

const (
	reconnect   step = "reconnect" // ends the session, if there is one, and begins another
	register    step = "register"
	merge       step = "merge"
	subscribe   step = "subscribe" // again, if it has subscribed
	unsubscribe step = "unsubscribe"
	yield       step = "yield"
	pause       step = "pause"
)

var steps = []step{reconnect, register, register, merge, subscribe, subscribe, unsubscribe, yield, pause}

type script struct {
	User     string
	InHeader bool // client data in CONNECT
	Steps    []step
	Stays    bool
}

func drawScript(t *rapid.T) script {
	return script{
		User:     rapid.SampledFrom([]string{"", "", "mina", "zoe"}).Draw(t, "user"),
		InHeader: rapid.Bool().Draw(t, "in header"),
		Steps:    rapid.SliceOfN(rapid.SampledFrom(steps), 1, 60).Draw(t, "steps"),
		Stays:    rapid.Bool().Draw(t, "stays"),
	}
}

// subscription is one SUBSCRIBE of a client to the register destination.
type subscription struct {
	client *client
	id     string
	live   bool // until the end
}

// play plays the scripts at the same time and says what was wrong afterwards.
func (s *server) play(t *testing.T, scripts []script) error {
	watcher := s.connect(t, "watcher-01")
	watcher.subscribe(registerAt, "all")
	subscriptions := make([][]*subscription, len(scripts))
	var everybody sync.WaitGroup
	for i, sc := range scripts {
		everybody.Go(func() { subscriptions[i] = s.perform(t, i, sc) })
	}
	everybody.Wait()
	settle()

	changes := s.told.all()
	if err := orderly(changes); err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	for _, sub := range append(slices.Concat(subscriptions...), &subscription{watcher, "all", true}) {
		p, err := takeAll(sub.client.bodies(t, sub.id))
		if err == nil && p.whole {
			err = same(p.roster, asOf(changes, p.rosterSeq))
		}
		if err == nil && sub.live {
			err = p.sameAs(s.roster())
		}
		if err == nil && p.reset {
			err = fmt.Errorf("reset")
		}
		if err != nil {
			return fmt.Errorf("%s, subscription %s: %w", sub.client.session.ID(), sub.id, err)
		}
	}
	return nil
}

// perform plays one script and returns the subscriptions.
func (s *server) perform(t *testing.T, number int, sc script) (subscriptions []*subscription) {
	var c *client
	var live *subscription
	leave := func(n int) {
		if c == nil {
			return
		}
		if live != nil {
			live.live, live = false, nil
		}
		switch n % 4 {
		case 0:
			c.disconnect()
		case 1:
			c.hangUp(1001)
		case 2:
			c.hangUp(1006)
		case 3:
			go c.session.End(stomp.End{Reason: stomp.ReasonPolicy}) // while it speaks
			c.register(`{"clientData":"last words"}`)
		}
		c = nil
	}
	for n, what := range slices.Insert(slices.Clone(sc.Steps), 0, reconnect) {
		if what == reconnect {
			leave(n)
			var header []string
			if sc.InHeader {
				header = []string{stomp.ClientDataHeader, fmt.Sprint(n)}
			}
			c = s.connectAs(t, stomp.Handshake{SessionID: fmt.Sprintf("client-%d-%d", number, n), User: sc.User}, header...)
			continue
		}
		switch what {
		case register:
			c.register(fmt.Sprintf(`{"clientData":{"n":%d}}`, n))
		case merge:
			c.register(fmt.Sprintf(`{"clientData":{"m%d":%d}}`, n%3, n), frame.HdrContentType, patchType)
		case subscribe, unsubscribe:
			if live != nil {
				c.unsubscribe(live.id)
				live.live, live = false, nil
			}
			if what == subscribe {
				if n%4 > 0 {
					s.forgetRoster()
				}
				live = &subscription{c, fmt.Sprint("s", n), true}
				subscriptions = append(subscriptions, live)
				c.subscribe(registerAt, live.id)
			}
		case pause:
			time.Sleep(time.Millisecond)
		default: // yield
			runtime.Gosched()
		}
	}
	if !sc.Stays {
		leave(number)
	}
	return subscriptions
}

// forgetRoster makes the next newcomer get a roster of his own.
func (s *server) forgetRoster() {
	s.all().publishing.Lock()
	defer s.all().publishing.Unlock()
	s.all().snapshot = nil
}

// orderly: seq goes up by one, and each session is connected, perhaps joined
// and then updated, and left, once.
func orderly(changes []Change) error {
	lives := make(map[string]string)
	var seq uint64
	for _, c := range changes {
		if c.Seq > 0 {
			if c.Seq != seq+1 {
				return fmt.Errorf("seq %d after %d", c.Seq, seq)
			}
			seq = c.Seq
		}
		lives[c.SessionID] += " " + string(c.Type)
	}
	for id, life := range lives {
		rest := strings.TrimPrefix(life, " connected")
		joined := strings.HasPrefix(rest, " joined")
		rest = strings.TrimPrefix(rest, " joined")
		if joined {
			rest = strings.ReplaceAll(rest, " updated", "")
		}
		if rest = strings.TrimSuffix(rest, " left"); rest != "" || !strings.HasPrefix(life, " connected") {
			return fmt.Errorf("the life of %s is%s", id, life)
		}
	}
	return nil
}
