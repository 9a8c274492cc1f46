package sockjs_test

import (
	"bufio"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// protocolChecks are the checks of SockJS 0.3's own suite, sockjs-protocol.py,
// under the names that they have there: each over HTTP/1.1, and over HTTP/2
// where that has what it needs.
var protocolChecks = []struct {
	class  string
	checks map[string]func(*server)
}{
	{"BaseUrlGreeting", greetingChecks},
	{"IframePage", iframeChecks},
	{"InfoTest", infoChecks},
	{"SessionURLs", sessionURLChecks},
	{"Protocol", framingChecks},
	{"WebsocketHttpErrors", websocketErrorChecks},
	{"Websocket", websocketChecks},
	{"XhrPolling", xhrChecks},
	{"XhrStreaming", xhrStreamingChecks},
	{"EventSource", eventSourceChecks},
	{"HtmlFile", htmlFileChecks},
	{"JsonPolling", jsonpChecks},
	{"JsessionidCookie", cookieChecks},
	{"RawWebsocket", rawWebsocketChecks},
	{"JSONEncoding", encodingChecks},
	{"HandlingClose", closeChecks},
	{"Http10", http10Checks},
	{"Http11", http11Checks},
}

// onlyHTTP1 are the classes that are about HTTP/1 or its upgrade.
var onlyHTTP1 = regexp.MustCompile(`^(Websocket|WebsocketHttpErrors|RawWebsocket|Http1[01])$`)

func TestProtocol(t *testing.T) {
	n := 0
	for _, major := range []int{1, 2} {
		t.Run("HTTP"+strconv.Itoa(major), func(t *testing.T) {
			s := serve(t, testApplications(), major)
			for _, class := range protocolChecks {
				if major == 2 && onlyHTTP1.MatchString(class.class) {
					continue
				}
				for name, check := range class.checks {
					if major == 1 {
						n++
					}
					t.Run(class.class+"."+name, func(t *testing.T) {
						here := *s
						here.t = t
						check(&here)
					})
				}
			}
		})
	}
	if n != 68 {
		t.Errorf("%d checks, the suite has 68", n)
	}
}

// server is a server of the test applications and its client.
type server struct {
	t      *testing.T
	url    string
	client *http.Client
}

// serve runs a handler over HTTP/1.1, or over HTTP/2.
func serve(t *testing.T, h http.Handler, major int) *server {
	stomptest.CheckLeaks(t)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != major && r.Header.Get("Upgrade") == "" {
			t.Errorf("%s %s came over %s", r.Method, r.URL, r.Proto)
		}
		h.ServeHTTP(w, r)
	}))
	if major == 2 {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	s := &server{t: t, url: srv.URL, client: srv.Client()}
	s.client.Timeout = 20 * time.Second
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
	})
	return s
}

// with makes the tests of a server go to t.
func (s *server) with(t *testing.T) *server {
	here := *s
	here.t = t
	return &here
}

// answer is a whole response.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (s *server) open(method, path, body string, header ...string) *http.Response {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

func (s *server) do(method, path, body string, header ...string) *answer {
	s.t.Helper()
	resp := s.open(method, path, body, header...)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v after %q", method, path, err, b)
	}
	return &answer{s.t, resp.StatusCode, resp.Header, string(b)}
}

func (s *server) get(path string, header ...string) *answer {
	s.t.Helper()
	return s.do("GET", path, "", header...)
}

func (s *server) post(path, body string, header ...string) *answer {
	s.t.Helper()
	return s.do("POST", path, body, header...)
}

// session is the path of a new session.
func session(app string) string { return app + "/000/" + rand.Text() }

func (a *answer) is(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("status %d, want %d; %q", a.status, status, a.body)
	}
	return a
}

// says compares the body of a 200.
func (a *answer) says(body string) *answer {
	a.t.Helper()
	if a.status != 200 || a.body != body {
		a.t.Errorf("status %d, body %.300q, want %.300q", a.status, a.body, body)
	}
	return a
}

// taken: what was sent has been.
func (a *answer) taken() *answer {
	a.t.Helper()
	a.is(204)
	if a.body != "" {
		a.t.Errorf("body %q", a.body)
	}
	return a
}

func (a *answer) mentions(text string) *answer {
	a.t.Helper()
	if !strings.Contains(a.body, text) {
		a.t.Errorf("body %q, want %q", a.body, text)
	}
	return a
}

