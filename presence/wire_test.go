package presence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

var mina = stomp.Handshake{
	SessionID: "mina-0001", User: "mina", Transport: "websocket", RemoteAddr: "192.0.2.1:4711",
	Attributes: []stomp.Attribute{{Name: "ip", Value: "192.0.2.1"}, {Name: "team", Value: "red", Public: true}},
}

// What peers read is public: see "On the wire" in the design. Keys that are
// not here are not to be there.
func TestAnnouncements(t *testing.T) {
	for _, tt := range []struct {
		name string
		hs   stomp.Handshake
		do   func(c *client)
		want []string // bodies
	}{
		{
			"a user that says nothing", mina,
			func(*client) {},
			[]string{`[{"stream":"stream-1","seq":1,"type":"joined","sessionId":"mina-0001","user":"mina","attributes":{"team":"red"},
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:00:00.200Z","userSessions":1}]`},
		},
		{
			"an anonymous client without public attributes",
			stomp.Handshake{SessionID: "anon-0001", Attributes: []stomp.Attribute{{Name: "ip", Value: "192.0.2.1"}}},
			func(c *client) {
				time.Sleep(90 * time.Second)
				c.register(`{"clientData":"Anon"}`)
				time.Sleep(1500 * time.Microsecond)
				c.register(`{"clientData":null}`)
				time.Sleep(time.Second)
				c.hangUp(1001)
			},
			[]string{
				`[{"stream":"stream-1","seq":1,"type":"joined","sessionId":"anon-0001","clientData":"Anon",
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:01:30.200Z"}]`,
				`[{"stream":"stream-1","seq":2,"type":"updated","sessionId":"anon-0001","clientData":null,
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:01:30.201Z"}]`,
				`[{"stream":"stream-1","seq":3,"type":"left","sessionId":"anon-0001","clientData":null,"reason":"closed","code":1001,"clean":true,
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:01:31.201Z","connectedFor":91.002}]`,
			},
		},
		{
			"the one in the design", mina,
			func(c *client) {
				c.register(`{"clientData":{"name":"Mina"}}`)
				time.Sleep(252345 * time.Millisecond)
				c.hangUp(1006)
			},
			[]string{
				`[{"stream":"stream-1","seq":1,"type":"joined","sessionId":"mina-0001","user":"mina","attributes":{"team":"red"},
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:00:00.200Z","userSessions":1}]`,
				`[{"stream":"stream-1","seq":2,"type":"updated","sessionId":"mina-0001","user":"mina","clientData":{"name":"Mina"},"attributes":{"team":"red"},
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:00:00.200Z","userSessions":1}]`,
				`[{"stream":"stream-1","seq":3,"type":"left","sessionId":"mina-0001","user":"mina","clientData":{"name":"Mina"},"attributes":{"team":"red"},
				"reason":"connection-lost","code":1006,"clean":false,
				"connectedAt":"2100-01-01T10:00:00.200Z","at":"2100-01-01T10:04:12.545Z","connectedFor":252.345,"userSessions":0}]`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt, "p")
				settle() // 200 ms
				tt.do(s.connectAs(t, tt.hs))
				settle()
				wantBodies(t, peer.bodies(t, "p"), tt.want)
				for _, f := range peer.frames(t) {
					if got := f.Header.Get(frame.HdrContentType); f.Command == frame.Message && got != "application/json" {
						t.Errorf("content-type %q", got)
					}
				}
			})
		})
	}
}

// wantBodies compares as JSON; changes may have been announced together.
func wantBodies(t *testing.T, bodies [][]byte, want []string) {
	t.Helper()
	var got []json.RawMessage
	for _, body := range bodies {
		var some []json.RawMessage
		if err := json.Unmarshal(body, &some); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		got = append(got, some...)
	}
	if len(got) != len(want) {
		t.Fatalf("%d changes, want %d: %s", len(got), len(want), got)
	}
	for i := range want {
		wantJSON(t, []byte("["+string(got[i])+"]"), want[i])
	}
}

