package caddymodule

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"
)

// wantHealth asks until the health is so.
func (s *server) wantHealth(kind string, status int, states ...string) {
	s.t.Helper()
	var got int
	var body string
	var h health
	defer func() {
		if s.t.Failed() {
			s.t.Logf("health: %d %s, want %d %v", got, body, status, states)
		}
	}()
	eventually(s.t, kind+" as it should be", func() bool {
		var err error
		got, _, body, err = s.tryAdmin(http.MethodGet, "/stomp/brokers/chat/health/"+kind, "")
		h = health{}
		if err != nil || json.Unmarshal([]byte(body), &h) != nil { // the endpoint moves at a reload
			return false
		}
		var named []string
		for _, d := range h.Degraded {
			named = append(named, d.State)
		}
		return got == status && h.OK == (status == 200) && slices.Equal(named, states) && h.Broker == "chat"
	})
}

func TestAdminHealthOfStore(t *testing.T) {
	store := newFaultyStore()
	s := run(t, withAdmin("store stomptest_faulty"))
	c := dial(t, s.ws("/ws"), `client-data:1`)
	s.wantHealth("ready", 200)
	s.wantHealth("live", 200)

	store.set(func() { store.health = caddy.ErrNotConfigured })
	s.wantHealth("ready", 503, "store")
	s.wantHealth("live", 200, "store")
	if _, _, body := s.admin(http.MethodGet, "/stomp/brokers/chat/health/ready", ""); !strings.Contains(body, caddy.ErrNotConfigured.Error()) {
		t.Errorf("%s", body)
	}
	store.set(func() { store.health = nil })
	s.wantHealth("ready", 200)

	store.set(func() { store.commit = errNoSpace })
	c.request("SEND", `{"clientData": 2}`, "destination:/app/presence")
	s.wantHealth("ready", 503, "store")
	var b adminBroker
	if s.adminGet("/stomp/brokers/chat", &b); len(b.Degraded) != 1 || b.Degraded[0] != (degraded{"store", errNoSpace.Error()}) {
		t.Errorf("%+v", b)
	}
	wantMetrics(t, map[string]float64{"store_healthy{broker=chat}": 0})
	store.set(func() { store.commit = nil })
	s.wantHealth("ready", 200) // it is tried again
	wantMetrics(t, map[string]float64{"store_healthy{broker=chat}": 1})
}

// A store that could not be opened does not stop the broker, and is named.
func TestAdminHealthOfUnopenedStore(t *testing.T) {
	store := newFaultyStore()
	store.open = errNoSpace
	s := run(t, withAdmin("store stomptest_faulty"))
	dial(t, s.ws("/ws"), `client-data:1`)
	s.wantHealth("ready", 503, "store")
	wantMetrics(t, map[string]float64{"store_healthy{broker=chat}": 0})
	store.set(func() { store.open = nil })
	s.load(withAdmin("store stomptest_faulty\n\t\t\tdrain 1s"))
	s.wantHealth("ready", 200)
}

// A store that cannot be read is left as it is: it may be mended.
func TestAdminHealthOfUnreadableStore(t *testing.T) {
	store := newFaultyStore()
	store.load = errNoSpace
	s := run(t, withAdmin("store stomptest_faulty"))
	dial(t, s.ws("/ws"), `client-data:1`).alive()
	s.wantHealth("ready", 503, "store")
	s.load(withAdmin("store stomptest_faulty\n\t\t\tdrain 1s"))
	s.wantHealth("ready", 503, "store")
	store.set(func() {
		if store.commits != 0 {
			t.Errorf("%d commits", store.commits)
		}
	})
}

// A broker that is about to go says so until it is gone.
func TestAdminHealthOfDraining(t *testing.T) {
	s := run(t, withAdmin("drain 1500ms"))
	// a client that does not read does not answer the close either
	ws := dialRaw(t, s.ws("/ws"), nil)
	if err := ws.WriteMessage(websocket.TextMessage, []byte("CONNECT\naccept-version:1.2\nhost:x\n\n\x00")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session", func() bool { return len(live(t, "chat").broker.Sessions()) == 1 })
	loaded := make(chan error, 1)
	go func() { loaded <- s.tryLoad("{\n" + adminGlobal + "\n}\nhttp://localhost:$PORT {\n}\n") }()
	s.wantHealth("ready", 503, "draining")
	s.wantHealth("live", 200, "draining")
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	if status, _, body := s.admin(http.MethodGet, "/stomp/brokers/chat/health/ready", ""); status != http.StatusNotFound {
		t.Errorf("%d %s", status, body)
	}
}
