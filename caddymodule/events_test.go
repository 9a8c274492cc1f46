package caddymodule

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(new(eventRecorder)) }

// eventRecorder is an event handler that remembers what it was told, in
// recorded. Its argument "hang" makes it wait for release, too.
type eventRecorder struct {
	Hang bool `json:"hang,omitempty"`
}

type recordedEvent struct {
	name     string
	data     map[string]any
	reason   string // by placeholder
	canceled bool   // whether the context had ended
}

var recorded struct {
	sync.Mutex
	events  []recordedEvent
	waiting int
	release chan struct{}
}

func (*eventRecorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.stomptest_record", New: func() caddy.Module { return new(eventRecorder) }}
}

func (r *eventRecorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	r.Hang = d.NextArg()
	return nil
}

func (r *eventRecorder) Handle(ctx context.Context, e caddy.Event) error {
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	recorded.Lock()
	recorded.events = append(recorded.events, recordedEvent{
		e.Name(), e.Data, repl.ReplaceAll("{event.data.reason}", ""), ctx.Err() != nil,
	})
	release := recorded.release
	if r.Hang {
		recorded.waiting++
	}
	recorded.Unlock()
	if r.Hang {
		<-release
	}
	return nil
}

// resetEvents forgets what was recorded, and lets hanging handlers go at the
// end of the test.
func resetEvents(t *testing.T) (release func()) {
	recorded.Lock()
	defer recorded.Unlock()
	recorded.events, recorded.waiting, recorded.release = nil, 0, make(chan struct{})
	release = sync.OnceFunc(func() { close(recorded.release) })
	t.Cleanup(release)
	return release
}

func recordedEvents(name string) []recordedEvent {
	recorded.Lock()
	defer recorded.Unlock()
	return slices.DeleteFunc(slices.Clone(recorded.events), func(e recordedEvent) bool { return e.name != name })
}

func withEvents(argument string) string {
	return `{
	$GLOBAL
	events {
		on stomp_connected stomptest_record ` + argument + `
		on stomp_disconnected stomptest_record ` + argument + `
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		user {http.request.header.X-User}
		sockjs
	}
}
`
}

func sortedWords(words string) string {
	return strings.Join(slices.Sorted(strings.FieldsSeq(words)), " ")
}

func keys(data map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(data)), " ") }

func TestEvents(t *testing.T) {
	resetEvents(t)
	s := run(t, withEvents(""))
	header := map[string][]string{"X-User": {"mina"}}
	other := dialWith(t, s.ws("/ws/websocket"), header)
	c := dialWith(t, s.ws("/ws/websocket"), header, `client-data:{"name": "Mina"}`)
	eventually(t, "stomp_connected", func() bool { return len(recordedEvents(eventConnected)) == 2 })
	connected := recordedEvents(eventConnected)[1].data
	for name, want := range map[string]any{
		"session_id": c.session, "user": "mina", "client_data": `{"name":"Mina"}`, "client_data.name": "Mina", "epoch": 1,
		"broker": "chat", "endpoint": "chat", "transport": "websocket", "remote_addr": c.ws.LocalAddr().String(),
	} {
		if connected[name] != want {
			t.Errorf("stomp_connected: %s is %#v, want %#v", name, connected[name], want)
		}
	}
	if want := "broker client_data client_data.name endpoint epoch remote_addr session_id transport user"; keys(connected) != want {
		t.Errorf("stomp_connected has %s, want %s", keys(connected), want)
	}

	c.request("SEND", `{"clientData": [1, "two"]}`, "destination:/app/presence")
	c.send("DISCONNECT", "")
	eventually(t, "stomp_disconnected", func() bool { return len(recordedEvents(eventDisconnected)) == 1 })
	e := recordedEvents(eventDisconnected)[0]
	for name, want := range map[string]any{
		"session_id": c.session, "user": "mina", "client_data": `[1,"two"]`, "reason": "disconnect", "code": 1000, "clean": true,
		"user_sessions": 1, "seq": uint64(4), "broker": "chat", "endpoint": "chat", "transport": "websocket",
	} {
		if e.data[name] != want {
			t.Errorf("stomp_disconnected: %s is %#v, want %#v", name, e.data[name], want)
		}
	}
	if want := "broker clean client_data code endpoint epoch reason remote_addr seconds_connected seq session_id transport user user_sessions"; keys(e.data) != want {
		t.Errorf("stomp_disconnected has %s, want %s", keys(e.data), want)
	}
	if seconds, ok := e.data["seconds_connected"].(float64); !ok || seconds <= 0 || seconds > 60 {
		t.Errorf("seconds_connected is %v", e.data["seconds_connected"])
	}
	if e.reason != "disconnect" {
		t.Errorf("{event.data.reason} is %q", e.reason)
	}
	other.alive()
}

