package sockjs_test

import (
	"crypto/rand"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

var greetingChecks = map[string]func(*server){
	"test_greeting": func(s *server) {
		for _, url := range []string{"/echo", "/echo/"} {
			s.get(url).says("Welcome to SockJS!\n").has("Content-Type", "text/plain; charset=UTF-8").has("Set-Cookie", "")
		}
	},
	"test_notFound": func(s *server) {
		for _, suffix := range []string{"/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a", "/a/"} {
			s.get("/echo" + suffix).is(404)
		}
	},
}

// iframePage is the protocol's, but for the library's URL.
var iframePage = regexp.MustCompile(`^<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="([^"]*)"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe\(\);
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
$`)

func (s *server) iframe(suffix string) {
	s.t.Helper()
	a := s.get("/echo"+suffix).is(200).has("Content-Type", "text/html; charset=UTF-8").cachedForAYear().
		has("Last-Modified", "").has("Set-Cookie", "").has("Content-Security-Policy", "frame-ancestors *")
	if a.header.Get("ETag") == "" {
		s.t.Error("no ETag")
	}
	if m := iframePage.FindStringSubmatch(a.body); m == nil || m[1] != "https://cdn.example.com/sockjs.min.js" {
		s.t.Errorf("page %q", a.body)
	}
}

var iframeChecks = map[string]func(*server){
	"test_simpleUrl": func(s *server) { s.iframe("/iframe.html") },
	"test_versionedUrl": func(s *server) {
		for _, suffix := range []string{"/iframe-a.html", "/iframe-.html", "/iframe-0.1.2.html", "/iframe-0.1.2abc-dirty.2144.html"} {
			s.iframe(suffix)
		}
	},
	"test_queriedUrl": func(s *server) {
		for _, suffix := range []string{"/iframe-a.html?t=1234", "/iframe-0.1.2.html?t=123414", "/iframe-0.1.2abc-dirty.2144.html?t=qweqweq123"} {
			s.iframe(suffix)
		}
	},
	"test_invalidUrl": func(s *server) {
		for _, suffix := range []string{"/iframe.htm", "/iframe", "/IFRAME.HTML", "/IFRAME", "/iframe.HTML", "/iframe.xml", "/iframe-/.html"} {
			s.get("/echo" + suffix).is(404)
		}
	},
	"test_cacheability": func(s *server) {
		a, b := s.get("/echo/iframe.html"), s.get("/echo/iframe-1.html")
		etag := a.header.Get("ETag")
		if etag == "" || b.header.Get("ETag") != etag {
			s.t.Errorf("ETag %q, then %q", etag, b.header.Get("ETag"))
		}
		for _, known := range []string{etag, `"other", ` + etag, "W/" + etag} {
			c := s.get("/echo/iframe.html", "If-None-Match: "+known).is(304).has("Content-Type", "").cachedForAYear()
			if c.body != "" {
				s.t.Errorf("body %q", c.body)
			}
		}
		s.get("/echo/iframe.html", `If-None-Match: "other"`).is(200)
	},
}

// serverInfo is what /info says.
type serverInfo struct {
	WebSocket    *bool    `json:"websocket"`
	Origins      []string `json:"origins"`
	CookieNeeded *bool    `json:"cookie_needed"`
	Entropy      *uint32  `json:"entropy"`
}

func (a *answer) info() serverInfo {
	a.t.Helper()
	var i serverInfo
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&i); err != nil {
		a.t.Fatalf("%q: %v", a.body, err)
	}
	if i.WebSocket == nil || i.CookieNeeded == nil || i.Entropy == nil || len(i.Origins) != 1 || i.Origins[0] != "*:*" {
		a.t.Fatalf("info %s", a.body)
	}
	return i
}

var infoChecks = map[string]func(*server){
	"test_basic": func(s *server) {
		a := s.get("/echo/info", "Origin: test").is(200).has("Content-Type", "application/json; charset=UTF-8").
			has("Set-Cookie", "").notCached().allows("test")
		if i := a.info(); !*i.WebSocket || *i.CookieNeeded {
			s.t.Errorf("info %s", a.body)
		}
		s.get("/echo/info").is(200).allows("")
	},
	"test_entropy": func(s *server) {
		if a, b := *s.get("/echo/info").info().Entropy, *s.get("/echo/info").info().Entropy; a == b {
			s.t.Errorf("entropy %d twice", a)
		}
	},
	"test_options": func(s *server) { s.options("/echo/info", "OPTIONS, GET") },
	"test_options_null_origin": func(s *server) {
		s.do("OPTIONS", "/echo/info", "", "Origin: null", "Access-Control-Request-Method: POST").taken().allows("null")
	},
	"test_disabled_websocket": func(s *server) {
		if *s.get("/disabled_websocket_echo/info").info().WebSocket {
			s.t.Error("websocket: true")
		}
		s.get("/disabled_websocket_echo/0/0/websocket").is(404)
		s.get("/disabled_websocket_echo/websocket").is(404)
	},
}

var sessionURLChecks = map[string]func(*server){
	"test_anyValue": func(s *server) {
		for _, path := range []string{"/a/a", "/_/_", "/1/", "/abcdefgh_i-j%20/abcdefg_i-j%20"} {
			s.post("/echo"+path+rand.Text()+"/xhr", "").says("o\n")
		}
	},
	"test_invalidPaths": func(s *server) {
		for _, suffix := range []string{"//", "/a./a", "/a/a.", "/./.", "/", "///"} {
			s.get("/echo" + suffix + "/xhr").is(404)
			s.post("/echo"+suffix+"/xhr", "").is(404)
		}
	},
	"test_ignoringServerId": func(s *server) {
		id := rand.Text()
		s.post("/echo/000/"+id+"/xhr", "").says("o\n")
		s.post("/echo/001/"+id+"/xhr_send", `["a"]`).taken()
		s.post("/echo/999/"+id+"/xhr", "").says("a[\"a\"]\n")
	},
}

// has405: no body, no content type, but what is allowed.
func (a *answer) has405(allow string) {
	a.t.Helper()
	a.is(405).has("Allow", allow).has("Content-Type", "")
	if a.body != "" {
		a.t.Errorf("body %q", a.body)
	}
}

// Everything below the prefix is answered by the handler, and with a method
// that the protocol does not have by 405.
func TestMethods(t *testing.T) {
	s := serve(t, testApplications(), 1)
	for _, tt := range []struct{ path, allow string }{
		{"", "GET"},
		{"/", "GET"},
		{"/iframe.html", "GET"},
		{"/info", "OPTIONS, GET"},
		{"/a/b/xhr", "OPTIONS, POST"},
		{"/a/b/xhr_streaming", "OPTIONS, POST"},
		{"/a/b/xhr_send", "OPTIONS, POST"},
		{"/a/b/eventsource", "OPTIONS, GET"},
		{"/a/b/htmlfile?c=x", "OPTIONS, GET"},
		{"/a/b/jsonp?c=x", "OPTIONS, GET"},
		{"/a/b/jsonp_send", "OPTIONS, POST"},
		{"/a/b/websocket", "GET"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			s := s.with(t)
			for _, method := range []string{"DELETE", "PUT", "PATCH", "GET", "POST"} {
				if !strings.Contains(tt.allow, method) {
					s.do(method, "/echo"+tt.path, "").has405(tt.allow)
				}
			}
			if strings.Contains(tt.allow, "OPTIONS") {
				s.options("/echo"+strings.TrimSuffix(tt.path, "?c=x"), tt.allow)
			}
		})
	}
}
