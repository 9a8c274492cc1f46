package stomp_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// STOMP 1.2, "CONNECT or STOMP Frame": host. stompjs sends none, so that only
// a wrong one is refused.
func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		hosts []string
		raw   string
		ok    bool
	}{
		{nil, "CONNECT\naccept-version:1.2\nhost:anything\n\n\x00", true},
		{nil, "CONNECT\naccept-version:1.2\n\n\x00", true},
		{nil, "CONNECT\naccept-version:1.2\nhost:\n\n\x00", true},
		{[]string{"a.example", "/"}, "CONNECT\naccept-version:1.2\nhost:a.example\n\n\x00", true},
		{[]string{"a.example", "/"}, "STOMP\naccept-version:1.2\nhost:/\n\n\x00", true},
		{[]string{"a.example"}, "CONNECT\naccept-version:1.2\n\n\x00", true},
		{[]string{"a.example"}, "CONNECT\n\n\x00", true},
		{[]string{"a.example"}, "CONNECT\naccept-version:1.2\nhost:b.example\n\n\x00", false},
		{[]string{"a.example"}, "CONNECT\naccept-version:1.2\nhost:\n\n\x00", false},
		{[]string{"a.example"}, "CONNECT\nhost:b.example\n\n\x00", false},
	} {
		t.Run(fmt.Sprint(tt.hosts, tt.raw), func(t *testing.T) {
			bubble(t, stomp.Policy{Hosts: tt.hosts}, func(t *testing.T, w *world) {
				c, _ := w.dial(t)
				c.Raw(tt.raw)
				if tt.ok {
					c.Expect(frame.Connected)
					return
				}
				if _, closing := c.ExpectError("host"); closing.Code != 1008 {
					t.Errorf("closed with %v", closing)
				}
			})
		})
	}
}

// guard lets in whoever knows the password, as what he is.
type guard struct{ seen chan stomp.Handshake }

var errWrong = &stomp.Error{Message: "login or passcode is wrong", Reason: stomp.ReasonPolicy, Code: 4001}

func (g guard) Authenticate(hs *stomp.Handshake, f *frame.Frame) (*stomp.Handshake, error) {
	g.seen <- *hs
	if f.Header.Get(frame.HdrPasscode) != "secret" {
		return nil, fmt.Errorf("asking the guard: %w", errWrong)
	}
	as := *hs
	as.User = f.Header.Get(frame.HdrLogin)
	as.Attributes = append(as.Attributes, stomp.Attribute{Name: "team", Value: "red"})
	return &as, nil
}

func TestAuthenticator(t *testing.T) {
	g := guard{make(chan stomp.Handshake, 10)}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			bubble(t, stomp.Policy{Authenticator: g}, func(t *testing.T, w *world) {
				c, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{User: "nobody", Address: "192.0.2.1"})
				c.User = "mina"
				f := c.Connect("login:mina", "passcode:secret", "accept-version:"+version)
				if seen := <-g.seen; seen.User != "nobody" || seen.Address != "192.0.2.1" {
					t.Errorf("it was given %+v", seen)
				}
				if f.Header.Get("user-name") != "mina" {
					t.Errorf("got %s", stomptest.Show(f))
				}
				hs := w.Session(f.Header.Get(frame.HdrSession)).Handshake()
				if hs.User != "mina" || len(hs.Attributes) != 1 || hs.Address != "192.0.2.1" {
					t.Errorf("the handshake is %+v", hs)
				}
				c.Subscribe("1", "/user/queue/x")
				c.Publish("/user/mina/queue/x", "x")
				expectBodies(t, c, "x")
			})
		})
	}
}

// A refusal is an ERROR, then the close; the session never was.
func TestAuthenticatorRefuses(t *testing.T) {
	g := guard{make(chan stomp.Handshake, 10)}
	bubble(t, stomp.Policy{Authenticator: g}, func(t *testing.T, w *world) {
		c, _ := w.dial(t)
		c.Raw("CONNECT\naccept-version:1.2\nlogin:mina\npasscode:wrong\n\n\x00SEND\ndestination:/topic/a\n\nx\x00")
		if _, closing := c.ExpectError("login or passcode is wrong"); closing.Code != 4001 {
			t.Errorf("closed with %v", closing)
		}
		if w.Stats().Connects != 0 || len(w.Sessions()) != 0 {
			t.Error("it was a session")
		}
	})
}

type failing struct{ err error }

func (f failing) Authenticate(*stomp.Handshake, *frame.Frame) (*stomp.Handshake, error) {
	return nil, f.err
}

// What is wrong with the guard itself is not told as it is.
func TestAuthenticatorFails(t *testing.T) {
	bubble(t, stomp.Policy{Authenticator: failing{errors.New("dial tcp 10.0.0.1:389: connection refused")}}, func(t *testing.T, w *world) {
		c, _ := w.dial(t)
		c.Send(frame.Connect, "", "accept-version:1.2")
		f, _ := c.ExpectError("")
		if got := stomptest.Show(f); strings.Contains(got, "10.0.0.1") {
			t.Errorf("the client was told %s", got)
		}
	})
}

// slowGuard takes its time.
type slowGuard struct{ answer chan struct{} }

func (g slowGuard) Authenticate(hs *stomp.Handshake, _ *frame.Frame) (*stomp.Handshake, error) {
	<-g.answer
	as := *hs
	as.User = "mina"
	return &as, nil
}

