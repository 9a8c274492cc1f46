package sockjs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

func FuzzSplitSessionURL(f *testing.F) {
	for _, seed := range []string{"/039/abcdefgh/websocket", "/a.b/c/websocket", "//", "", "/a/b/c/d", "a/b/c/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		server, session, transport, ok := splitSessionURL(rest)
		if !ok {
			return
		}
		if "/"+server+"/"+session+"/"+transport != rest || server == "" || session == "" ||
			len(server) > 128 || len(session) > 128 || strings.ContainsAny(server+session, "./") || strings.Contains(transport, "/") {
			t.Errorf("%q: %q %q %q", rest, server, session, transport)
		}
	})
}

// FuzzDecodePayload compares with a plain reading of the protocol: whatever is
// accepted is exactly the strings that are there.
func FuzzDecodePayload(f *testing.F) {
	for _, seed := range []string{``, `[]`, `["x"]`, `"x"`, `["a","b"]`, `[1]`, `null`, `["\ud800"]`, `[null]`, `["x"`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := decodePayload(p)
		if err != nil {
			if got != nil {
				t.Errorf("%q: %q with an error", p, got)
			}
			return
		}
		for _, m := range got {
			if !utf8.ValidString(m) {
				t.Errorf("%q: %q is not UTF-8", p, m)
			}
		}
		if len(p) > 0 && !json.Valid(p) {
			t.Errorf("%q is not JSON, but was accepted", p)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decodePayload(again); got != nil && (err != nil || !slices.Equal(same, got)) {
			t.Errorf("%q: %q, then %q, %v", p, got, same, err)
		}
	})
}

// FuzzEncodeArray reads what was written with encoding/json.
func FuzzEncodeArray(f *testing.F) {
	for _, seed := range []string{"", "a", "\x00\n\"\\", "\u2028\ufffe\ufffd", "\xff\xc3", "\U0001F600"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		frame := encodeArray(message)
		want := string([]rune(string(message))) // what is not UTF-8 becomes U+FFFD
		if got := decodeArray(t, frame); got != want {
			t.Errorf("%q became %q", message, got)
		}
		for _, r := range string(frame) {
			if r < 0x20 || needsEscape(r) {
				t.Errorf("%q: %U is not escaped in %q", message, r, frame)
			}
		}
	})
}

// FuzzHandler: whatever is asked for, there is an answer, and what a page's
// function is called with is one string.
func FuzzHandler(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/a/b/xhr", ""},
		{"GET", "/a/b/jsonp?c=x", ""},
		{"GET", "/a/b/jsonp?c=%28", ""},
		{"POST", "/a/b/xhr_send", `["x"]`},
		{"POST", "/a/b/jsonp_send", "d=%5B%5D"},
		{"GET", "/iframe-.html", ""},
		{"OPTIONS", "/info", ""},
		{"GET", "/a/b/websocket", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	statuses := []int{200, 204, 304, 400, 403, 404, 405, 413, 426, 500, 501, 503}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.ParseRequestURI("/p" + path)
		if err != nil || method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return
		}
		origins, err := websocket.ParseOrigins("*")
		if err != nil {
			t.Fatal(err)
		}
		h := NewHandler(Config{
			Prefix: "/p", ClientLibraryURL: "/x.js", ResponseLimit: 1, Sessions: NewSessions(), WebSocket: websocket.Config{Origins: origins},
			Open: func(_ *http.Request, _ Connection, tr stomp.Transport) (stomp.Receiver, error) {
				return ignoring{tr}, nil
			},
		})
		r := httptest.NewRequest(method, "/p", strings.NewReader(body))
		r.URL = u
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !slices.Contains(statuses, w.Code) {
			t.Errorf("%s %q: status %d", method, path, w.Code)
		}
		if script, ok := strings.CutPrefix(w.Body.String(), "/**/"); ok {
			name, argument, ok := strings.Cut(strings.TrimSuffix(script, ");\r\n"), "(")
			if !ok || !validCallback(name) || !json.Valid([]byte(argument)) {
				t.Errorf("%q: script %q", path, script)
			}
		}
		for _, s := range h.config.Sessions.byKey {
			s.discard()
		}
	})
}

// ignoring is a receiver that does nothing.
type ignoring struct{ stomp.Transport }

func (ignoring) Receive([]byte, bool) error { return nil }
func (ignoring) Alive()                     {}
func (ignoring) Flush()                     {}
func (ignoring) Fail(error)                 {}
func (ignoring) Closed(stomp.Ending)        {}
func (ignoring) Settle()                    {}
