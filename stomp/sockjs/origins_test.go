package sockjs_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// One policy holds for all transports: who is refused by one is refused by
// all, with 403, so that no client falls back to what lets it in.
func TestOneOriginPolicy(t *testing.T) {
	for _, policy := range []struct {
		name    string
		origins []string
		friend  bool // https://friend.example
		null    bool
	}{
		{"same origin", nil, false, false},
		{"friends", []string{"https://friend.example", "https://*.friends.example"}, true, false},
		{"anybody", []string{"*"}, true, true},
	} {
		t.Run(policy.name, func(t *testing.T) {
			config := sockjs.Config{ClientLibraryURL: "/sockjs.js"}
			config.WebSocket.Origins = origins(t, policy.origins...)
			a := serveApp(t, 1, config)
			self := a.url
			for _, origin := range []struct {
				value   string
				allowed bool
			}{
				{"", true},
				{self, true},
				{"https://friend.example", policy.friend},
				{"https://a.friends.example", policy.friend},
				{"http://friend.example", policy.name == "anybody"},
				{"https://friend.example.evil.example", policy.name == "anybody"},
				{"null", policy.null},
			} {
				var header []string
				if origin.value != "" {
					header = []string{"Origin: " + origin.value}
				}
				check := func(what string, got *answer, ok int) {
					t.Helper()
					if origin.allowed && got.status == ok {
						got.allows(origin.value)
					} else if origin.allowed || got.status != 403 {
						t.Errorf("%s from %q: %d", what, origin.value, got.status)
					}
					if !origin.allowed {
						got.has("Access-Control-Allow-Origin", "").has("Access-Control-Allow-Credentials", "").has("Vary", "Origin")
					}
				}
				check("info", a.get("/app/info", header...), 200)
				check("preflight of info", a.do("OPTIONS", "/app/info", "", header...), 204)
				for _, c := range carriers {
					path := session("/app")
					check("preflight of "+c.name, a.do("OPTIONS", path+"/"+c.name, "", header...), 204)
					if c.polling {
						check(c.name, a.do(c.method, c.url(path), "", header...), 200)
					} else if !origin.allowed {
						check(c.name, a.do(c.method, c.url(path), "", header...), 200)
					} else {
						st := a.stream(c.method, c.url(path), header...)
						checkCORS(t, st.Header, origin.value)
						st.abort()
					}
					check("xhr_send", a.post(path+"/xhr_send", "[]", header...), 204)
					if c.polling {
						check("jsonp_send", a.post(path+"/jsonp_send", "[]", header...), 200)
					}
				}
				for _, path := range []string{"/app/0/0/websocket", "/app/websocket"} {
					h := http.Header{}
					if origin.value != "" {
						h.Set("Origin", origin.value)
					}
					ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(a.url, "http")+path, h)
					if origin.allowed != (err == nil) || !origin.allowed && resp.StatusCode != 403 {
						t.Errorf("%s from %q: %v", path, origin.value, err)
					}
					if err == nil {
						_ = ws.Close()
					}
				}
			}
		})
	}
}

// Where only the same origin may connect there is no iframe page: what runs in
// it is of the same origin. Elsewhere it can be framed by those who may
// connect.
func TestIframePolicy(t *testing.T) {
	for _, tt := range []struct {
		name, library string
		origins       []string
		ancestors     string
	}{
		{"same origin", "/sockjs.js", nil, ""},
		{"no library", "", []string{"*"}, ""},
		{"anybody", "/sockjs.js", []string{"*"}, "*"},
		{"friends", "/sockjs.js", []string{"https://a.example", "https://*.b.example:8443"}, "'self' https://a.example https://*.b.example:8443"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := sockjs.Config{ClientLibraryURL: tt.library}
			config.WebSocket.Origins = origins(t, tt.origins...)
			a := serveApp(t, 1, config)
			page := a.get("/app/iframe.html")
			if tt.ancestors == "" {
				page.is(404)
				a.get("/app/iframe.html", `If-None-Match: *`).is(404)
				return
			}
			page.is(200).has("Content-Security-Policy", "frame-ancestors "+tt.ancestors).mentions(`<script src="/sockjs.js">`)
			a.do("HEAD", "/app/iframe.html", "").is(200).has("Etag", page.header.Get("Etag"))
			a.get("/app/iframe.html", "If-None-Match: "+page.header.Get("Etag")).is(304).
				has("Content-Security-Policy", "frame-ancestors "+tt.ancestors)
		})
	}
}

// The URL of the library is text, whatever is in it; another one makes another
// page.
func TestIframeLibraryURL(t *testing.T) {
	etags := make(map[string]bool)
	for _, library := range []string{"/sockjs.js", `/sockjs.js?a=1&b="></script>`} {
		a := serveApp(t, 1, sockjs.Config{ClientLibraryURL: library})
		page := a.get("/app/iframe.html").is(200)
		if n := strings.Count(page.body, "</script>"); n != 2 {
			t.Errorf("%d scripts in %q", n, page.body)
		}
		etags[page.header.Get("Etag")] = true
	}
	if len(etags) != 2 {
		t.Errorf("ETags %v", etags)
	}
}