func (a *answer) has(name, value string) *answer {
	a.t.Helper()
	checkHeader(a.t, a.header, name, value)
	return a
}

// checkHeader compares a header field; an empty value: it must not be there.
func checkHeader(t *testing.T, h http.Header, name, value string) {
	t.Helper()
	if got := h.Values(name); value == "" && len(got) > 0 || value != "" && (len(got) != 1 || got[0] != value) {
		t.Errorf("%s: %q, want %q", name, got, value)
	}
}

const javascript = "application/javascript; charset=UTF-8"

func (a *answer) notCached() *answer {
	a.t.Helper()
	checkNotCached(a.t, a.header)
	return a
}

func checkNotCached(t *testing.T, h http.Header) {
	t.Helper()
	checkHeader(t, h, "Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0")
	checkHeader(t, h, "Expires", "")
	checkHeader(t, h, "Last-Modified", "")
}

// cachedForAYear, also by caches of HTTP/1.0.
func (a *answer) cachedForAYear() *answer {
	a.t.Helper()
	a.has("Cache-Control", "public, max-age=31536000")
	expires, err := http.ParseTime(a.header.Get("Expires"))
	if in := time.Until(expires); err != nil || in < 364*24*time.Hour || in > 367*24*time.Hour {
		a.t.Errorf("Expires %q, %v", a.header.Get("Expires"), err)
	}
	return a
}

// allows checks CORS for a page of an origin; "": for who has none.
func (a *answer) allows(origin string) *answer {
	a.t.Helper()
	checkCORS(a.t, a.header, origin)
	return a
}

func checkCORS(t *testing.T, h http.Header, origin string) {
	t.Helper()
	if origin == "" {
		checkHeader(t, h, "Access-Control-Allow-Origin", "*")
		checkHeader(t, h, "Access-Control-Allow-Credentials", "")
	} else {
		checkHeader(t, h, "Access-Control-Allow-Origin", origin)
		checkHeader(t, h, "Access-Control-Allow-Credentials", "true")
	}
	checkHeader(t, h, "Vary", "Origin")
}

// options checks preflights of a URL.
func (s *server) options(path, methods string) {
	s.t.Helper()
	for _, origin := range []string{"", "test", "null"} {
		header := []string{"Access-Control-Request-Method: " + methods}
		if origin != "" {
			header = append(header, "Origin: "+origin)
		}
		s.do("OPTIONS", path, "", header...).taken().cachedForAYear().allows(origin).
			has("Access-Control-Max-Age", "31536000").has("Access-Control-Allow-Methods", methods)
	}
}

// stream is a response that is read while it comes.
type stream struct {
	*http.Response
	t *testing.T
	r *bufio.Reader
}

func (s *server) stream(method, path string, header ...string) *stream {
	s.t.Helper()
	resp := s.open(method, path, "", header...)
	st := &stream{resp, s.t, bufio.NewReader(resp.Body)}
	s.t.Cleanup(st.abort)
	if resp.StatusCode != 200 {
		s.t.Fatalf("status %d", resp.StatusCode)
	}
	checkNotCached(s.t, resp.Header)
	return st
}

// expect reads what must come next.
func (st *stream) expect(want string) {
	st.t.Helper()
	p := make([]byte, len(want))
	n, err := io.ReadFull(st.r, p)
	if err != nil || string(p) != want {
		st.t.Fatalf("got %.300q, %v, want %.300q", p[:n], err, want)
	}
}

// expectEnd: nothing comes any more.
func (st *stream) expectEnd() {
	st.t.Helper()
	if p, err := io.ReadAll(st.r); err != nil || len(p) > 0 {
		st.t.Fatalf("got %.300q, %v, want the end", p, err)
	}
}

func (st *stream) abort() { _ = st.Body.Close() }

// xhrStreaming opens a stream and reads its prelude.
func (s *server) xhrStreaming(path string) *stream {
	s.t.Helper()
	st := s.stream("POST", path+"/xhr_streaming")
	st.expect(strings.Repeat("h", 2048) + "\n")
	return st
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30s: %s", what)
		}
	}
}

// dialTCP is a connection below HTTP.
func (s *server) dialTCP() (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c, bufio.NewReader(c)
}
