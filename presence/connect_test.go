package presence

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

func TestConnectWithClientData(t *testing.T) {
	for _, tt := range []struct{ name, header, want string }{
		{"string", `"Mina"`, `"Mina"`},
		{"object", `{"name":"Mina"}`, `{"name":"Mina"}`},
		{"null", `null`, `null`},
		{"number", `1.0`, `1.0`},
		{"space between tokens", ` { "a" : 1 } `, `{"a":1}`},
		{"not ASCII", `"Zoë"`, `"Zoë"`},
		{"escaped by JSON, not by STOMP", `"a\nb:c"`, `"a\nb:c"`},
		{"at the limit", `"` + strings.Repeat("x", 4094) + `"`, `"` + strings.Repeat("x", 4094) + `"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt, "p")
				s.connect(t, "mina-0001", stomp.ClientDataHeader, tt.header)
				settle()
				if got := s.clientData("mina-0001"); got != tt.want {
					t.Errorf("the registry has %.100s, want %.100s", got, tt.want)
				}
				if n := peer.news(t, "p"); len(n) != 1 || n[0].Type != "joined" || string(n[0].ClientData) != tt.want {
					t.Errorf("the peer was told %.200s", peer.bodies(t, "p"))
				}
				if got := s.told.types("mina-0001"); !slices.Equal(got, []Type{Connected, Joined}) {
					t.Errorf("the listener was told %v", got)
				}
			})
		})
	}
}

// Whoever is refused was never there: no change, no place taken.
func TestConnectRefused(t *testing.T) {
	for _, tt := range []struct {
		name, header, message string
		reason                stomp.Reason
	}{
		{"empty", "", "client-data: not JSON", stomp.ReasonProtocolError},
		{"not JSON", "Mina", "client-data: not JSON", stomp.ReasonProtocolError},
		{"broken", `{"name":"Mina"`, "client-data: not JSON", stomp.ReasonProtocolError},
		{"two values", `1 2`, "client-data: not JSON", stomp.ReasonProtocolError},
		{"not UTF-8", "\"\xff\"", "not UTF-8", stomp.ReasonProtocolError},
		{"over the limit", `"` + strings.Repeat("x", 4095) + `"`, "limit exceeded: client_data 4096", stomp.ReasonPolicy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt, "p")
				c := s.dial(t, stomp.Handshake{SessionID: "mina-0001", User: "mina"})
				if err := c.connect(stomp.ClientDataHeader, tt.header); err == nil {
					t.Error("Receive took it")
				}
				settle()
				if got := c.refusal(t); !strings.Contains(got, tt.message) {
					t.Errorf("ERROR says %.200q, want %q in it", got, tt.message)
				}
				if got := c.closeCode(); got != tt.reason.Code() {
					t.Errorf("closed with %d, want %d", got, tt.reason.Code())
				}
				if got := s.told.of("mina-0001"); len(got) != 0 {
					t.Errorf("the listener was told %v", s.told.types("mina-0001"))
				}
				if len(peer.bodies(t, "p")) != 0 || s.registry.Get("mina-0001") != nil || s.registry.Known() != 0 {
					t.Error("it left something behind")
				}
				if got := s.connectAs(t, stomp.Handshake{User: "mina"}); s.told.of(got.session.ID())[1].UserSessions != 1 {
					t.Errorf("counted among the user's sessions")
				}
			})
		})
	}
}
