package stomp_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// Attack: connections that send nothing, or nonsense, and are not closed by
// their client. They are bounded in number, of an address and in all, on all
// endpoints of the broker, until they are gone or have sent CONNECT.
func TestConnecting(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits stomp.Limits
		other  bool // whether another address may still come
	}{
		{"connecting 3", stomp.Limits{Connecting: 3}, false},
		{"connecting_per_address 3", stomp.Limits{ConnectingPerAddress: 3}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: tt.limits, Authenticator: renames{}}, func(t *testing.T, w *world) {
				elsewhere := w.Endpoint("/elsewhere", stomp.Policy{Limits: tt.limits, Authenticator: renames{}})
				refused := func(address string) bool {
					t.Helper()
					_, err := stomptest.NewPipe(func(tr stomp.Transport) (stomp.Receiver, error) {
						s, err := w.endpoint.NewSession(tr, &stomp.Handshake{Address: address})
						if err == nil {
							t.Cleanup(tr.Abort)
						}
						return s, err
					})
					if told := w.endpoint.Admits(address); err != nil && (told == nil || told.Error() != "limit exceeded: "+tt.name || told.Error() != err.Error()) {
						t.Errorf("%v, but told %v", err, told)
					}
					return err != nil
				}
				first, _ := stomptest.Dial(t, elsewhere, &stomp.Handshake{Address: "a"})
				second, pipe := stomptest.Dial(t, elsewhere, &stomp.Handshake{Address: "a"})
				third, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{Address: "a"})
				if err := w.endpoint.Admits("a"); err == nil || !refused("a") {
					t.Fatalf("a fourth is admitted: %v", err)
				}
				if refused("b") == tt.other {
					t.Errorf("another address is refused: %v", !tt.other)
				}
				pipe.Mute()
				second.Raw("nonsense\n\n\x00") // refused, but does not go
				synctest.Wait()
				if !refused("a") {
					t.Error("a fourth is admitted while the one that was refused lingers")
				}
				time.Sleep(stomp.CloseTimeout + time.Second)
				first.Connect() // as somebody of another address
				third.Connect()
				for i := range 2 {
					if refused("a") {
						t.Errorf("number %d is refused", i)
					}
				}
			})
		})
	}
}

// renames proves an address of its own, by which connecting is not counted.
type renames struct{}

func (renames) Authenticate(hs *stomp.Handshake, _ *frame.Frame) (*stomp.Handshake, error) {
	as := *hs
	as.Address = "proved"
	return &as, nil
}

// The sessions of a broker, on all of its endpoints. A change counts for those
// who come.
func TestBrokerSessions(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		elsewhere := w.Endpoint("/elsewhere", stomp.Policy{})
		w.SetSessions(2)
		first := w.client(t)
		other, _ := stomptest.Dial(t, elsewhere, nil)
		other.Connect()
		refused := func(limit int) {
			t.Helper()
			c, _ := w.dial(t)
			c.Send(frame.Connect, "", "accept-version:1.2")
			if _, closing := c.ExpectError(fmt.Sprint("limit exceeded: sessions of the broker ", limit)); closing.Code != 1008 {
				t.Errorf("closed with %v", closing)
			}
		}
		refused(2)
		w.SetSessions(3)
		w.client(t)
		refused(3)
		w.SetSessions(1)
		refused(1)
		first.ExpectNothing() // who is connected stays
		w.SetSessions(0)
		w.client(t)
		w.SetSessions(4)
		refused(4)
		first.Abort()
		w.observer.NextEnd(t)
		w.client(t)
	})
}

// Where frames may be large, so may what waits: a second one does not make a
// slow consumer.
func TestPendingFollowsFrameSize(t *testing.T) {
	p := stomp.Policy{}
	p.Limits.Frame.Frame = 2 << 20
	p.Limits.Frame.HeaderLine = 1000
	bubble(t, p, func(t *testing.T, w *world) {
		if n := w.endpoint.Policy().Limits.Pending; n != 8<<20 {
			t.Errorf("pending is %d", n)
		}
		c, pipe, _ := w.connect(t)
		sender := w.client(t)
		c.Subscribe("1", "/topic/a")
		pipe.Freeze()
		for range 3 {
			sender.Publish("/topic/a", strings.Repeat("x", 2<<20-1000))
		}
		sender.ExpectNothing()
		pipe.Thaw()
		for range 3 {
			c.Expect(frame.Message)
		}
	})
	if n := stomp.NewBroker(stomp.Config{}).Endpoint("/", stomp.Policy{}).Policy().Limits.Pending; n != 1<<20 {
		t.Errorf("pending is %d by default", n)
	}
}
