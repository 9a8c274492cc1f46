package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// adminGlobal are the global options with an admin endpoint on the second port.
var adminGlobal = strings.Replace(global, "admin off", "admin localhost:$PORT2", 1)

// withAdmin is a site with two endpoints of the broker chat, with further
// options of the broker.
func withAdmin(options string) string {
	return `{
	` + adminGlobal + `
	stomp {
		broker chat {
			presence {
				room /topic/rooms/*
				grace 1m
				announce_unreachable
			}
			` + options + `
		}
	}
}

http://localhost:$PORT, http://127.0.0.1:$PORT {
	stomp /ws {
		name ws
		broker chat
		user {http.request.header.X-User}
		attribute team {http.request.header.X-Team} public
		attribute secret {http.request.header.X-Secret}
	}
	stomp /sockjs {
		name sockjs
		broker chat
		sockjs
	}
}
`
}

// tryAdmin asks the admin endpoint.
func (s *server) tryAdmin(method, path, body string) (status int, header http.Header, response string, err error) {
	req, err := http.NewRequest(method, "http://127.0.0.1:"+s.port2+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(raw), err
}

func (s *server) admin(method, path, body string) (status int, header http.Header, response string) {
	s.t.Helper()
	status, header, response, err := s.tryAdmin(method, path, body)
	for end := time.Now().Add(patience); err != nil && method == http.MethodGet && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		status, header, response, err = s.tryAdmin(method, path, body) // as get does
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return status, header, response
}

// adminGet asks for JSON that must be there.
func (s *server) adminGet(path string, into any) (raw string) {
	s.t.Helper()
	status, header, raw := s.admin(http.MethodGet, path, "")
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		s.t.Fatalf("GET %s: %d %v %s", path, status, header, raw)
	}
	if err := json.Unmarshal([]byte(raw), into); err != nil {
		s.t.Fatalf("GET %s: %v in %s", path, err, raw)
	}
	return raw
}

// listed is a session as the admin endpoint shows it.
type listed struct {
	SessionID  string          `json:"sessionId"`
	State      string          `json:"state"`
	User       string          `json:"user"`
	ClientData json.RawMessage `json:"clientData"`
	Attributes []struct {
		Name, Value string
		Public      bool
	} `json:"attributes"`
	Rooms            []string `json:"rooms"`
	Endpoint         string   `json:"endpoint"`
	Transport        string   `json:"transport"`
	RemoteAddr       string   `json:"remoteAddr"`
	Epoch            int      `json:"epoch"`
	ConnectedAt      string   `json:"connectedAt"`
	LastSeen         string   `json:"lastSeen"`
	Reason           string   `json:"reason"`
	UnreachableSince string   `json:"unreachableSince"`
	UnreachableUntil string   `json:"unreachableUntil"`
}

// sessions lists all of a broker's, in pages.
func (s *server) sessions(path string, query url.Values, between func()) (all []listed) {
	s.t.Helper()
	for {
		var page struct {
			Sessions []listed `json:"sessions"`
			Next     string   `json:"next"`
		}
		s.adminGet(path+"?"+query.Encode(), &page)
		all = append(all, page.Sessions...)
		if page.Next == "" {
			return all
		}
		query.Set("cursor", page.Next)
		between()
	}
}

func TestAdminBrokers(t *testing.T) {
	s := run(t, "{\n"+adminGlobal+"\n}\nhttp://localhost:$PORT {\n}\n")
	var brokers []adminBroker
	if raw := s.adminGet("/stomp/brokers", &brokers); raw != "[]\n" {
		t.Errorf("without a broker: %s", raw)
	}

	s.load(withAdmin(""))
	raw := s.adminGet("/stomp/brokers/chat", new(adminBroker))
	for _, want := range []string{`"degraded":[]`, `{"name":"sockjs","sessions":0},{"name":"ws","sessions":0}`} {
		if !strings.Contains(raw, want) {
			t.Errorf("%s has no %s", raw, want)
		}
	}
	c := dial(t, s.ws("/ws"), `client-data:1`)
	c.subscribe("/topic/rooms/a")
	var b adminBroker
	s.adminGet("/stomp/brokers/chat", &b)
	if b.Name != "chat" || b.Stream == "" || b.Sessions != 1 || b.Announced != 1 || b.Unreachable != 0 || b.Rooms != 1 ||
		b.Connections != 1 || b.Subscriptions != 1 || b.Endpoints[1] != (adminEndpoint{"ws", 1}) {
		t.Errorf("%+v", b)
	}
	c.ws.NetConn().Close()
	eventually(t, "the session to be unreachable", func() bool { s.adminGet("/stomp/brokers/chat", &b); return b.Unreachable == 1 })
	if b.Sessions != 1 || b.Endpoints[1].Sessions != 0 {
		t.Errorf("%+v", b)
	}

	// it is the same broker after a reload
	stream := b.Stream
	s.load(withAdmin("drain 1s"))
	if s.adminGet("/stomp/brokers/chat", &b); b.Stream != stream || b.Unreachable != 1 {
		t.Errorf("after the reload: %+v", b)
	}
}

