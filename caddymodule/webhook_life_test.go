package caddymodule

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// signedBy says whether a request is signed by that plain secret alone.
func signedBy(t *testing.T, r hookRequest, secret string) bool {
	t.Helper()
	return r.header.Get("webhook-signature") == signature(t, []byte(secret), r)
}

const (
	oldSecret = "the-old-secret-of-the-operator"
	newSecret = "the-new-secret-of-the-operator"
)

// A reload with the same URL keeps what waits, and what it changes is in force
// for that, too. One that fails changes nothing.
func TestWebhookReload(t *testing.T) {
	h := newHook(t)
	config := func(secret string, more ...string) string {
		return hooked(append([]string{"webhook " + h.URL + "/hooks {", "\tsecret " + secret, "}"}, more...)...)
	}
	s := run(t, config(oldSecret))
	h.status(http.StatusServiceUnavailable)
	c := dial(t, s.ws("/ws"), `client-data:1`)
	soon(t, "the first request", func() bool { return len(h.all()) > 0 })

	if err := s.tryLoad(config(newSecret, "webhook "+h.URL+"/more {", "\tca $DIR/nothing.pem", "}")); err == nil || !strings.Contains(err.Error(), "nothing.pem") {
		t.Fatalf("a configuration whose CA is not there: %v", err)
	}
	before := len(h.all())
	soon(t, "another request", func() bool { return len(h.all()) > before })
	for _, r := range h.all() {
		if !signedBy(t, r, oldSecret) {
			t.Errorf("a reload that failed was in force: %v", r.header)
		}
	}
	s.load(config(newSecret))
	h.says(nil)
	soon(t, "the event after the reload", func() bool { return signedBy(t, h.all()[len(h.all())-1], newSecret) })
	c.send("DISCONNECT", "")
	soon(t, "the end", func() bool { return slices.Contains(h.types(c.session), "left") })
	ids := make(map[string]string)
	for _, e := range h.events() {
		if known := ids[e.Type]; known != "" && known != e.ID {
			t.Errorf("%s has the ids %s and %s", e.Type, known, e.ID)
		}
		ids[e.Type] = e.ID
	}
}

// A URL that is gone is told what was left, if it answers in time.
func TestWebhookRemoved(t *testing.T) {
	h := newHook(t)
	s := run(t, hooked("drain 1s", "webhook "+h.URL+"/hooks"))
	h.status(http.StatusServiceUnavailable)
	c := dial(t, s.ws("/ws"), `client-data:1`)
	dial(t, s.ws("/ws"), `client-data:2`)
	soon(t, "the first request", func() bool { return len(h.all()) > 0 })
	s.load(hooked("drain 1s"))
	c.alive()
	dropped := func(entry map[string]any) bool {
		return strings.Contains(fmt.Sprint(entry["msg"]), "not configured any more") && entry["level"] == "warn" &&
			entry["announcer"] == h.URL+"/hooks" && entry["dropped"] == 2.0
	}
	soon(t, "the warning", func() bool { return len(s.logged(dropped)) == 1 })
	if left := live(t, "chat").registry.Announcers(); len(left) != 0 {
		t.Errorf("left are %+v", left)
	}
	if values, _ := gather(t); len(values) == 0 || strings.Contains(fmt.Sprint(values), h.URL) {
		t.Errorf("metrics: %v", values)
	}

	// and again, with one that works
	h.says(nil)
	s.load(hooked("webhook " + h.URL + "/hooks"))
	last := dial(t, s.ws("/ws"), `client-data:3`)
	h.expect(t, last.session, "joined")
	if n := len(s.logged(func(entry map[string]any) bool { return strings.Contains(fmt.Sprint(entry["msg"]), "without a store") })); n != 2 {
		t.Errorf("that there is no store was said %d times", n)
	}
}

// At an exit without a store those who are ended are told of, in time.
func TestWebhookExit(t *testing.T) {
	h := newHook(t)
	s := run(t, hooked("webhook "+h.URL))
	var sessions []string
	for range 20 {
		sessions = append(sessions, dial(t, s.ws("/ws")).session)
	}
	s.stop()
	for _, session := range sessions {
		h.expect(t, session, "left")
	}
	for _, e := range h.events() {
		if e.Reason != "server-shutdown" {
			t.Errorf("%s left: %s", e.SessionID, e.Reason)
		}
	}
}

