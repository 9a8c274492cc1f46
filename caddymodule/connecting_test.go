package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Who connects and says nothing is counted, by the address that Caddy trusts,
// whatever it connects with: one more is told to come again before any upgrade.
func TestConnecting(t *testing.T) {
	s := run(t, endpointWith("servers {\n\t\ttrusted_proxies static 127.0.0.1/8\n\t}",
		"sockjs\n\t\tlimits {\n\t\t\tconnecting_per_address 2\n\t\t\tconnecting 3\n\t\t}"))
	from := func(address string) http.Header { return http.Header{"X-Forwarded-For": {address}} }
	refused := func(path string, header http.Header) {
		t.Helper()
		if _, answer, err := reach(&dialer, s.ws(path), header); err == nil || answer.status != 503 || answer.header.Get("Retry-After") == "" {
			t.Errorf("%s: answered with %d %v", path, answer.status, answer.header)
		}
	}
	post := func(session string) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, s.http("/ws/000/"+session+"/xhr"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = from("192.0.2.1")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		return resp.StatusCode
	}
	broker := live(t, "chat").broker
	counted := func(n int) { // the client may have the 101 before
		t.Helper()
		eventually(t, fmt.Sprint(n, " connections"), func() bool { return broker.Connections() == n })
	}
	first := dialRaw(t, s.ws("/ws"), from("192.0.2.1"))
	counted(1)
	if status := post("aaaaaaaa"); status != 200 {
		t.Fatalf("a second one, over HTTP, was answered with %d", status)
	}
	for _, path := range []string{"/ws", "/ws/websocket", "/ws/000/cccccccc/websocket"} {
		refused(path, from("192.0.2.1"))
	}
	if status := post("bbbbbbbb"); status != 503 {
		t.Errorf("a third one over HTTP was answered with %d", status)
	}
	dialRaw(t, s.ws("/ws"), from("192.0.2.2"))
	counted(3)
	refused("/ws", from("192.0.2.3")) // the fourth in all

	if err := first.WriteMessage(1, []byte("CONNECT\naccept-version:1.2\n\n\x00")); err != nil {
		t.Fatal(err)
	}
	if _, m, err := first.ReadMessage(); err != nil || !strings.HasPrefix(string(m), "CONNECTED\n") {
		t.Fatalf("%q, %v", m, err)
	}
	dialWith(t, s.ws("/ws"), from("192.0.2.1"))
}

// A limit for all endpoints of a shared broker, which a reload changes for those
// who come.
func TestBrokerSessions(t *testing.T) {
	config := func(sessions int) string {
		return fmt.Sprintf(`{
	$GLOBAL
	stomp {
		broker chat {
			sessions %d
		}
	}
}

http://localhost:$PORT {
	stomp /ws {
		broker chat
	}
	stomp /other {
		broker chat
	}
}
`, sessions)
	}
	s := run(t, config(2))
	first := dial(t, s.ws("/ws"))
	dial(t, s.ws("/other"))
	if refusal := refused(t, s, nil, "host:localhost"); !strings.Contains(refusal, "sessions of the broker 2") {
		t.Errorf("ERROR does not name the limit: %q", refusal)
	}
	s.load(config(3))
	dial(t, s.ws("/other"))
	s.load(config(1))
	if refusal := refused(t, s, nil, "host:localhost"); !strings.Contains(refusal, "sessions of the broker 1") {
		t.Errorf("ERROR does not name the limit: %q", refusal)
	}
	first.alive()
}