// A private broker is named for its site and path.
func TestAdminNamesAreEncoded(t *testing.T) {
	s := run(t, "{\n"+adminGlobal+"\n}\nhttp://localhost:$PORT {\n\tstomp /ws\n}\n")
	c := dial(t, s.ws("/ws"))
	var all []adminBroker
	s.adminGet("/stomp/brokers", &all)
	if len(all) != 1 || !strings.Contains(all[0].Name, "/ws") {
		t.Fatalf("brokers: %+v", all)
	}
	path := "/stomp/brokers/" + url.PathEscape(all[0].Name)
	var b adminBroker
	if s.adminGet(path, &b); b.Name != all[0].Name {
		t.Errorf("%+v", b)
	}
	var l listed
	if s.adminGet(path+"/sessions/"+c.session, &l); l.SessionID != c.session {
		t.Errorf("%+v", l)
	}
	if status, _, body := s.admin(http.MethodDelete, path+"/sessions/"+url.PathEscape("a/b c"), ""); status != http.StatusNotFound || !strings.Contains(body, "a/b c") {
		t.Errorf("%d %s", status, body)
	}
}

func TestAdminErrors(t *testing.T) {
	s := run(t, withAdmin("queues {\n\t\t\t\tbacklog 1\n\t\t\t\toverflow refuse\n\t\t\t}"))
	c := dial(t, s.ws("/ws"))
	const chat = "/stomp/brokers/chat"
	one := chat + "/sessions/" + c.session
	message := func(body string) string { return `{"destination": "/topic/x"` + body + `}` }
	for _, tt := range []struct {
		request, body string
		status        int
		text          string // of the error
		allow         string
	}{
		{"GET /stomp/nothing", "", 404, "begin at /stomp/brokers", ""},
		{"GET /stomp/brokers/", "", 404, "nothing at", ""},
		{"GET " + chat + "/nothing", "", 404, "nothing at", ""},
		{"GET " + chat + "/health", "", 404, "nothing at", ""},
		{"GET /stomp/brokers/other", "", 404, `no broker "other"`, ""},
		{"GET /stomp/brokers/other/sessions", "", 404, `no broker "other"`, ""},
		{"GET /stomp/brokers/other/health/ready", "", 404, `no broker "other"`, ""},
		{"POST /stomp/brokers/other/publish", message(""), 404, `no broker "other"`, ""},
		{"GET " + chat + "/sessions/nobody", "", 404, `no session "nobody" at broker "chat"`, ""},
		{"DELETE " + chat + "/sessions/nobody", "", 404, `no session "nobody" at broker "chat"`, ""},

		{"POST /stomp/brokers", "", 405, "POST is not allowed", "GET, HEAD"},
		{"DELETE " + chat, "", 405, "DELETE is not allowed", "GET, HEAD"},
		{"PUT " + chat + "/sessions", "", 405, "PUT is not allowed", "GET, HEAD"},
		{"POST " + one, "", 405, "allowed are DELETE, GET, HEAD", "DELETE, GET, HEAD"},
		{"GET " + chat + "/publish", "", 405, "GET is not allowed", "POST"},
		{"POST " + chat + "/health/live", "", 405, "POST is not allowed", "GET, HEAD"},
		{"POST " + chat + "/health/ready", "", 405, "POST is not allowed", "GET, HEAD"},

		{"GET /stomp/brokers?x=1", "", 400, `no parameter "x"; there are none here`, ""},
		{"GET " + chat + "?x=1", "", 400, `no parameter "x"`, ""},
		{"GET " + one + "?x=1", "", 400, `no parameter "x"`, ""},
		{"GET " + chat + "/sessions?limt=1", "", 400, `no parameter "limt"; expected limit, user, cursor`, ""},
		{"GET " + chat + "/sessions?limit=0", "", 400, "expected a number from 1 to 1000", ""},
		{"GET " + chat + "/sessions?limit=1001", "", 400, "expected a number from 1 to 1000", ""},
		{"GET " + chat + "/sessions?limit=", "", 400, "expected a number from 1 to 1000", ""},
		{"GET " + chat + "/sessions?limit=1&limit=2", "", 400, "limit is given twice", ""},
		{"GET " + chat + "/sessions?cursor=x", "", 400, "the next of an earlier page", ""},
		{"GET " + chat + "/sessions?user=%zz", "", 400, "invalid URL escape", ""},
		{"DELETE " + one + "?text=x", "", 400, `no parameter "text"; expected reason`, ""},
		{"DELETE " + one + "?reason=a%0Ab", "", 400, "expected one line", ""},
		{"DELETE " + one + "?reason=%ff", "", 400, "expected one line of UTF-8", ""},
		{"DELETE " + one + "?reason=" + strings.Repeat("x", 124), "", 400, "at most 123 bytes", ""},

		{"POST " + chat + "/publish?x=1", message(""), 400, `no parameter "x"`, ""},
		{"POST " + chat + "/publish", "", 400, "expected a JSON object: EOF", ""},
		{"POST " + chat + "/publish", "[]", 400, "expected a JSON object", ""},
		{"POST " + chat + "/publish", "{}", 400, "destination is missing", ""},
		{"POST " + chat + "/publish", "null", 400, "destination is missing", ""},
		{"POST " + chat + "/publish", message("") + "}", 400, "expected a JSON object: invalid character", ""},
		{"POST " + chat + "/publish", message("") + message(""), 400, "there is more behind it", ""},
		{"POST " + chat + "/publish", message(`, "to": 1`), 400, `unknown field "to"`, ""},
		{"POST " + chat + "/publish", message(`, "body": {}`), 400, "cannot unmarshal object", ""},
		{"POST " + chat + "/publish", message(`, "body": "a", "bodyBase64": "YQ=="`), 400, "body and bodyBase64", ""},
		{"POST " + chat + "/publish", message(`, "bodyBase64": "!"`), 400, "illegal base64", ""},
		{"POST " + chat + "/publish", message(`, "headers": {"content-type": "a/b"}`), 400, "given as contentType", ""},
		{"POST " + chat + "/publish", message(`, "headers": {"": "x"}`), 400, "a header has no name", ""},
		{"POST " + chat + "/publish", message(`, "headers": {"n": 1}`), 400, "cannot unmarshal number", ""},
		{"POST " + chat + "/publish", `{"destination": "/elsewhere/x"}`, 400, `no such destination "/elsewhere/x"`, ""},
		{"POST " + chat + "/publish", `{"destination": "/topic/*"}`, 400, "wildcards", ""},
		{"POST " + chat + "/publish", `{"destination": "/topic/presence"}`, 400, "the server's own", ""},
		{"POST " + chat + "/publish", `{"destination": "/app/presence"}`, 400, "the server's own", ""},
		{"POST " + chat + "/publish", message(`, "body": "` + strings.Repeat("x", maxAdminBody) + `"`), 413, "larger than 262144 bytes", ""},
		{"POST " + chat + "/publish", message("") + strings.Repeat(" ", maxAdminBody), 413, "larger than 262144 bytes", ""},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		status, header, body := s.admin(method, path, tt.body)
		var apiError struct {
			Error string `json:"error"`
		}
		if json.Unmarshal([]byte(body), &apiError) != nil || status != tt.status || !strings.Contains(apiError.Error, tt.text) ||
			header.Get("Allow") != tt.allow || header.Get("Content-Type") != "application/json" {
			t.Errorf("%.80s %.60s: %d %q %s, want %d %q %q", tt.request, tt.body, status, header.Get("Allow"), body, tt.status, tt.allow, tt.text)
		}
	}
	// queues that are full say so
	fill := `{"destination": "/queue/full", "body": "x"}`
	if status, _, body := s.admin(http.MethodPost, chat+"/publish", fill); status != http.StatusNoContent || body != "" {
		t.Errorf("first: %d %s", status, body)
	}
	if status, _, body := s.admin(http.MethodPost, chat+"/publish", fill); status != http.StatusServiceUnavailable || !strings.Contains(body, "backlog 1") {
		t.Errorf("second: %d %s", status, body)
	}
	if status, _, body := s.admin(http.MethodHead, chat, ""); status != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %s", status, body)
	}
	c.alive() // nobody was kicked
}