// Who was never announced to peers has events all the same; who never sent
// CONNECT has none.
func TestEventsOfAnonymousSessions(t *testing.T) {
	resetEvents(t)
	s := run(t, withEvents(""))
	dialRaw(t, s.ws("/ws/websocket"), nil).Close()
	c := dial(t, s.ws("/ws/websocket"))
	c.ws.Close()
	eventually(t, "stomp_disconnected", func() bool { return len(recordedEvents(eventDisconnected)) == 1 })
	e := recordedEvents(eventDisconnected)[0]
	if e.data["session_id"] != c.session || e.data["reason"] != "connection-lost" || e.data["seq"] != uint64(0) || e.data["client_data"] != "" {
		t.Errorf("stomp_disconnected: %v", e.data)
	}
	if n := len(recordedEvents(eventConnected)); n != 1 {
		t.Errorf("%d stomp_connected, want 1", n)
	}
}

// The ends that a stop makes are told before the context ends.
func TestEventsOfTheDrain(t *testing.T) {
	resetEvents(t)
	s := run(t, withEvents(""))
	const sessions = 20
	for range sessions {
		dial(t, s.ws("/ws/websocket"))
	}
	s.stop()
	all := recordedEvents(eventDisconnected) // nothing to wait for: they came before
	if len(all) != sessions {
		t.Errorf("%d stomp_disconnected, want %d", len(all), sessions)
	}
	for _, e := range all {
		if e.data["reason"] != "server-shutdown" || e.canceled {
			t.Errorf("%v, context ended: %t", e.data, e.canceled)
		}
	}
}

// A reload hands the events over to the new configuration's handlers: none is
// told twice, none is missing.
func TestEventsAcrossReloads(t *testing.T) {
	resetEvents(t)
	s := run(t, withEvents(""))
	c := dial(t, s.ws("/ws/websocket"))
	for range 3 {
		s.load(withEvents(""))
		dial(t, s.ws("/ws/websocket")).send("DISCONNECT", "")
	}
	c.send("DISCONNECT", "")
	eventually(t, "stomp_disconnected", func() bool { return len(recordedEvents(eventDisconnected)) == 4 })
	if n := len(recordedEvents(eventConnected)); n != 4 {
		t.Errorf("%d stomp_connected, want 4", n)
	}
}

// Law 5: a handler that hangs holds up nobody.
func TestHangingEventHandler(t *testing.T) {
	release := resetEvents(t)
	s := run(t, withEvents("hang"))
	for range 10 {
		dial(t, s.ws("/ws/websocket")).send("DISCONNECT", "")
	}
	eventually(t, "a hanging handler", func() bool { recorded.Lock(); defer recorded.Unlock(); return recorded.waiting == 1 })

	started := time.Now()
	s.load(withEvents(""))
	if took := time.Since(started); took > eventTimeout+2*time.Second {
		t.Errorf("the reload took %s, want about %s", took, eventTimeout)
	}
	c := dial(t, s.ws("/ws/websocket"))
	c.alive()
	warnings := s.logged(func(e map[string]any) bool {
		return e["level"] == "warn" && strings.Contains(fmt.Sprint(e["msg"]), "events dropped")
	})
	if len(warnings) != 1 || warnings[0]["count"] == nil {
		t.Errorf("warnings: %v, want one with the count of the dropped events", warnings)
	}
	release()
	eventually(t, "the event of the new configuration", func() bool {
		return slices.ContainsFunc(recordedEvents(eventConnected), func(e recordedEvent) bool { return e.data["session_id"] == c.session })
	})
}
