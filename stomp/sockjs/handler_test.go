package sockjs

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// get serves one request that opens nothing.
func get(t *testing.T, config Config, method, path string, header ...string) *http.Response {
	t.Helper()
	config.Prefix = prefix
	config.Open = func(*http.Request, Connection, stomp.Transport) (stomp.Receiver, error) {
		t.Error("a connection was opened")
		return nil, stomp.ErrDraining
	}
	r := httptest.NewRequest(method, "http://example.com"+path, nil)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	NewHandler(config).ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// SockJS 0.3, "Base URL" and "Greeting url: `/`".
func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "", 200},
		{"GET", "/", 200},
		{"HEAD", "/", 200},
		{"POST", "/", 405},
		{"GET", "/info", 200},
		{"OPTIONS", "/info", 204},
		{"POST", "/info", 405},
		{"GET", "/info/", 404},
		{"GET", "/a", 404},
		{"GET", "/a.html", 404},
		{"GET", "/a/a", 404},
		{"GET", "/a/a/", 404},
		{"GET", "/a/a/a", 404},
		{"GET", "/a/a/a/a", 404},
		{"GET", "//", 404},
		{"GET", "///", 404},
		{"GET", "//a/websocket", 404},
		{"GET", "/a//websocket", 404},
		{"GET", "/a.b/c/websocket", 404},
		{"GET", "/a/b.c/websocket", 404},
		{"GET", "/a/b/websocket/", 404},
		{"GET", "/a/b/unknown", 404},
		{"POST", "/a/" + strings.Repeat("b", 129) + "/xhr", 404},
		{"POST", "/a/" + strings.Repeat("b", 129) + "/xhr_send", 404},
		{"POST", "/" + strings.Repeat("a", 129) + "/b/xhr_streaming", 404},
		{"GET", "/a/" + strings.Repeat("b", 129) + "/websocket", 404},
		{"GET", "/a/b/websocket", 400},
		{"POST", "/a/b/websocket", 405},
		{"PUT", "/a/b/websocket", 405},
		{"GET", "/websocket", 426},
		{"GET", "/websocket/", 404},
		{"GET", "info", 404}, // not below the prefix
		{"GET", "x/info", 404},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			r := get(t, Config{}, tt.method, prefix+tt.path)
			if r.StatusCode != tt.want {
				t.Errorf("status %d, want %d", r.StatusCode, tt.want)
			}
			if (r.StatusCode == 405) != (r.Header.Get("Allow") != "") {
				t.Errorf("status %d, Allow %q", r.StatusCode, r.Header.Get("Allow"))
			}
		})
	}
	if r := get(t, Config{}, "GET", "/elsewhere"); r.StatusCode != 404 {
		t.Errorf("outside of the prefix: %d", r.StatusCode)
	}
}

func TestGreeting(t *testing.T) {
	r := get(t, Config{}, "GET", prefix)
	if got := body(t, r); got != "Welcome to SockJS!\n" {
		t.Errorf("body %q", got)
	}
	if got := r.Header.Get("Content-Type"); got != "text/plain; charset=UTF-8" {
		t.Errorf("content type %q", got)
	}
}

func TestNoUpgradeText(t *testing.T) {
	r := get(t, Config{}, "GET", prefix+"/0/a/websocket")
	if got := strings.TrimSpace(body(t, r)); got != `Can "Upgrade" only to "WebSocket".` {
		t.Errorf("body %q", got)
	}
}

