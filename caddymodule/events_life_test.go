package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

const withAllEvents = `{
	$GLOBAL
	events {
		on stomp_connected stomptest_record
		on stomp_disconnected stomptest_record
		on stomp_unreachable stomptest_record
		on stomp_returned stomptest_record
		on stomp_room_joined stomptest_record
		on stomp_room_left stomptest_record
	}
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		user {http.request.header.X-User}
		presence {
			room /topic/rooms/*
			grace 1m
		}
	}
}
`

// eventNames are the names of what was recorded about a session, in order,
// with the room.
func eventNames(session string) (names []string) {
	recorded.Lock()
	defer recorded.Unlock()
	for _, e := range recorded.events {
		if e.data["session_id"] != session {
			continue
		}
		name := e.name
		if room, ok := e.data["room"]; ok {
			name += fmt.Sprint(" ", room)
		}
		names = append(names, name)
	}
	return names
}

func wantEvents(t *testing.T, session string, want ...string) {
	t.Helper()
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("events %q, want %q", got, want)
		}
	}()
	eventually(t, "events", func() bool { got = eventNames(session); return len(got) >= len(want) })
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// A session's whole life: what is told in its rooms as well is one event.
func TestEventsOfALife(t *testing.T) {
	resetEvents(t)
	s := run(t, withAllEvents)
	header := http.Header{"X-User": {"mina"}}
	other := dialWith(t, s.ws("/ws"), header)
	other.subscribe("/topic/rooms/a")
	c := dialWith(t, s.ws("/ws"), header, "client-data:1")
	c.subscribe("/topic/rooms/a")
	c.subscribe("/topic/rooms/b")
	c.request("UNSUBSCRIBE", "", "id:/topic/rooms/b")
	c.request("SEND", `{"clientData": 2}`, "destination:/app/presence")
	names := []string{"stomp_connected", "stomp_room_joined /topic/rooms/a", "stomp_room_joined /topic/rooms/b", "stomp_room_left /topic/rooms/b"}
	wantEvents(t, c.session, names...)

	c.ws.NetConn().Close()
	names = append(names, "stomp_unreachable")
	wantEvents(t, c.session, names...)
	back := dialWith(t, s.ws("/ws"), header, "resume-token:"+c.connected.header["resume-token"])
	if back.session != c.session {
		t.Fatalf("session %s, want %s", back.session, c.session)
	}
	names = append(names, "stomp_returned")
	wantEvents(t, c.session, names...)
	back.request("DISCONNECT", "")
	wantEvents(t, c.session, append(names, "stomp_disconnected", "stomp_room_left /topic/rooms/a")...)

	const all = "broker client_data endpoint remote_addr session_id transport user user_sessions epoch seq stream "
	stream := live(t, "chat").registry.Stats().Stream
	for _, tt := range []struct {
		event, keys string
		index       int
		data        map[string]any
	}{
		{"stomp_room_joined", "room", 1, map[string]any{"room": "/topic/rooms/a", "user_sessions": 2, "epoch": 1}},
		{"stomp_room_left", "room reason code clean", 0, map[string]any{
			"room": "/topic/rooms/b", "reason": "unsubscribed", "code": 0, "clean": true, "user_sessions": 0, "epoch": 1,
		}},
		{"stomp_unreachable", "reason code clean", 0, map[string]any{
			"reason": "connection-lost", "code": 1006, "clean": false, "user_sessions": 2, "epoch": 1, "client_data": "2",
		}},
		{"stomp_returned", "", 0, map[string]any{"user_sessions": 2, "epoch": 2, "remote_addr": back.ws.LocalAddr().String()}},
		{"stomp_room_left", "room reason code clean", 1, map[string]any{
			"room": "/topic/rooms/a", "reason": "disconnect", "code": 1000, "clean": true, "user_sessions": 1, "epoch": 2,
		}},
	} {
		e := recordedEvents(tt.event)[tt.index]
		tt.data["stream"], tt.data["user"], tt.data["broker"] = stream, "mina", "chat"
		for name, want := range tt.data {
			if e.data[name] != want {
				t.Errorf("%s: %s is %#v, want %#v", tt.event, name, e.data[name], want)
			}
		}
		if seq, ok := e.data["seq"].(uint64); !ok || seq == 0 {
			t.Errorf("%s: seq is %#v", tt.event, e.data["seq"])
		}
		if got, want := keys(e.data), sortedWords(all+tt.keys); got != want {
			t.Errorf("%s has %s, want %s", tt.event, got, want)
		}
	}
}

// Who is not announced is in no room for its peers, but is lost and back.
func TestEventsOfAnUnknownLife(t *testing.T) {
	resetEvents(t)
	s := run(t, withAllEvents)
	c := dial(t, s.ws("/ws"))
	c.subscribe("/topic/rooms/a")
	c.ws.NetConn().Close()
	wantEvents(t, c.session, "stomp_connected", "stomp_unreachable")
	if e := recordedEvents("stomp_unreachable")[0]; e.data["seq"] != uint64(0) {
		t.Errorf("%v", e.data)
	}
	dial(t, s.ws("/ws"), "resume-token:"+c.connected.header["resume-token"]).send("DISCONNECT", "")
	wantEvents(t, c.session, "stomp_connected", "stomp_unreachable", "stomp_returned", "stomp_disconnected")
}

func TestMetricsOfPresence(t *testing.T) {
	s := run(t, withAllEvents)
	metrics := func(unreachable, rooms, resumed, registrations float64) {
		t.Helper()
		wantMetrics(t, map[string]float64{
			"unreachable_sessions{broker=chat}": unreachable, "rooms{broker=chat}": rooms,
			"resumed_total{broker=chat}": resumed, "registrations_total{broker=chat}": registrations,
		})
	}
	metrics(0, 0, 0, 0)
	c := dial(t, s.ws("/ws"), "client-data:1")
	c.subscribe("/topic/rooms/a")
	c.subscribe("/topic/rooms/b")
	c.request("SEND", `{"clientData": 2}`, "destination:/app/presence")
	metrics(0, 2, 0, 2)
	c.ws.NetConn().Close()
	metrics(1, 2, 0, 2)
	back := dial(t, s.ws("/ws"), "resume-token:"+c.connected.header["resume-token"])
	metrics(0, 2, 1, 2)
	back.send("DISCONNECT", "")
	metrics(0, 0, 1, 2)
	if got, _ := gather(t); hasKey(got, "store_healthy{broker=chat}") {
		t.Error("there is store_healthy without a store")
	}
}