// With a store what was not told at an exit is told by the next process, after
// which nobody who was there has been forgotten.
func TestWebhookExitWithAStore(t *testing.T) {
	h := newHook(t)
	config := hooked("store file $DIR/presence.db", "presence {", "\trecovery_grace 100ms", "}", "webhook "+h.URL)
	s := run(t, config)
	h.status(http.StatusBadGateway)
	mina := dial(t, s.ws("/ws"), `client-data:1`)
	zoe := dial(t, s.ws("/ws"), `client-data:2`)
	zoe.send("DISCONNECT", "")
	soon(t, "zoe to leave", func() bool { return live(t, "chat").registry.Get(zoe.session) == nil })
	soon(t, "a request", func() bool { return len(h.all()) > 0 })
	s.exit()
	refused := len(h.events())
	h.says(nil)
	s.load(config)
	var types []string
	defer func() { t.Logf("told after the restart: %v", types) }()
	soon(t, "all that was left", func() bool {
		types = nil
		for _, e := range h.events()[refused:] {
			types = append(types, e.SessionID+" "+e.Type)
		}
		return slices.Equal(types, []string{mina.session + " joined", zoe.session + " joined", zoe.session + " left", mina.session + " left"})
	})
	if events := h.events(); events[len(events)-1].Reason != "server-shutdown" {
		t.Errorf("the last is %+v", events[len(events)-1])
	}
}

// exit stops Caddy as the end of the process does, which brokers come back from.
func (s *server) exit() {
	s.t.Helper()
	app, err := caddy.ActiveContext().App("stomp")
	if err != nil {
		s.t.Fatal(err)
	}
	a := app.(*App)
	a.mu.Lock()
	a.inForce = false // caddy.Exiting is true for good
	a.mu.Unlock()
	s.stop()
}

// A receiver that never answers holds up neither sessions nor an exit.
func TestWebhookHangs(t *testing.T) {
	h := newHook(t)
	s := run(t, hooked("drain 1s", "webhook "+h.URL+" {", "\ttimeout 1h", "}"))
	h.says(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	peer := dial(t, s.ws("/ws"))
	peer.subscribe("/topic/presence")
	for range 20 {
		c := dial(t, s.ws("/ws"), `client-data:1`)
		peer.expectChange("joined", c.session)
		c.send("DISCONNECT", "")
		peer.expectChange("left", c.session)
	}
	soon(t, "the request", func() bool { return len(h.all()) == 1 })
	if st := live(t, "chat").registry.Announcers()[0]; st.Pending != 40 {
		t.Errorf("%d pending", st.Pending)
	}
	s.stop()
	warned := s.logged(func(entry map[string]any) bool { return strings.Contains(fmt.Sprint(entry["msg"]), "before the end") })
	if len(warned) != 1 || warned[0]["dropped"] != 41.0 { // the peer has left as well
		t.Errorf("warned %v", warned)
	}
}

// Nothing that is secret is logged or shown.
func TestWebhookSecrets(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_"+base64.StdEncoding.EncodeToString([]byte("s3cret-in-the-environment")))
	h := newHook(t)
	address := strings.Replace(h.URL, "http://", "http://mina:s3cret-password@", 1) + "/hooks?token=s3cret-token"
	s := run(t, "{\n\t"+adminGlobal+"\n}\n\nhttp://localhost:$PORT {\n\tmetrics /metrics\n\tstomp /ws {\n\t\tname chat\n\t\twebhook "+address+
		" {\n\t\t\tsecret {env.HOOK_SECRET} s3cret-in-the-caddyfile\n\t\t\theader X-Token s3cret-header\n\t\t}\n\t}\n}\n")
	answers := []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret-echo", http.StatusBadRequest) },
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/s3cret-location", http.StatusFound)
		},
		func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		},
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) },
	}
	for _, answer := range answers {
		h.says(answer)
		before := len(h.all())
		dial(t, s.ws("/ws"), `client-data:1`)
		soon(t, "a request", func() bool { return len(h.all()) > before })
		soon(t, "its end", func() bool {
			st := live(t, "chat").registry.Announcers()[0]
			return st.Error != nil
		})
	}
	soon(t, "it to be disabled", func() bool { return live(t, "chat").registry.Announcers()[0].State == "disabled" })
	if auth := h.all()[0].header.Get("Authorization"); !strings.HasPrefix(auth, "Basic ") {
		t.Errorf("user and password of the URL are sent as %q", auth)
	}
	_, metrics := s.get(s.http("/metrics"))
	_, _, shown := s.admin(http.MethodGet, "/stomp/brokers/chat/webhooks", "")
	_, _, health := s.admin(http.MethodGet, "/stomp/brokers/chat/health/ready", "")
	s.stop()
	// Caddy's own entries are those of its configuration, which it shows as it is
	logged := s.logged(func(entry map[string]any) bool { return strings.Contains(fmt.Sprint(entry["logger"]), "stomp") })
	for what, text := range map[string]string{"metrics": metrics, "admin": shown, "health": health, "log": fmt.Sprint(logged)} {
		if i := strings.Index(text, "s3cret"); i >= 0 {
			t.Errorf("%s: ...%s...", what, text[max(0, i-200):min(len(text), i+50)])
		}
		if !strings.Contains(text, "xxxxx@") {
			t.Errorf("%s does not show it at all", what)
		}
	}
}

