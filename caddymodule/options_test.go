package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// endpointWith is a site with one endpoint that has some options.
func endpointWith(global, options string) string {
	return `{
	$GLOBAL
	` + global + `
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		` + options + `
	}
}
`
}

// refused connects and returns the ERROR that comes instead of CONNECTED.
func refused(t *testing.T, s *server, header http.Header, connect ...string) string {
	t.Helper()
	ws := dialRaw(t, s.ws("/ws"), header)
	frame := "CONNECT\naccept-version:1.2\n" + strings.Join(append(connect, ""), "\n") + "\n\x00"
	if err := ws.WriteMessage(1, []byte(frame)); err != nil {
		t.Fatal(err)
	}
	_, answer, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), "ERROR\n") {
		t.Errorf("answered with %q", answer)
	}
	return string(answer)
}

// The address that sessions are counted by is the one that Caddy trusts.
func TestSessionsPerAddress(t *testing.T) {
	s := run(t, endpointWith("servers {\n\t\ttrusted_proxies static 127.0.0.1/8\n\t}", "limits {\n\t\t\tsessions_per_address 1\n\t\t}"))
	from := func(address string) http.Header { return http.Header{"X-Forwarded-For": {address}} }
	first := dialWith(t, s.ws("/ws"), from("192.0.2.1"))
	dialWith(t, s.ws("/ws"), from("192.0.2.2"))
	if refusal := refused(t, s, from("192.0.2.1"), "host:localhost"); !strings.Contains(refusal, "sessions_per_address") {
		t.Errorf("ERROR does not name the limit: %q", refusal)
	}
	first.send("DISCONNECT", "")
	first.expectClose(1000)
	dialWith(t, s.ws("/ws"), from("192.0.2.1"))
}

func TestSessionsPerUser(t *testing.T) {
	s := run(t, endpointWith("", "user {http.request.header.X-User}\n\t\tlimits {\n\t\t\tsessions_per_user 1\n\t\t}"))
	user := func(name string) http.Header { return http.Header{"X-User": {name}} }
	dialWith(t, s.ws("/ws"), user("mina"))
	dialWith(t, s.ws("/ws"), user("lucy"))
	if refusal := refused(t, s, user("mina"), "host:localhost"); !strings.Contains(refusal, "sessions_per_user") {
		t.Errorf("ERROR does not name the limit: %q", refusal)
	}
	dial(t, s.ws("/ws")) // who has no name is not counted
	dial(t, s.ws("/ws"))
}

func TestHosts(t *testing.T) {
	s := run(t, endpointWith("", "hosts localhost chat.example.com"))
	dial(t, s.ws("/ws"))
	if refusal := refused(t, s, nil, "host:elsewhere"); !strings.Contains(refusal, "elsewhere") {
		t.Errorf("ERROR does not name the host: %q", refusal)
	}
}

func TestCompression(t *testing.T) {
	for option, want := range map[string]bool{"": false, "compression": true} {
		s := run(t, endpointWith("", option))
		compressing := dialer
		compressing.EnableCompression = true
		ws, answer, err := reach(&compressing, s.ws("/ws"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		if got := strings.Contains(answer.header.Get("Sec-Websocket-Extensions"), "permessage-deflate"); got != want {
			t.Errorf("compression %q: agreed %t", option, got)
		}
	}
}

// Placeholders are evaluated once, when the client connects; peers see what is
// public.
func TestAttributes(t *testing.T) {
	s := run(t, endpointWith("", "attribute team {http.request.header.X-Team} public\n\t\tattribute secret {http.request.header.X-Team}"))
	watcher := dial(t, s.ws("/ws"))
	watcher.subscribe("/topic/presence")
	c := dialWith(t, s.ws("/ws"), http.Header{"X-Team": {"red"}}, `client-data:1`)
	if _, told := watcher.nextChange(); !strings.Contains(told, `"attributes":{"team":"red"}`) || strings.Contains(told, "secret") {
		t.Errorf("announced %s", told)
	}
	s.load(endpointWith("", "attribute team blue public"))
	c.request("SEND", `{"clientData": 2}`, "destination:/app/presence")
	if _, told := watcher.nextChange(); !strings.Contains(told, `"attributes":{"team":"red"}`) {
		t.Errorf("announced after a reload %s", told)
	}
}

// Attack: a megabyte of a header in each session, or a name with a line end. What
// placeholders may be is bounded as what tokens say is.
func TestHandshakeIsBounded(t *testing.T) {
	s := run(t, endpointWith("", "sockjs\n\t\tuser {http.request.uri.query.user}\n\t\tattribute agent {http.request.header.X-Agent}"))
	for name, tt := range map[string]struct {
		user, agent, refused string
	}{
		"as long as may be":   {strings.Repeat("u", maxUser), strings.Repeat("a", maxAttributeValue), ""},
		"a user too long":     {strings.Repeat("u", maxUser+1), "", "the user is longer than 255 bytes, or not plain text"},
		"a user of two lines": {"mina\nuser-name:root", "", "the user is longer than 255 bytes, or not plain text"},
		"an attribute":        {"mina", strings.Repeat("a", maxAttributeValue+1), "attribute agent is longer than 1024 bytes"},
	} {
		header := http.Header{"X-Agent": {tt.agent}}
		query := "?user=" + url.QueryEscape(tt.user)
		for _, path := range []string{"/ws", "/ws/websocket"} {
			if tt.refused == "" {
				expectUser(t, name, userOf(t, s.ws(path+query), header), tt.user)
				continue
			}
			_, _, err := dialRaw(t, s.ws(path+query), header).ReadMessage()
			if closed, ok := errors.AsType[*websocket.CloseError](err); !ok || closed.Code != 1008 || closed.Text != tt.refused {
				t.Errorf("%s: closed with %v", name, err)
			}
		}
		r := must(http.NewRequest(http.MethodPost, s.http("/ws/000/"+url.PathEscape(name)+"/xhr"+query), nil))
		r.Header = header
		resp := must(http.DefaultClient.Do(r))
		body := must(io.ReadAll(resp.Body))
		resp.Body.Close()
		if (resp.StatusCode == http.StatusOK) != (tt.refused == "") || !strings.Contains(string(body), tt.refused) {
			t.Errorf("%s: POST is answered with %d %s", name, resp.StatusCode, body)
		}
	}
}
