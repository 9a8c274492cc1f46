package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What an operator sees of dead letters, and that those that were thrown away
// come back neither with a retry nor with the next process.
func TestWebhookDeadLetters(t *testing.T) {
	h, other := newHook(t), newHook(t)
	config := "{\n\t" + adminGlobal + "\n}\n\nhttp://localhost:$PORT {\n\tstomp /ws {\n\t\tname chat\n\t\tstore file $DIR/presence.db\n" +
		"\t\tpresence {\n\t\t\trecovery_grace 1h\n\t\t}\n\t\twebhook " + h.URL + " {\n\t\t\tevents joined\n\t\t}\n\t\twebhook " + other.URL + "/hooks {\n\t\t\tevents joined\n\t\t}\n\t}\n}\n"
	s := run(t, config)
	type dead struct {
		Announcer, ID, Type, Error, At string
		Status                         int
		Event                          hookEvent
	}
	const path = "/stomp/brokers/chat/webhooks/dead"
	list := func(query string) (all []dead) {
		t.Helper()
		s.adminGet(path+query, &all)
		return all
	}
	of := func(h *hook) string { return "?id=" + url.QueryEscape(h.URL) }
	if raw := s.adminGet(path, new([]dead)); strings.TrimSpace(raw) != "[]" {
		t.Errorf("at first: %s", raw)
	}
	h.status(http.StatusUnprocessableEntity)
	other.status(http.StatusNotFound)
	var sessions []string
	for range 3 {
		sessions = append(sessions, dial(t, s.ws("/ws"), `client-data:{"name":"Mina <3"}`).session)
	}
	soon(t, "the dead letters", func() bool { return len(list("")) == 6 })
	letters := list(of(h))
	for n, d := range letters {
		if e := d.Event; d.Announcer != h.URL || d.Status != 422 || d.Error == "" || d.At == "" || d.Type != "joined" || e.ID != d.ID || e.Type != d.Type ||
			e.SessionID != sessions[n] || string(e.ClientData) != `{"name":"Mina <3"}` || e.Broker != "chat" {
			t.Errorf("letter %d of %d: %+v", n, len(letters), d)
		}
	}
	if len(letters) != 3 || len(list("?id="+url.QueryEscape(other.URL+"/hooks"))) != 3 {
		t.Fatalf("%d letters", len(letters))
	}

	discard := func(query string, status, n int) {
		t.Helper()
		got, _, body := s.admin(http.MethodDelete, path+query, "")
		var answer discarded
		if got != status || status == http.StatusOK && (json.Unmarshal([]byte(body), &answer) != nil || answer.Discarded != n) {
			t.Errorf("DELETE %s: %d %s", query, got, body)
		}
	}
	discard(of(h)+"&event="+letters[1].ID, 200, 1)
	discard(of(h)+"&event="+letters[1].ID, 404, 0)
	discard(of(h)+"&event=", 400, 0)
	discard("?id=nobody", 404, 0)
	discard("?all=1", 400, 0)
	if status, header, body := s.admin(http.MethodPost, path, ""); status != 405 || header.Get("Allow") != "DELETE, GET, HEAD" {
		t.Errorf("POST: %d %v %s", status, header, body)
	}
	if status, _, body := s.admin(http.MethodGet, path+"?id=nobody", ""); status != 404 {
		t.Errorf("GET of nobody: %d %s", status, body)
	}
	if n := len(list("")); n != 5 {
		t.Errorf("%d are left", n)
	}

	s.exit()
	s.load(config)
	if again := list(of(h)); len(again) != 2 || again[0].ID != letters[0].ID || again[1].Event.SessionID != letters[2].Event.SessionID {
		t.Errorf("after the restart: %+v", again)
	}
	discard("?event="+letters[2].ID, 200, 2) // of both
	discard("", 200, 3)
	s.exit()
	h.says(nil)
	other.says(nil)
	before := len(h.events()) + len(other.events())
	s.load(config)
	if status, _, body := s.admin(http.MethodPost, "/stomp/brokers/chat/webhooks/retry", ""); status != 200 || strings.TrimSpace(body) != `{"retried":0}` {
		t.Errorf("retry: %d %s", status, body)
	}
	last := dial(t, s.ws("/ws"), `client-data:4`).session
	h.expect(t, last, "joined")
	other.expect(t, last, "joined")
	if n := len(h.events()) + len(other.events()) - before; n != 2 {
		t.Errorf("%d events came after all were thrown away", n)
	}
}