func TestAdminSession(t *testing.T) {
	s := run(t, withAdmin(""))
	began := time.Now().Add(-time.Millisecond)
	plain := dial(t, s.ws("/ws"))
	var l listed
	if raw := s.adminGet("/stomp/brokers/chat/sessions/"+plain.session, &l); !strings.Contains(raw, `"rooms":[]`) || strings.Contains(raw, "null") {
		t.Errorf("%s", raw)
	}
	c := dialWith(t, s.ws("/ws"), http.Header{"X-User": {"mina"}, "X-Team": {"red"}, "X-Secret": {"42"}}, `client-data:{"name": "<Mina>"}`)
	c.subscribe("/topic/rooms/b")
	c.subscribe("/topic/rooms/a")
	path := "/stomp/brokers/chat/sessions/" + c.session
	raw := s.adminGet(path, &l)
	if l.SessionID != c.session || l.State != "connected" || l.User != "mina" || string(l.ClientData) != `{"name":"<Mina>"}` ||
		fmt.Sprint(l.Attributes) != "[{team red true} {secret 42 false}]" || fmt.Sprint(l.Rooms) != "[/topic/rooms/a /topic/rooms/b]" ||
		l.Endpoint != "ws" || l.Transport != "websocket" || l.RemoteAddr != c.ws.LocalAddr().String() || l.Epoch != 1 {
		t.Errorf("%s", raw)
	}
	for _, text := range []string{l.ConnectedAt, l.LastSeen} {
		at, err := time.Parse("2006-01-02T15:04:05.000Z", text)
		if err != nil || at.Before(began.Truncate(time.Millisecond)) || at.After(time.Now()) {
			t.Errorf("%q, %v: want a time since %s", text, err, began)
		}
	}
	if strings.Contains(raw, "unreachable") || strings.Contains(raw, "reason") {
		t.Errorf("%s", raw)
	}

	c.ws.NetConn().Close()
	eventually(t, "the session to be unreachable", func() bool { raw = s.adminGet(path, &l); return l.State == "unreachable" })
	since, err1 := time.Parse(time.RFC3339, l.UnreachableSince)
	until, err2 := time.Parse(time.RFC3339, l.UnreachableUntil)
	if err1 != nil || err2 != nil || until.Sub(since) != time.Minute || l.Reason != "connection-lost" || l.Epoch != 1 || len(l.Rooms) != 2 {
		t.Errorf("%s", raw)
	}
	if seen, err := time.Parse(time.RFC3339, l.LastSeen); err != nil || seen.After(since) {
		t.Errorf("last seen %s, unreachable since %s", l.LastSeen, since)
	}
}