// A row of the reason table for each way to go away.
func TestAnnouncedReasons(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		end        func(c *client)
	}{
		{"DISCONNECT", `"reason":"disconnect","code":1000,"clean":true`, func(c *client) { c.disconnect() }},
		{"close 1000", `"reason":"closed","code":1000,"clean":true`, func(c *client) { c.hangUp(1000) }},
		{"close without a code", `"reason":"closed","code":1005,"clean":true`, func(c *client) { c.hangUp(1005) }},
		{"close 3000", `"reason":"closed","code":3000,"clean":true`, func(c *client) { c.hangUp(3000) }},
		{"close 1011", `"reason":"protocol-error","code":1011,"clean":false`, func(c *client) { c.hangUp(1011) }},
		{"no close", `"reason":"connection-lost","code":1006,"clean":false`, func(c *client) { c.hangUp(1006) }},
		{
			"silence", fmt.Sprintf(`"reason":"heart-beat-timeout","code":%d,"clean":false`, stomp.ReasonHeartBeatTimeout.Code()),
			func(*client) { time.Sleep(testPolicy().PingTimeout) },
		},
		{"a frame that nobody knows", `"reason":"protocol-error","code":1002,"clean":false`, func(c *client) { c.send("HELLO", "") }},
		{"kicked", `"reason":"policy","code":4001,"clean":false`, func(c *client) { c.session.End(stomp.End{Reason: stomp.ReasonPolicy, Code: 4001}) }},
		{"the endpoint goes", `"reason":"server-shutdown","code":1001,"clean":false`, func(c *client) { c.session.Endpoint().Close(1001, "gone") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				patient := testPolicy()
				patient.PingTimeout *= 2
				peer := s.dialAt(t, s.broker.Endpoint("other", patient), stomp.Handshake{SessionID: "peer-0001"})
				peer.connect()
				peer.subscribe(announceAt, "p")
				c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `"Mina"`)
				settle()
				tt.end(c)
				settle()
				bodies := peer.bodies(t, "p")
				if len(bodies) != 2 || !bytes.Contains(bodies[1], []byte(tt.want)) {
					t.Errorf("got %s, want %s", bodies, tt.want)
				}
			})
		})
	}
}

func TestHTMLIsNotEscaped(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		peer := s.connect(t, "peer-0001")
		peer.subscribe(registerAt, "early")
		s.connectAs(t, stomp.Handshake{
			SessionID: "mina-0001", User: "a<b>&c",
			Attributes: []stomp.Attribute{{Name: "<&>", Value: "<i>", Public: true}},
		}, stomp.ClientDataHeader, `{"<k>":"&<>"}`)
		settle()
		peer.subscribe(registerAt, "late")
		settle()
		for _, subscription := range []string{"early", "late"} {
			got := bytes.Join(peer.bodies(t, subscription), nil)
			for _, want := range []string{`"user":"a<b>&c"`, `{"<&>":"<i>"}`, `{"<k>":"&<>"}`} {
				if !bytes.Contains(got, []byte(want)) {
					t.Errorf("%s: %s has no %s", subscription, got, want)
				}
			}
		}
	})
}

// Under pressure a left is as short as it can be. The stream is in it too, as
// in every entry: a seq means nothing without.
func TestCompactLeft(t *testing.T) {
	for _, tt := range []struct {
		at      int // changes at once
		compact bool
	}{
		{compactFrom - 1, false},
		{compactFrom, true},
	} {
		t.Run(fmt.Sprint(tt.at), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				var clients []*client
				for i := range tt.at {
					hs := mina
					hs.SessionID = fmt.Sprintf("session-%04d", i)
					clients = append(clients, s.connectAs(t, hs, stomp.ClientDataHeader, `{"name":"Mina"}`))
				}
				settle()
				peer.subscribe(announceAt, "p")
				s.atOnce(func() {
					clients[0].register(`{"clientData":"still here"}`)
					for _, c := range clients[1:] {
						c.hangUp(1006)
					}
				})
				settle()
				bodies := peer.bodies(t, "p")
				var got []map[string]any
				if len(bodies) != 1 || json.Unmarshal(bodies[0], &got) != nil || len(got) != tt.at {
					t.Fatalf("got %d bodies: %.300s", len(bodies), bodies)
				}
				if got[0]["clientData"] != "still here" {
					t.Errorf("updated is %v", got[0])
				}
				want := []string{"at", "attributes", "clean", "clientData", "code", "connectedAt", "connectedFor", "reason", "seq", "sessionId", "stream", "type", "user", "userSessions"}
				if tt.compact {
					want = []string{"reason", "seq", "sessionId", "stream", "type", "user"}
				}
				for _, left := range got[1:] {
					if keys := sortedKeys(left); !slices.Equal(keys, want) {
						t.Fatalf("keys %v, want %v", keys, want)
					}
				}
			})
		})
	}
}

// atOnce makes all changes that do makes be announced at once.
func (s *server) atOnce(do func()) {
	s.all().publishing.Lock()
	defer s.all().publishing.Unlock()
	do()
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// An announcement has at most 64 KiB; what does not fit goes into the next.
func TestAnnouncementSize(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		peer := s.connect(t, "peer-0001")
		peer.subscribe(registerAt, "p")
		settle()
		s.atOnce(func() {
			for i := range 100 {
				s.connect(t, fmt.Sprintf("session-%04d", i), stomp.ClientDataHeader, `"`+strings.Repeat("x", 20*i)+`"`)
			}
		})
		settle()
		bodies := peer.bodies(t, "p")
		if len(bodies) < 3 || len(bodies) > 5 { // the roster, 120 KiB
			t.Errorf("%d bodies", len(bodies))
		}
		for _, body := range bodies {
			if len(body) > 64<<10 {
				t.Errorf("a body of %d bytes", len(body))
			}
		}
		s.wantRight(t, peer, "p")
	})
}