// A session that ended while its guard was asked stays ended.
func TestAuthenticatorTooLate(t *testing.T) {
	for _, end := range []string{"timeout", "endpoint closed", "connection lost"} {
		t.Run(end, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				answer := make(chan struct{})
				w.endpoint.SetPolicy(stomp.Policy{Authenticator: slowGuard{answer}})
				c, pipe := stomptest.Dial(t, w.endpoint, &stomp.Handshake{Address: "192.0.2.1"})
				c.Patience = time.Hour
				c.Send(frame.Connect, "", "accept-version:1.2")
				synctest.Wait()
				switch end {
				case "timeout":
					time.Sleep(11 * time.Second)
				case "endpoint closed":
					w.endpoint.Close(1001, "")
				default:
					pipe.End(stomp.Ending{Code: 1006})
				}
				synctest.Wait()
				close(answer)
				synctest.Wait()
				if users, addresses := stomp.Quotas(w.Broker); len(w.Sessions()) != 0 || users+addresses != 0 {
					t.Errorf("%d sessions, %d users, %d addresses are left", len(w.Sessions()), users, addresses)
				}
				if connects := w.Stats().Connects; connects != 0 && end != "connection lost" { // which the reader finds out after the answer
					t.Errorf("%d connects", connects)
				}
			})
		})
	}
}

// sleepy takes as long as it is told to.
type sleepy time.Duration

func (d sleepy) Authenticate(hs *stomp.Handshake, _ *frame.Frame) (*stomp.Handshake, error) {
	time.Sleep(time.Duration(d))
	as := *hs
	as.User = "mina"
	return &as, nil
}

// The guard answers at the moment at which CONNECT is too late, and DEBUG logs
// say who it was. For the race detector.
func TestAuthenticatorAtTheLastMoment(t *testing.T) {
	for _, after := range []time.Duration{9900 * time.Millisecond, 10 * time.Second, 10_100 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			bubble(t, stomp.Policy{Authenticator: sleepy(after)}, func(t *testing.T, w *world) {
				w.SetLogger(slog.New(slog.NewTextHandler(new(bytes.Buffer), &slog.HandlerOptions{Level: slog.LevelDebug})))
				for range 20 {
					c, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{Address: "192.0.2.1"})
					c.Send(frame.Connect, "", "accept-version:1.2")
				}
				time.Sleep(11 * time.Second)
				synctest.Wait()
				if n := w.Connections(); after > 10*time.Second && n != 0 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// Sessions are counted by user and by address, on all endpoints of the broker,
// as what the guard made of them, and no longer than they live.
func TestSessionQuotas(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits stomp.Limits
		hs     stomp.Handshake
		other  stomp.Handshake
	}{
		{"sessions_per_user", stomp.Limits{SessionsPerUser: 2}, stomp.Handshake{User: "mina", Address: "a"}, stomp.Handshake{User: "otto", Address: "a"}},
		{"sessions_per_address", stomp.Limits{SessionsPerAddress: 2}, stomp.Handshake{User: "mina", Address: "a"}, stomp.Handshake{User: "mina", Address: "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: tt.limits}, func(t *testing.T, w *world) {
				elsewhere := w.Endpoint("/elsewhere", stomp.Policy{Limits: tt.limits})
				one, _ := stomptest.Dial(t, elsewhere, &tt.hs)
				one.Connect()
				w.join(t, tt.hs)
				for range 3 {
					c, _ := stomptest.Dial(t, w.endpoint, &tt.hs)
					c.Send(frame.Connect, "", "accept-version:1.2")
					if _, closing := c.ExpectError(tt.name + " 2"); closing.Code != 1008 {
						t.Errorf("closed with %v", closing)
					}
				}
				w.join(t, tt.other)
				for range 3 { // neither has one or the other
					w.join(t, stomp.Handshake{})
				}
				one.Abort()
				w.observer.NextEnd(t)
				w.join(t, tt.hs)
			})
		})
	}
}

func TestSessionQuotasOff(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{SessionsPerUser: -1, SessionsPerAddress: -1}}, func(t *testing.T, w *world) {
		for range 1100 {
			w.join(t, stomp.Handshake{User: "mina", Address: "a"})
		}
		w.Drain(t.Context(), stomp.End{Code: 1001}, 0)
		if users, addresses := stomp.Quotas(w.Broker); users+addresses != 0 {
			t.Errorf("%d users and %d addresses are left", users, addresses)
		}
	})
}

// A session whose id is asked for while it is being given: nobody sees half of
// it. For the race detector.
func TestSessionIDWhileConnecting(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		sender := w.client(t)
		for i := range 200 {
			id := fmt.Sprintf("session-%d", i)
			c, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{SessionID: id})
			c.Send(frame.Connect, "", "accept-version:1.2")
			for range 5 {
				sender.Publish("/user/"+id+";session="+id+"/queue/x", "x")
			}
		}
		sender.ExpectNothing()
	})
}

// expiring is an authenticator whose credentials expire.
type expiring struct{ at time.Time }

func (e expiring) Authenticate(hs *stomp.Handshake, _ *frame.Frame) (*stomp.Handshake, error) {
	known := *hs
	known.Expires = e.at
	return &known, nil
}

// Credentials that expire when no clock can say are as good as any.
func TestExpiresInTheFarFuture(t *testing.T) {
	for _, at := range []time.Time{time.Unix(1<<40, 0), time.Unix(1<<61, 0), {}} {
		bubble(t, stomp.Policy{Authenticator: expiring{at}}, func(t *testing.T, w *world) {
			c, _, _ := w.connect(t)
			time.Sleep(25 * time.Second)
			c.Subscribe("1", "/topic/a")
		})
	}
}
