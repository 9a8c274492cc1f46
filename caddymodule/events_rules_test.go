package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(new(eventGuard)) }

// eventGuard is an event handler that aborts, hangs or panics for some users.
type eventGuard struct{}

func (*eventGuard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.stomptest_guard", New: func() caddy.Module { return new(eventGuard) }}
}

func (*eventGuard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (*eventGuard) Handle(ctx context.Context, e caddy.Event) error {
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	switch user := repl.ReplaceAll("{event.data.user}", ""); {
	case user == "eve", repl.ReplaceAll("{event.data.client_data.role}", "") == "spy":
		return fmt.Errorf("%w: not %s", caddy.ErrEventAborted, user)
	case user == "hang":
		guardsAsleep.Add(1)
		defer guardsAsleep.Add(-1)
		<-ctx.Done() // as one that heeds its context
	case user == "stone":
		<-stones // whatever its context says
	case repl.ReplaceAll("{event.data.client_data.wait}", "") == "true":
		guardsAsleep.Add(1)
		defer guardsAsleep.Add(-1)
		<-stones
		if repl.ReplaceAll("{event.data.client_data.refuse}", "") == "true" {
			return caddy.ErrEventAborted
		}
	case user == "panic":
		panic("guard")
	case user == "fails":
		return fmt.Errorf("no abort")
	}
	return nil
}

// guardsAsleep is how many handlers wait, for their context to end or for stones.
var guardsAsleep atomic.Int32

// stones is closed when the handlers may return that do not.
var stones chan struct{}

const guarded = `{
	$GLOBAL
	events {
		on stomp_connecting stomptest_guard
		on stomp_connected stomptest_record
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		user {http.request.header.X-User}
		deny connect user tom
	}
}
`

// A handler that aborts refuses the connection, and so does one that does not
// return: nobody comes in because a guard is asleep.
func TestConnectingEvent(t *testing.T) {
	resetEvents(t)
	s := run(t, guarded)
	as := func(user string) http.Header { return http.Header{"X-User": {user}} }
	dialWith(t, s.ws("/ws"), as("mina"), `client-data:{"role": "guest"}`).alive()
	dialWith(t, s.ws("/ws"), as("fails")).alive()
	for _, tt := range []struct{ user, data, want string }{
		{"eve", "1", "CONNECT: refused"},
		{"mina", `{"role":"spy"}`, "CONNECT: refused"},
		{"panic", "1", "CONNECT: refused"},
		{"tom", "1", "CONNECT: not permitted"},
		{"hang", "1", "not ready, try again later"},
	} {
		began := time.Now()
		c := dialUnconnected(t, s.ws("/ws"), as(tt.user))
		c.send("CONNECT", "", "accept-version:1.2", "host:x", "client-data:"+tt.data)
		if e := c.expect("ERROR"); e.header["message"] != tt.want {
			t.Errorf("%s: %v", tt.user, e)
		}
		if took := time.Since(began); tt.user == "hang" && (took < admissionTimeout || took > 2*admissionTimeout) {
			t.Errorf("refused after %s", took)
		}
	}
	eventually(t, "stomp_connected", func() bool { return len(recordedEvents(eventConnected)) >= 2 })
	if n := len(recordedEvents(eventConnected)); n != 2 {
		t.Errorf("%d have connected", n)
	}
}

// Handlers that never return, as many as may be waited for: who comes then is
// refused, those who are there do not notice, and all is well when they return.
func TestConnectingHandlersThatDoNotReturn(t *testing.T) {
	resetEvents(t)
	stones = make(chan struct{})
	release := sync.OnceFunc(func() { close(stones) })
	s := run(t, guarded)
	t.Cleanup(release) // before Caddy is stopped
	as := func(user string) http.Header { return http.Header{"X-User": {user}} }
	mina := dialWith(t, s.ws("/ws"), as("mina"))
	var waiting []*client
	for range maxAdmissions {
		c := dialUnconnected(t, s.ws("/ws"), as("stone"))
		c.send("CONNECT", "", "accept-version:1.2", "host:x")
		waiting = append(waiting, c)
	}
	mina.alive()
	for _, c := range waiting {
		if e := c.expect("ERROR"); e.header["message"] != "not ready, try again later" {
			t.Errorf("%v", e)
		}
	}
	late := dialUnconnected(t, s.ws("/ws"), as("omar"))
	late.send("CONNECT", "", "accept-version:1.2", "host:x")
	mina.alive()
	if e := late.expect("ERROR"); e.header["message"] != "not ready, try again later" {
		t.Errorf("%v", e)
	}
	late.expectClose(1013)
	release()
	dialWith(t, s.ws("/ws"), as("omar")).alive()
	mina.alive()
}

// A reload refuses nobody: who waited for a handler of the configuration of
// before is asked for of the next.
func TestConnectingAcrossReloads(t *testing.T) {
	resetEvents(t)
	s := run(t, guarded)
	var waiting []*client
	for range 3 {
		c := dialUnconnected(t, s.ws("/ws"), http.Header{"X-User": {"hang"}})
		c.send("CONNECT", "", "accept-version:1.2", "host:x")
		waiting = append(waiting, c)
	}
	eventually(t, "handlers that hang", func() bool { return guardsAsleep.Load() == int32(len(waiting)) })
	s.load(strings.Replace(guarded, "on stomp_connecting stomptest_guard", "", 1))
	for _, c := range waiting {
		c.expect("CONNECTED")
	}
}

func TestSubscriptionEvents(t *testing.T) {
	resetEvents(t)
	s := run(t, `{
	$GLOBAL
	events {
		on stomp_registered stomptest_record
		on stomp_subscribed stomptest_record
		on stomp_unsubscribed stomptest_record
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
	}
}
`)
	c := dial(t, s.ws("/ws"))
	c.subscribe("/topic/a")
	c.request("SEND", `{"clientData": {"name": "Mina", "age": 7, "here": true, "deep": {}, "none": null}}`, "destination:/app/presence")
	c.subscribe("/app/presence")
	c.expect("MESSAGE") // the roster
	c.request("UNSUBSCRIBE", "", "id:/topic/a")
	c.send("DISCONNECT", "")
	eventually(t, "events", func() bool { return len(recordedEvents(eventUnsubscribed)) == 1 })
	subscribed := recordedEvents(eventSubscribed)
	if len(subscribed) != 2 || subscribed[0].data["destination"] != "/topic/a" || subscribed[1].data["destination"] != "/app/presence" {
		t.Fatalf("subscribed: %v", subscribed)
	}
	const all = "broker client_data endpoint epoch remote_addr session_id transport user "
	if got, want := keys(subscribed[0].data), sortedWords(all+"destination"); got != want {
		t.Errorf("stomp_subscribed has %s, want %s", got, want)
	}
	registered := recordedEvents(eventRegistered)
	if len(registered) != 1 {
		t.Fatalf("registered: %v", registered)
	}
	data := registered[0].data
	if got, want := keys(data), sortedWords(all+"client_data.name client_data.age client_data.here seq stream user_sessions"); got != want {
		t.Errorf("stomp_registered has %s, want %s", got, want)
	}
	for name, want := range map[string]any{"client_data.name": "Mina", "client_data.age": json.Number("7"), "client_data.here": true, "epoch": 1, "session_id": c.session} {
		if data[name] != want {
			t.Errorf("%s is %#v, want %#v", name, data[name], want)
		}
	}
}

// The other direction: events become messages.
func TestPublishEvent(t *testing.T) {
	s := run(t, `{
	$GLOBAL
	events {
		on stomp_registered stomp_publish /topic/of/{event.data.client_data.name}
		on stomp_disconnected stomp_publish /topic/ops chat
		on stomp_connected stomp_publish /topic/presence
		on stomp_subscribed stomp_publish /topic/ops nowhere
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
	}
}
`)
	reader := dial(t, s.ws("/ws"))
	reader.subscribe("/topic/of/a%2Fb%2A")
	reader.subscribe("/topic/ops")
	c := dial(t, s.ws("/ws"), `client-data:{"name":"a/b*"}`)
	m := reader.expect("MESSAGE")
	var event struct {
		Type string         `json:"type"`
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal([]byte(m.body), &event); err != nil || event.Type != eventRegistered || event.Data["session_id"] != c.session {
		t.Errorf("%v: %v", err, m)
	}
	if m.header["destination"] != "/topic/of/a%2Fb%2A" || m.header["content-type"] != "application/json" {
		t.Errorf("%v", m)
	}
	c.send("DISCONNECT", "")
	m = reader.expect("MESSAGE")
	if err := json.Unmarshal([]byte(m.body), &event); err != nil || event.Type != eventDisconnected || event.Data["reason"] != "disconnect" {
		t.Errorf("%v: %v", err, m)
	}
	for _, want := range []string{"is the server's own destination", `no broker \"nowhere\"`} {
		eventually(t, want, func() bool {
			return len(s.logged(func(e map[string]any) bool {
				text, _ := json.Marshal(e["error"])
				return strings.Contains(string(text), want)
			})) > 0
		})
	}
}
