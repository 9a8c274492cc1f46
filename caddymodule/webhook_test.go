package caddymodule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hook is a receiver of webhooks, which answers 204 unless it is told otherwise.
type hook struct {
	*httptest.Server

	mu       sync.Mutex
	answer   http.HandlerFunc // nil: 204
	requests []hookRequest
}

type hookRequest struct {
	header http.Header
	body   []byte
	events []hookEvent
}

type hookEvent struct {
	change
	ID           string            `json:"id"`
	Stream       string            `json:"stream"`
	Epoch        int               `json:"epoch"`
	Broker       string            `json:"broker"`
	Endpoint     string            `json:"endpoint"`
	Transport    string            `json:"transport"`
	RemoteAddr   string            `json:"remoteAddr"`
	Attributes   map[string]string `json:"attributes"`
	Destination  string            `json:"destination"`
	Room         string            `json:"room"`
	UserSessions *int              `json:"userSessions"`
	At           string            `json:"at"`
	ConnectedAt  string            `json:"connectedAt"`
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := new(hook)
	h.Server = httptest.NewServer(h)
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	return h
}

// says has it answer otherwise; nil for 204.
func (h *hook) says(answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// status has it answer with that status.
func (h *hook) status(status int) {
	h.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	request := hookRequest{header: r.Header, body: body}
	if json.Unmarshal(body, &request.events) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	answer := h.answer
	h.requests = append(h.requests, request)
	h.mu.Unlock()
	if answer != nil {
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		answer(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *hook) all() []hookRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// events are all that came, in order, each as often as it came.
func (h *hook) events() (all []hookEvent) {
	for _, r := range h.all() {
		all = append(all, r.events...)
	}
	return all
}

// types are those of the events of a session.
func (h *hook) types(session string) (types []string) {
	for _, e := range h.events() {
		if e.SessionID == session {
			types = append(types, e.Type)
		}
	}
	return types
}

// expect waits until those are the events of a session.
func (h *hook) expect(t *testing.T, session string, want ...string) {
	t.Helper()
	var got []string
	defer func() { t.Logf("events of %s: %v, want %v", session, got, want) }()
	soon(t, "the events", func() bool { got = h.types(session); return slices.Equal(got, want) })
}

// soon is eventually for what may have to wait for the longest back-off.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	const most = 2 * time.Minute
	for end := time.Now().Add(most); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", most, what)
		}
	}
}

// hooked is a site with an endpoint whose broker has those options.
func hooked(options ...string) string {
	return "{\n\t$GLOBAL\n}\n\nhttp://localhost:$PORT {\n\tstomp /ws {\n\t\tname chat\n\t\t" + strings.Join(options, "\n\t\t") + "\n\t}\n}\n"
}

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func signature(t *testing.T, key []byte, r hookRequest) string {
	t.Helper()
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(r.header.Get("webhook-id") + "." + r.header.Get("webhook-timestamp") + "." + string(r.body)))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// What happens is POSTed, in order, with everything that the server knows, and
// signed by each secret.
func TestWebhook(t *testing.T) {
	t.Setenv("HOOK_SECRET", hookSecret)
	h := newHook(t)
	s := run(t, hooked("attribute team red", "attribute ip {client_ip} public",
		"webhook "+h.URL+"/hooks {", "\tsecret {env.HOOK_SECRET} a-plain-secret-of-the-operator", "\theader Authorization \"Bearer t0ken\"", "}"))
	c := dial(t, s.ws("/ws"), `client-data:{"name":"Mina <3"}`)
	c.send("DISCONNECT", "")
	h.expect(t, c.session, "joined", "left")

	events := h.events()
	joined, left := events[0], events[1]
	if joined.Seq != 1 || joined.Epoch != 1 || joined.Broker != "chat" || joined.Endpoint != "chat" || joined.Transport != "websocket" ||
		!strings.HasPrefix(joined.RemoteAddr, "127.0.0.1:") || string(joined.ClientData) != `{"name":"Mina <3"}` ||
		joined.Attributes["team"] != "red" || joined.Attributes["ip"] != "127.0.0.1" {
		t.Errorf("joined: %+v", joined)
	}
	if left.Seq != 2 || left.Reason != "disconnect" || left.Code != 1000 || !left.Clean || left.ConnectedAt != joined.ConnectedAt {
		t.Errorf("left: %+v", left)
	}
	if joined.ID != joined.Stream+"-1" || left.ID != joined.Stream+"-2" {
		t.Errorf("ids %s and %s", joined.ID, left.ID)
	}
	for _, r := range h.all() {
		if got := r.header.Get("content-type") + " " + r.header.Get("user-agent") + " " + r.header.Get("authorization"); got != "application/json caddy-stomp Bearer t0ken" {
			t.Errorf("headers %s", got)
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hookSecret, "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		want := signature(t, key, r) + " " + signature(t, []byte("a-plain-secret-of-the-operator"), r)
		if got := r.header.Get("webhook-signature"); got != want {
			t.Errorf("signed %s, want %s", got, want)
		}
	}
}

// Who is not announced to peers leaves all the same; the rest is told on request.
func TestWebhookEvents(t *testing.T) {
	h := newHook(t)
	s := run(t, hooked("presence {", "\troom /topic/rooms/*", "}",
		"webhook "+h.URL+" {", "\tevents connected joined left subscribed unsubscribed", "}"))
	nobody := dial(t, s.ws("/ws"))
	nobody.subscribe("/topic/presence")
	nobody.request("UNSUBSCRIBE", "", "id:/topic/presence")
	nobody.send("DISCONNECT", "")
	h.expect(t, nobody.session, "connected", "subscribed", "unsubscribed", "left")
	mina := dial(t, s.ws("/ws"), `client-data:1`)
	mina.subscribe("/topic/rooms/1")
	mina.send("DISCONNECT", "")
	h.expect(t, mina.session, "connected", "joined", "joined", "subscribed", "left", "left")
	for _, e := range h.events() {
		if (e.Seq == 0) != (e.SessionID == nobody.session || e.Type == "connected" || e.Type == "subscribed") {
			t.Errorf("%s has seq %d", e.Type, e.Seq)
		}
		if want := map[bool]string{true: "/topic/presence", false: "/topic/rooms/1"}[e.SessionID == nobody.session]; (e.Type == "subscribed" || e.Type == "unsubscribed") && e.Destination != want {
			t.Errorf("%s %s", e.Type, e.Destination)
		}
		if r := h.all()[0]; r.header.Get("webhook-signature") != "" || r.header.Get("webhook-id") == "" || r.header.Get("webhook-timestamp") == "" {
			t.Errorf("without a secret: %v", r.header)
		}
	}
}