func TestAdminPagesUnderChurn(t *testing.T) {
	s := run(t, withAdmin(""))
	const path = "/stomp/brokers/chat/sessions"
	var raw json.RawMessage
	if s.adminGet(path, &raw); string(raw) != `{"sessions":[]}` {
		t.Errorf("without a session: %s", raw)
	}
	connect := func(user string) *client { return dialWith(t, s.ws("/ws"), http.Header{"X-User": {user}}) }
	var stay []string
	var leavers []*client
	for i := range 45 {
		c := connect([]string{"mina", "jon", ""}[i%3])
		if i%5 == 0 {
			leavers = append(leavers, c)
		} else {
			stay = append(stay, c.session)
		}
	}
	pages := 1
	all := s.sessions(path, url.Values{"limit": {"4"}}, func() {
		pages++
		connect("late")
		if len(leavers) > 0 {
			leavers[len(leavers)-1].request("DISCONNECT", "")
			leavers = leavers[:len(leavers)-1]
		}
	})
	seen := make(map[string]int)
	for _, l := range all {
		seen[l.SessionID]++
	}
	for _, id := range stay {
		if seen[id] != 1 {
			t.Errorf("%s, who stays, is in %d pages", id, seen[id])
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s is in %d pages", id, n)
		}
	}
	if pages < 10 {
		t.Errorf("%d pages", pages)
	}

	of := func(user string) int {
		return len(s.sessions(path, url.Values{"user": {user}, "limit": {"5"}}, func() {}))
	}
	stayed := 0
	for _, l := range s.sessions(path, url.Values{}, func() {}) {
		if l.User == "jon" {
			stayed++
		}
	}
	if mina, jon, nobody := of("mina"), of("jon"), of("nobody"); jon != stayed || jon == 0 || mina == 0 || nobody != 0 || of("") == 0 {
		t.Errorf("mina has %d, jon %d of %d, nobody %d, anonymous %d", mina, jon, stayed, nobody, of(""))
	}
	for _, l := range s.sessions(path, url.Values{"user": {""}}, func() {}) {
		if l.User != "" {
			t.Errorf("anonymous: %+v", l)
		}
	}
}

