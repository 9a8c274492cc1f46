package presence

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

const patchType = "application/merge-patch+json"

func TestRegisterForms(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"string", `{"clientData":"Mina"}`, `"Mina"`},
		{"empty string", `{"clientData":""}`, `""`},
		{"object", `{"clientData":{"name":"Mina","tags":[1,2]}}`, `{"name":"Mina","tags":[1,2]}`},
		{"number as it was written", `{"clientData":1.50e+2}`, `1.50e+2`},
		{"number beyond float64", `{"clientData":12345678901234567890123}`, `12345678901234567890123`},
		{"true", `{"clientData":true}`, `true`},
		{"null", `{"clientData":null}`, `null`},
		{"array", `{"clientData":[1,"a",null]}`, `[1,"a",null]`},
		{"space between tokens", " {\r\n\"clientData\" : { \"a\" : \"b c\" } } ", `{"a":"b c"}`},
		{"HTML characters", `{"clientData":"<b>&amp;</b>"}`, `"<b>&amp;</b>"`},
		{"not ASCII", `{"clientData":"Zoë 👋"}`, `"Zoë 👋"`},
		{"keys that nobody knows", `{"x":1,"clientData":"a","y":{}}`, `"a"`},
		{"own session id", `{"sessionId":"mina-0001","clientData":"a"}`, `"a"`},
		{"session id null", `{"sessionId":null,"clientData":"a"}`, `"a"`},
		{"session id empty", `{"sessionId":"","clientData":"a"}`, `"a"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001")
				peer.subscribe(announceAt, "p")
				c := s.connect(t, "mina-0001")
				if err := c.register(tt.body); err != nil {
					t.Fatal(err)
				}
				settle()
				if got := c.refusal(t); got != "" {
					t.Fatalf("refused: %s", got)
				}
				if got := s.clientData("mina-0001"); got != tt.want {
					t.Errorf("the registry has %s, want %s", got, tt.want)
				}
				n := peer.news(t, "p")
				if len(n) != 1 || n[0].Type != "joined" || string(n[0].ClientData) != tt.want {
					t.Errorf("the peer was told %s", peer.bodies(t, "p"))
				}
			})
		})
	}
}

func TestRegisterAgainReplaces(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001")
		c.register(`{"clientData":{"name":"Mina","color":"red"}}`)
		c.register(`{"clientData":{"name":"Mino"}}`)
		time.Sleep(updateInterval)
		c.register(`{"clientData":null}`)
		var got []string
		for _, change := range s.told.of("mina-0001") {
			got = append(got, fmt.Sprintf("%s %s", change.Type, change.ClientData))
		}
		want := `[connected  joined {"name":"Mina","color":"red"} updated {"name":"Mino"} updated null]`
		if fmt.Sprint(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Every refusal is an ERROR frame that says what was wrong, a close with the
// code of its reason, and a left for the peers; nobody else is disturbed.
func TestRegisterRefused(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		header     []string
		reason     stomp.Reason
		message    string // part of it
	}{
		{"empty body", "", nil, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"not JSON", "{", nil, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"two values", `{"clientData":1}{}`, nil, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"not an object", `"Mina"`, nil, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"array", `[{"clientData":1}]`, nil, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"null", `null`, nil, stomp.ReasonProtocolError, "clientData is missing"},
		{"not UTF-8", "{\"clientData\":\"\xff\"}", nil, stomp.ReasonProtocolError, "not UTF-8"},
		{"no client data", `{}`, nil, stomp.ReasonProtocolError, "clientData is missing"},
		{"session id only", `{"sessionId":"mina-0001"}`, nil, stomp.ReasonProtocolError, "clientData is missing"},
		{"session id is a number", `{"sessionId":1,"clientData":1}`, nil, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"somebody else", `{"sessionId":"peer-0001","clientData":1}`, nil, stomp.ReasonPolicy, `"peer-0001" is not yours`},
		{"nobody", `{"sessionId":"nobody-01","clientData":1}`, nil, stomp.ReasonPolicy, `"nobody-01" is not yours`},
		{"own in another case", `{"sessionId":"MINA-0001","clientData":1}`, nil, stomp.ReasonPolicy, "is not yours"},
		{"over the limit", `{"clientData":"` + strings.Repeat("x", 4095) + `"}`, nil, stomp.ReasonPolicy, "client_data 4096"},
		{"patch that is not JSON", `{"clientData":{`, []string{frame.HdrContentType, patchType}, stomp.ReasonProtocolError, "expected a JSON object {"},
		{"patch of somebody else", `{"sessionId":"peer-0001","clientData":{"a":1}}`, []string{frame.HdrContentType, patchType}, stomp.ReasonPolicy, "is not yours"},
		{"patch over the limit", `{"clientData":{"a":"` + strings.Repeat("x", 4096) + `"}}`, []string{frame.HdrContentType, patchType}, stomp.ReasonPolicy, "client_data 4096"},
		{"patched over the limit", `{"clientData":{"b":"` + strings.Repeat("x", 2048) + `"}}`, []string{frame.HdrContentType, patchType}, stomp.ReasonPolicy, "client_data 4096"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				peer := s.connect(t, "peer-0001", stomp.ClientDataHeader, `"peer"`)
				settle()
				peer.subscribe(announceAt, "p")
				before := `{"a":"` + strings.Repeat("x", 2048) + `"}`
				c := s.connect(t, "mina-0001", stomp.ClientDataHeader, before)
				if err := c.register(tt.body, tt.header...); err == nil {
					t.Error("Receive took it")
				}
				settle()
				if got := c.refusal(t); !strings.Contains(got, tt.message) {
					t.Errorf("ERROR says %.200q, want %q in it", got, tt.message)
				}
				if got := c.closeCode(); got != tt.reason.Code() {
					t.Errorf("closed with %d, want %d", got, tt.reason.Code())
				}
				told := s.told.of("mina-0001")
				last := told[len(told)-1]
				if len(told) != 3 || last.Type != Left || last.Reason != tt.reason || string(last.ClientData) != before {
					t.Errorf("the listener was told %v, last %s %s", s.told.types("mina-0001"), last.Type, last.Reason)
				}
				if got := peer.news(t, "p"); len(got) != 2 || got[1].Type != "left" {
					t.Errorf("the peer was told %.1000s", peer.bodies(t, "p"))
				}
				if s.clientData("peer-0001") != `"peer"` || peer.refusal(t) != "" {
					t.Error("the peer was disturbed")
				}
			})
		})
	}
}

// Existing pages cut the session id out of the SockJS URL, and some of them
// cut out the wrong part.
func TestRegisterByAlias(t *testing.T) {
	for _, tt := range []struct {
		name, sessionID, means string
	}{
		{"session segment", "abcd1234", "me"},
		{"server segment", "039", "me"},
		{"own id, minted as the segment was taken", "", "me"},
		{"both segments", "039/abcd1234", "nobody"},
		{"part of a segment", "abcd", "nobody"},
		{"somebody else", "peer-0001", "nobody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				s.connect(t, "peer-0001")
				first := s.connect(t, "abcd1234") // has the id already
				c := s.connectAs(t, stomp.Handshake{Aliases: "039/abcd1234/websocket"})
				id := tt.sessionID
				if id == "" {
					id = c.session.ID()
				}
				err := c.register(`{"sessionId":"` + id + `","clientData":"mine"}`)
				settle()
				if tt.means == "nobody" {
					if !strings.Contains(c.refusal(t), "is not yours") || c.closeCode() != stomp.ReasonPolicy.Code() {
						t.Errorf("got %v, ERROR %q, close code %d", err, c.refusal(t), c.closeCode())
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := s.clientData(c.session.ID()); got != `"mine"` {
					t.Errorf("got %q", got)
				}
				if got := s.clientData(first.session.ID()); got != "" {
					t.Errorf("the session that has the alias as its id has got %s", got)
				}
			})
		})
	}
}

func TestRegisterLimit(t *testing.T) {
	const limit = 100
	for _, tt := range []struct {
		name, value string
		ok          bool
	}{
		{"at the limit", `"` + strings.Repeat("x", limit-2) + `"`, true},
		{"one byte more", `"` + strings.Repeat("x", limit-1) + `"`, false},
		{"space does not count", `[` + strings.Repeat(" ", limit) + `1]`, true},
		{"bytes count, not characters", `"` + strings.Repeat("ë", limit/2) + `"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				s.setClientDataLimit(limit)
				c := s.connect(t, "mina-0001")
				err := c.register(`{"clientData":` + tt.value + `}`)
				settle()
				if (err == nil) != tt.ok {
					t.Fatalf("got %v", err)
				}
				if want := "limit exceeded: client_data 100"; !tt.ok && c.refusal(t) != want {
					t.Errorf("ERROR says %q, want %q", c.refusal(t), want)
				}
			})
		})
	}
}

// A session that ends while it speaks is not brought back.
func TestRegisterAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.connect(t, "mina-0001")
		c.hangUp(1006)
		if err := s.registry.Register(c.session, []byte(`"a"`)); err != ErrUnknownSession {
			t.Errorf("got %v, want ErrUnknownSession", err)
		}
		if s.registry.Get("mina-0001") != nil || s.registry.Known() != 0 {
			t.Error("the session is back")
		}
	})
}