// The id in the URL of a transport over HTTP is a key to it: no event has it.
func TestWebhookOfSockJS(t *testing.T) {
	h := newHook(t)
	s := run(t, hooked("sockjs", "webhook "+h.URL+" {", "\tevents connected joined updated left subscribed", "}"))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	post := func(path, body string) {
		t.Helper()
		resp, err := client.Post(s.http("/ws/000/0123456789abcdef"+path), "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	post("/xhr", "")
	post("/xhr_send", `["CONNECT\naccept-version:1.2\nhost:localhost\nclient-data:1\n\n\u0000"]`)
	soon(t, "it to be told", func() bool { return len(h.events()) == 2 })
	for _, r := range h.all() {
		if strings.Contains(string(r.body), "0123456789abcdef") || !strings.Contains(string(r.body), `"transport":"sockjs-xhr`) {
			t.Errorf("told %s", r.body)
		}
	}
}

// The same receiver twice would be told everything twice, by one name.
func TestWebhookTwice(t *testing.T) {
	adapted, err := adapt(hooked2("webhook https://app.internal/hooks", "webhook https://app.internal/hooks"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validateErr(t, adapted); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("error %v", err)
	}
}

// hooked2 is hooked without the options of a server that runs.
func hooked2(options ...string) string {
	return "http://localhost:8080 {\n\tstomp /ws {\n\t\t" + strings.Join(options, "\n\t\t") + "\n\t}\n}\n"
}

// What an operator sees, and can do.
func TestWebhookAdmin(t *testing.T) {
	h := newHook(t)
	s := run(t, "{\n\t"+adminGlobal+"\n\tstomp {\n\t\tbroker chat {\n\t\t\twebhook "+h.URL+" {\n\t\t\t\tbatch 1\n\t\t\t}\n\t\t}\n\t\tbroker bare\n\t}\n}\n\n"+
		"http://localhost:$PORT {\n\tstomp /ws {\n\t\tbroker chat\n\t}\n\tstomp /bare {\n\t\tbroker bare\n\t}\n}\n")
	type shown struct {
		ID          string
		State       string
		Pending     int
		Bytes       int
		Oldest      time.Time
		Delivered   int
		Retried     int
		Rejected    int
		Dropped     int
		Error       string
		ErrorAt     time.Time
		DeadLetters []struct {
			ID     string
			Type   string
			Status int
			Error  string
			At     time.Time
		}
	}
	const path = "/stomp/brokers/chat/webhooks"
	look := func() (w shown) {
		t.Helper()
		var all []shown
		s.adminGet(path, &all)
		if len(all) != 1 {
			t.Fatalf("%d webhooks", len(all))
		}
		return all[0]
	}
	var none []shown
	if raw := s.adminGet("/stomp/brokers/bare/webhooks", &none); strings.TrimSpace(raw) != "[]" {
		t.Errorf("of a broker without: %s", raw)
	}
	if w := look(); w.ID != h.URL || w.State != "ok" || w.DeadLetters == nil || w.Pending != 0 || !w.Oldest.IsZero() || w.Error != "" {
		t.Errorf("at first: %+v", w)
	}

	h.status(http.StatusTeapot)
	c := dial(t, s.ws("/ws"), `client-data:1`)
	soon(t, "a dead letter", func() bool { return len(look().DeadLetters) == 1 })
	w := look()
	if d := w.DeadLetters[0]; d.Status != 418 || d.Type != "joined" || !strings.HasSuffix(d.ID, "-1") || d.Error == "" || d.At.IsZero() || w.Rejected != 1 || w.State != "ok" {
		t.Errorf("with a dead letter: %+v", w)
	}

	h.status(http.StatusBadGateway)
	c.send("DISCONNECT", "")
	ready := "/stomp/brokers/chat/health/ready"
	soon(t, "the circuit to open", func() bool { return look().State == "open" })
	if w := look(); w.Pending != 1 || w.Bytes == 0 || w.Oldest.IsZero() || w.Retried < 5 || !strings.Contains(w.Error, "502") || w.ErrorAt.IsZero() {
		t.Errorf("with a receiver that fails: %+v", w)
	}
	if status, _, body := s.admin(http.MethodGet, ready, ""); status != http.StatusOK || !strings.Contains(body, `"state":"webhook"`) || !strings.Contains(body, h.URL) {
		t.Errorf("health: %d %s", status, body)
	}
	wantMetrics(t, map[string]float64{
		"webhook_pending{announcer=" + h.URL + ",broker=chat}":         1,
		"webhook_dead_total{announcer=" + h.URL + ",broker=chat}":      1,
		"webhook_delivered_total{announcer=" + h.URL + ",broker=chat}": 0,
		"webhook_dropped_total{announcer=" + h.URL + ",broker=chat}":   0,
	})
	values, _ := gather(t)
	if values["webhook_oldest_seconds{announcer="+h.URL+",broker=chat}"] <= 0 || values["webhook_retried_total{announcer="+h.URL+",broker=chat}"] < 5 ||
		values["webhook_duration_seconds{announcer="+h.URL+",broker=chat}"] < 6 {
		t.Errorf("metrics: %v", values)
	}

	h.says(nil)
	if status, _, body := s.admin(http.MethodPost, path+"/retry", ""); status != http.StatusOK || strings.TrimSpace(body) != `{"retried":1}` {
		t.Errorf("retry: %d %s", status, body)
	}
	soon(t, "both to be delivered", func() bool { return look().Delivered == 2 })
	if w := look(); len(w.DeadLetters) != 0 || w.Pending != 0 || w.State != "ok" || w.Error != "" {
		t.Errorf("afterwards: %+v", w)
	}
	if status, _, body := s.admin(http.MethodPost, path+"/retry?id="+h.URL, ""); status != http.StatusOK || strings.TrimSpace(body) != `{"retried":0}` {
		t.Errorf("retry of one: %d %s", status, body)
	}
	for _, wrong := range []struct {
		method, path string
		status       int
	}{
		{http.MethodPost, path + "/retry?id=nobody", 404},
		{http.MethodPost, path + "/retry?all=1", 400},
		{http.MethodGet, path + "/retry", 405},
		{http.MethodPost, path, 405},
		{http.MethodGet, path + "?limit=1", 400},
		{http.MethodGet, "/stomp/brokers/nobody/webhooks", 404},
	} {
		if status, _, body := s.admin(wrong.method, wrong.path, ""); status != wrong.status {
			t.Errorf("%s %s: %d %s", wrong.method, wrong.path, status, body)
		}
	}

	// one that wants nothing any more does not keep clients away either
	h.status(http.StatusGone)
	dial(t, s.ws("/ws"), `client-data:2`)
	soon(t, "it to be disabled", func() bool { return look().State == "disabled" })
	if status, _, body := s.admin(http.MethodGet, ready, ""); status != http.StatusOK || !strings.Contains(body, "is disabled") {
		t.Errorf("health: %d %s", status, body)
	}
}