func TestAdminKick(t *testing.T) {
	s := run(t, withAdmin(""))
	peer := dial(t, s.ws("/ws"))
	peer.subscribe("/topic/presence")
	path := func(id string) string { return "/stomp/brokers/chat/sessions/" + id }
	kick := func(id, query string, want int) {
		t.Helper()
		if status, _, body := s.admin(http.MethodDelete, path(id)+query, ""); status != want || want == 204 && body != "" {
			t.Errorf("%d %s, want %d", status, body, want)
		}
	}
	wantLeft := func(id string) {
		t.Helper()
		if c := peer.expectChange("left", id); c.Reason != "policy" || c.Code != 1008 || c.Clean {
			t.Errorf("%+v", c)
		}
	}

	c := dial(t, s.ws("/ws"), `client-data:"a"`)
	peer.expectChange("joined", c.session)
	kick(c.session, "?reason="+url.QueryEscape("bye: "+strings.Repeat("x", 118)), 204)
	if e := c.expect("ERROR"); e.header["message"] != "bye: "+strings.Repeat("x", 118) {
		t.Errorf("%v", e)
	}
	c.expectClose(1008)
	wantLeft(c.session)
	kick(c.session, "", 404)

	c = dial(t, s.ws("/ws"), `client-data:"b"`)
	peer.expectChange("joined", c.session)
	kick(c.session, "?reason=", 204)
	if e := c.expect("ERROR"); e.header["message"] != "policy violation" {
		t.Errorf("%v", e)
	}
	c.expectClose(1008)
	wantLeft(c.session)

	// one that is not connected any more
	c = dial(t, s.ws("/ws"), `client-data:"c"`)
	peer.expectChange("joined", c.session)
	c.ws.NetConn().Close()
	peer.expectChange("unreachable", c.session)
	kick(c.session, "?reason=gone", 204)
	wantLeft(c.session)
	kick(c.session, "", 404)

	for _, transport := range []string{"xhr", "xhr_streaming", "eventsource"} {
		c := dialHTTP(t, s, "/sockjs", transport, `client-data:"d"`)
		peer.expectChange("joined", c.session)
		kick(c.session, "?reason=enough", 204)
		if e := c.expect("ERROR"); e.header["message"] != "enough" {
			t.Errorf("%v", e)
		}
		c.expectEnd(`c[1008,"enough"]`)
		wantLeft(c.session)
	}
	peer.quiet()
}

func TestAdminPublish(t *testing.T) {
	s := run(t, withAdmin(""))
	c := dialWith(t, s.ws("/ws"), http.Header{"X-User": {"mina"}})
	c.subscribe("/topic/news")
	c.subscribe("/user/queue/own")
	c.subscribe("/queue/work")
	for _, tt := range []struct{ request, destination, body, contentType, header string }{
		{
			`{"destination": "/topic/news", "body": "hello ☃", "contentType": "text/plain", "headers": {"x-a:b": "c\nd", "message-id": "mine"}}`,
			"/topic/news", "hello ☃", "text/plain", `c\nd`,
		},
		{`{"destination": "/topic/news"}`, "/topic/news", "", "", ""},
		{`{"destination": "/topic/news", "bodyBase64": "/wCA"}`, "/topic/news", "\xff\x00\x80", "", ""},
		{`{"destination": "/user/mina/queue/own", "body": "you"}`, "/user/queue/own", "you", "", ""},
		{`{"destination": "/queue/work", "body": "do"}`, "/queue/work", "do", "", ""},
		{`{"destination": "/topic/news", "body": "` + strings.Repeat("x", 200<<10) + `"}`, "/topic/news", strings.Repeat("x", 200<<10), "", ""},
	} {
		if status, _, body := s.admin(http.MethodPost, "/stomp/brokers/chat/publish", tt.request); status != http.StatusNoContent || body != "" {
			t.Fatalf("%.100s: %d %s", tt.request, status, body)
		}
		m := c.expect("MESSAGE")
		if m.header["destination"] != tt.destination || m.body != tt.body || m.header["content-type"] != tt.contentType ||
			m.header["message-id"] == "mine" || (tt.header != "" && !hasValue(m, tt.header)) {
			t.Errorf("%.100s: %.300v", tt.request, m)
		}
	}
	c.quiet()
}

func hasValue(m message, value string) bool {
	for _, v := range m.header {
		if strings.HasSuffix(v, value) {
			return true
		}
	}
	return false
}
