package caddymodule

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	caddy.RegisterModule(new(failingApp))
	httpcaddyfile.RegisterGlobalOption("stomptest_failing", func(*caddyfile.Dispenser, any) (any, error) {
		return httpcaddyfile.App{Name: "stomptest_failing", Value: caddyconfig.JSON(failingApp{}, nil)}, nil
	})
}

// failingApp is an app that cannot be started.
type failingApp struct{ stomp *App }

// stompStarted counts whether the stomp app had started when another failed.
var stompStarted = map[bool]int{}

func (*failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomptest_failing", New: func() caddy.Module { return new(failingApp) }}
}

func (a *failingApp) Provision(ctx caddy.Context) error {
	app, err := ctx.App("stomp")
	if err != nil {
		return err
	}
	a.stomp = app.(*App)
	return nil
}

var errFailing = errors.New("failing as told")

func (a *failingApp) Start() error {
	a.stomp.mu.Lock()
	defer a.stomp.mu.Unlock()
	stompStarted[a.stomp.claims != nil]++
	return errFailing
}

func (a *failingApp) Stop() error { return nil }

const twoEndpoints = `{
	$GLOBAL
	$OPTION
	stomp {
		broker shared {
			presence {
				announce $ANNOUNCE
			}
		}
		$BROKER
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		broker shared
		limits {
			subscriptions $LIMIT
		}
	}
	$MORE
}
`

// before is the configuration in force; the others change all that can be.
func before() string {
	return strings.NewReplacer("$OPTION", "", "$ANNOUNCE", "/topic/presence", "$BROKER", "", "$LIMIT", "2", "$MORE", "").Replace(twoEndpoints)
}

func changed(option, more string) string {
	return strings.NewReplacer("$OPTION", option, "$ANNOUNCE", "/topic/elsewhere", "$BROKER", "broker fresh", "$LIMIT", "1",
		"$MORE", "stomp /more {\n\t\tname more\n\t\tbroker shared\n\t}\n\tstomp /own {\n\t\tname own\n\t}\n\t"+more).Replace(twoEndpoints)
}

// unchanged checks that the configuration before is in force, and nothing of
// the other.
func unchanged(t *testing.T, s *server, c *client) {
	t.Helper()
	c.alive()
	wantReferences(t, map[string]int{"shared": 1})
	if endpoints := live(t, "shared").broker.Endpoints(); len(endpoints) != 1 || endpoints[0].Name() != "chat" {
		t.Errorf("%d endpoints, want chat alone", len(endpoints))
	}
	if n := len(live(t, "shared").claims); n != 1 {
		t.Errorf("%d claims, want 1", n)
	}
	// the old limit: two subscriptions
	if limit := live(t, "shared").broker.Endpoints()[0].Policy().Limits.Subscriptions; limit != 2 {
		t.Errorf("the limit in force is %d, want 2", limit)
	}
	newcomer := dial(t, s.ws("/ws"), `client-data:"newcomer"`)
	c.expectChange("joined", newcomer.session)
	newcomer.send("DISCONNECT", "")
	if left := c.expectChange("left", newcomer.session); left.Reason != "disconnect" {
		t.Errorf("announced %+v", left)
	}
}

// runBefore runs Caddy with one session that listens to announcements and has
// used its limit of subscriptions.
func runBefore(t *testing.T) (*server, *client) {
	t.Helper()
	s := run(t, before())
	c := dial(t, s.ws("/ws"))
	c.subscribe("/topic/presence")
	c.subscribe("/topic/other")
	return s, c
}

func TestReloadFailsInProvision(t *testing.T) {
	s, c := runBefore(t)
	for _, config := range []string{
		changed("", "stomp /bad {\n\t\tname bad\n\t\tbroker undefined\n\t}"),
		changed("", "reverse_proxy {\n\t\tlb_policy cookie\n\t\tlb_retry_match not_a_matcher {\n\t\t}\n\t}"),
		changed("", "tls /does/not/exist.pem /does/not/exist.key"),
	} {
		adapted, err := adapt(s.expand(config))
		if err == nil {
			err = caddy.Load([]byte(adapted), true)
		}
		if err == nil {
			t.Fatal("the reload did not fail")
		}
		unchanged(t, s, c)
	}
}

// Apps are started in random order: the one that fails before or after ours.
func TestReloadFailsInAnotherStart(t *testing.T) {
	s, c := runBefore(t)
	clear(stompStarted)
	for range 100 {
		err := s.tryLoad(changed("stomptest_failing", ""))
		if err == nil || !strings.Contains(err.Error(), errFailing.Error()) {
			t.Fatalf("the reload did not fail as it should: %v", err)
		}
		unchanged(t, s, c)
		if t.Failed() || stompStarted[true] > 2 && stompStarted[false] > 2 {
			return
		}
	}
	t.Errorf("not all orders came: %v", stompStarted)
}

// Our own Start fails while a broker is made: the pool hands out the error of
// somebody else who was making it at that moment.
func TestReloadFailsInOurStart(t *testing.T) {
	s, c := runBefore(t)
	for range 4 { // brokers are taken in random order
		fail, failed := make(chan struct{}), make(chan struct{})
		making := make(chan struct{})
		go func() {
			defer close(failed)
			_, _, _ = brokers.LoadOrNew("fresh", func() (caddy.Destructor, error) {
				close(making)
				<-fail
				return nil, errFailing
			})
		}()
		<-making
		go func() {
			defer close(fail)
			eventually(t, "Start", func() bool { refs, _ := brokers.References("fresh"); return refs == 2 })
		}()
		err := s.tryLoad(changed("", ""))
		<-failed
		if err == nil || !strings.Contains(err.Error(), "broker fresh: "+errFailing.Error()) {
			t.Fatalf("the reload did not fail as it should: %v", err)
		}
		unchanged(t, s, c)
	}
}

// A session that came in through an endpoint that only the failed
// configuration has is closed with it.
func TestReloadAfterFailures(t *testing.T) {
	s, c := runBefore(t)
	for range 3 {
		if err := s.tryLoad(changed("stomptest_failing", "")); err == nil {
			t.Fatal("the reload did not fail")
		}
	}
	s.load(changed("", ""))
	c.alive()
	wantReferences(t, map[string]int{"shared": 1, "fresh": 1, "own": 1})
	dial(t, s.ws("/more")).alive()
	dial(t, s.ws("/own")).alive()
}

// `caddy validate` beside a live server, in its own process or, as here, in
// the same.
func TestValidateTouchesNothing(t *testing.T) {
	s, c := runBefore(t)
	var config *caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(s.adapt(changed("", ""))), &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(config); err != nil {
		t.Fatal(err)
	}
	unchanged(t, s, c)
}
