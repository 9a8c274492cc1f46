package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Apps start in random order: until its broker is there an endpoint says when
// to come again. So it does while it is stopped.
func TestNotReady(t *testing.T) {
	for name, config := range map[string]string{"websocket": `{"path": "/ws"}`, "sockjs": `{"path": "/ws", "sockjs": {}}`} {
		t.Run(name, func(t *testing.T) {
			parent, err := caddy.ProvisionContext(new(caddy.Config))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := caddy.NewContext(parent)
			defer cancel()
			loaded, err := ctx.LoadModuleByID("http.handlers.stomp", json.RawMessage(config))
			if err != nil {
				t.Fatal(err)
			}
			handler := loaded.(*Handler)
			ask := func() *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, "/ws/websocket", nil)
				next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
					t.Error("passed on to the next handler")
					return nil
				})
				if err := handler.ServeHTTP(w, r, next); err != nil {
					t.Fatal(err)
				}
				return w
			}
			w := ask()
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "not ready") {
				t.Errorf("before Start: %d %v %q", w.Code, w.Header(), w.Body)
			}
			if err := handler.app.Start(); err != nil {
				t.Fatal(err)
			}
			if w := ask(); w.Code != http.StatusUpgradeRequired && w.Code != http.StatusBadRequest {
				t.Errorf("after Start: %d %q", w.Code, w.Body)
			}
			if err := handler.app.Stop(); err != nil {
				t.Fatal(err)
			}
			if w := ask(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("after Stop: %d %v", w.Code, w.Header())
			}
		})
	}
}