// SockJS 0.3, "Info url".
func TestInfo(t *testing.T) {
	seen := make(map[uint32]bool)
	for range 10 {
		r := get(t, Config{}, "GET", prefix+"/info", "Origin: http://example.com")
		if got := r.Header.Get("Content-Type"); got != "application/json; charset=UTF-8" {
			t.Errorf("content type %q", got)
		}
		if got := r.Header.Get("Cache-Control"); !strings.Contains(got, "no-store") || !strings.Contains(got, "max-age=0") {
			t.Errorf("Cache-Control %q", got)
		}
		var info struct {
			WebSocket    *bool    `json:"websocket"`
			Origins      []string `json:"origins"`
			CookieNeeded *bool    `json:"cookie_needed"`
			Entropy      uint32   `json:"entropy"`
		}
		if err := json.Unmarshal([]byte(body(t, r)), &info); err != nil {
			t.Fatal(err)
		}
		if info.WebSocket == nil || !*info.WebSocket || info.CookieNeeded == nil || *info.CookieNeeded ||
			len(info.Origins) != 1 || info.Origins[0] != "*:*" {
			t.Errorf("info %+v", info)
		}
		seen[info.Entropy] = true
	}
	if len(seen) < 9 { // two of ten may be equal once in 100 million runs
		t.Errorf("%d kinds of entropy in 10 answers", len(seen))
	}
}

func TestCORS(t *testing.T) {
	friends, err := websocket.ParseOrigins("https://friend.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, method, origin string
		origins              *websocket.Origins
		status               int
		allow, credentials   string
	}{
		{"no origin", "GET", "", nil, 200, "*", ""},
		{"same origin", "GET", "http://example.com", nil, 200, "http://example.com", "true"},
		{"other origin", "GET", "https://evil.example", nil, 403, "", ""},
		{"other origin, preflight", "OPTIONS", "https://evil.example", nil, 403, "", ""},
		{"null", "GET", "null", nil, 403, "", ""},
		{"friend", "GET", "https://friend.example", friends, 200, "https://friend.example", "true"},
		{"friend, preflight", "OPTIONS", "https://friend.example", friends, 204, "https://friend.example", "true"},
		{"no friend", "GET", "http://friend.example", friends, 403, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := []string{"Access-Control-Request-Headers: a, b, c"}
			if tt.origin != "" {
				header = append(header, "Origin: "+tt.origin)
			}
			r := get(t, Config{WebSocket: websocket.Config{Origins: tt.origins}}, tt.method, prefix+"/info", header...)
			h := r.Header
			if r.StatusCode != tt.status || h.Get("Access-Control-Allow-Origin") != tt.allow ||
				h.Get("Access-Control-Allow-Credentials") != tt.credentials || h.Get("Vary") != "Origin" {
				t.Errorf("%d %v", r.StatusCode, h)
			}
			if tt.status < 300 && h.Get("Access-Control-Allow-Headers") != "a, b, c" {
				t.Errorf("%v", h)
			}
			if tt.status == 204 && (h.Get("Access-Control-Allow-Methods") != "OPTIONS, GET" ||
				h.Get("Access-Control-Max-Age") != "31536000" || !strings.Contains(h.Get("Cache-Control"), "max-age=31536000")) {
				t.Errorf("preflight: %v", h)
			}
		})
	}
}

func TestSplitSessionURL(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, tt := range []struct {
		rest, server, session, transport string
		ok                               bool
	}{
		{"/039/abcdefgh/websocket", "039", "abcdefgh", "websocket", true},
		{"/a/b/xhr_streaming", "a", "b", "xhr_streaming", true},
		{"/a/b/", "a", "b", "", true},
		{"/\u00e9/ /x", "\u00e9", " ", "x", true},
		{"/" + long + "/" + long + "/xhr", long, long, "xhr", true},
		{"/a/" + long + "x/xhr", "", "", "", false},
		{"/" + long + "x/b/xhr", "", "", "", false},
		{"/a.b/c/websocket", "", "", "", false},
		{"/a/b.c/websocket", "", "", "", false},
		{"//b/websocket", "", "", "", false},
		{"/a//websocket", "", "", "", false},
		{"/a/b", "", "", "", false},
		{"/a/b/c/d", "", "", "", false},
		{"a/b/c", "", "", "", false},
		{"x/a/b/c", "", "", "", false},
		{"", "", "", "", false},
	} {
		server, session, transport, ok := splitSessionURL(tt.rest)
		if server != tt.server || session != tt.session || transport != tt.transport || ok != tt.ok {
			t.Errorf("%q: %q %q %q %v", tt.rest, server, session, transport, ok)
		}
	}
}
