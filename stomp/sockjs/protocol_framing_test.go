package sockjs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var framingChecks = map[string]func(*server){
	"test_simpleSession": func(s *server) {
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		s.post(path+"/xhr_send", `["a"]`).taken()
		s.post(path+"/xhr", "").says("a[\"a\"]\n")
		s.post("/echo/000/bad_session/xhr_send", `["a"]`).is(404)

		p := s.twoPolls(path)
		s.post(path+"/xhr_send", `["b"]`).taken()
		if got := <-p.body; got != "a[\"b\"]\n" {
			s.t.Errorf("got %q", got)
		}
	},
	"test_closeSession": func(s *server) {
		path := session("/close")
		s.post(path+"/xhr", "").says("o\n")
		for range 3 {
			s.post(path+"/xhr", "").says("c[3000,\"Go away!\"]\n")
		}
	},
}

// poll is an xhr request under way.
type poll struct {
	body   chan string // closed without a response
	cancel context.CancelFunc
}

func (s *server) poll(path string) *poll { return s.pollWith(carriers[0], path, "") }

func (s *server) pollWith(c carrier, path, body string) *poll {
	ctx, cancel := context.WithCancel(s.t.Context())
	p := &poll{make(chan string, 1), cancel}
	go func() {
		defer close(p.body)
		req, err := http.NewRequestWithContext(ctx, c.method, s.url+c.url(path), strings.NewReader(body))
		if err != nil {
			return
		}
		resp, err := s.client.Do(req)
		if err != nil {
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if b, err := io.ReadAll(resp.Body); err == nil {
			p.body <- string(b)
		}
	}()
	return p
}

// twoPolls makes two requests where there is nothing to be had: one of them is
// refused, the other one goes on.
func (s *server) twoPolls(path string) *poll {
	s.t.Helper()
	a, b := s.poll(path), s.poll(path)
	var refused string
	stays := a
	select {
	case refused = <-a.body:
		stays = b
	case refused = <-b.body:
	}
	if refused != stillOpen {
		s.t.Fatalf("got %q, want %q", refused, stillOpen)
	}
	return stays
}

var encodingChecks = map[string]func(*server){
	"test_xhr_server_encodes": func(s *server) {
		var killer, escaped strings.Builder
		for _, r := range [][2]rune{{0x200c, 0x200f}, {0x2028, 0x202f}, {0x2060, 0x206f}, {0xfff0, 0xffff}} {
			for c := r[0]; c <= r[1]; c++ {
				killer.WriteRune(c)
				fmt.Fprintf(&escaped, `\u%04x`, c)
			}
		}
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		s.post(path+"/xhr_send", `["`+killer.String()+`"]`).taken()
		s.post(path+"/xhr", "").says(`a["` + escaped.String() + "\"]\n")
	},
	"test_xhr_server_decodes": func(s *server) {
		// all that a client may escape, and more: the whole plane, without the
		// surrogates, which cannot be had in UTF-8
		var escaped, want strings.Builder
		for c := range rune(0x10000) {
			if c < 0xd800 || c > 0xdfff {
				fmt.Fprintf(&escaped, `\u%04x`, c)
				want.WriteRune(c)
			}
		}
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		s.post(path+"/xhr_send", `["`+escaped.String()+`"]`).taken()
		var got []string
		body := s.post(path+"/xhr", "").is(200).body
		if err := json.Unmarshal([]byte(strings.TrimPrefix(body, "a")), &got); err != nil || len(got) != 1 || got[0] != want.String() {
			s.t.Errorf("%d messages, %v", len(got), err)
		}
	},
}

const (
	goAway    = "c[3000,\"Go away!\"]\n"
	stillOpen = "c[2010,\"Another connection still open\"]\n"
	lost      = "c[1002,\"Connection interrupted\"]\n"
)

// lostAfterAbort: whoever aborts its receiver has lost its session.
func (s *server) lostAfterAbort(next func() string) {
	s.t.Helper()
	// a server hears of it a little later
	for end := time.Now().Add(30 * time.Second); ; {
		switch got := next(); {
		case got == stillOpen && time.Now().Before(end):
		case got == lost:
			return
		default:
			s.t.Fatalf("got %q, want %q", got, lost)
		}
	}
}

var closeChecks = map[string]func(*server){
	"test_close_frame": func(s *server) {
		path := session("/close")
		first := s.xhrStreaming(path)
		first.expect("o\n" + goAway)
		second := s.xhrStreaming(path)
		second.expect(goAway)
		first.expectEnd()
		second.expectEnd()
	},
	"test_close_request": func(s *server) {
		path := session("/echo")
		first := s.xhrStreaming(path)
		first.expect("o\n")
		second := s.xhrStreaming(path)
		second.expect(stillOpen)
		second.expectEnd()
		s.post(path+"/xhr_send", `["x"]`).taken()
		first.expect("a[\"x\"]\n") // and has not noticed
	},
	"test_abort_xhr_streaming": func(s *server) {
		path := session("/echo")
		first := s.xhrStreaming(path)
		first.expect("o\n")
		second := s.xhrStreaming(path)
		second.expect(stillOpen)
		second.expectEnd()
		first.abort()
		s.lostAfterAbort(func() string {
			third := s.xhrStreaming(path)
			line, _ := third.r.ReadString('\n')
			third.expectEnd()
			return line
		})
	},
	"test_abort_xhr_polling": func(s *server) {
		path := session("/echo")
		s.post(path+"/xhr", "").says("o\n")
		p := s.twoPolls(path)
		p.cancel()
		<-p.body
		s.lostAfterAbort(func() string { return s.post(path+"/xhr", "").is(200).body })
	},
}

// raw sends a request as it is and reads the head of the response.
func (s *server) raw(method, path, version string) (c net.Conn, header http.Header, resp *stream) {
	s.t.Helper()
	c, r := s.dialTCP()
	length := ""
	if method == "POST" {
		length = "Content-Length: 0\r\n"
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/%s\r\nHost: %s\r\nConnection: Keep-Alive\r\n%s\r\n", method, path, version, c.RemoteAddr(), length); err != nil {
		s.t.Fatal(err)
	}
	st := &stream{nil, s.t, r}
	return c, st.head(200), st
}

func (st *stream) head(status int) http.Header {
	st.t.Helper()
	line, err := st.r.ReadString('\n')
	if err != nil || !strings.Contains(line, " "+strconv.Itoa(status)+" ") {
		st.t.Fatalf("%q, %v", line, err)
	}
	h := make(http.Header)
	for {
		line, err := st.r.ReadString('\n')
		if err != nil {
			st.t.Fatal(err)
		}
		if line = strings.TrimSpace(line); line == "" {
			return h
		}
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
}

// chunk reads one chunk of HTTP/1.1.
func (st *stream) chunk() string {
	st.t.Helper()
	line, err := st.r.ReadString('\n')
	if err != nil {
		st.t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
	if err != nil {
		st.t.Fatal(err)
	}
	p := make([]byte, n+2)
	if _, err := io.ReadFull(st.r, p); err != nil {
		st.t.Fatal(err)
	}
	return string(p[:n])
}

var http10Checks = map[string]func(*server){
	"test_synchronous": func(s *server) {
		c, h, st := s.raw("GET", "/echo", "1.0")
		checkHeader(s.t, h, "Transfer-Encoding", "")
		checkHeader(s.t, h, "Content-Length", "19")
		checkHeader(s.t, h, "Connection", "keep-alive")
		st.expect("Welcome to SockJS!\n")
		_, _ = io.WriteString(c, "GET /echo HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
		st.head(200)
	},
	"test_streaming": func(s *server) {
		_, h, st := s.raw("POST", session("/close")+"/xhr_streaming", "1.0")
		checkHeader(s.t, h, "Transfer-Encoding", "")
		checkHeader(s.t, h, "Content-Length", "")
		st.expect(strings.Repeat("h", 2048) + "\no\n" + goAway)
		st.expectEnd()
	},
}

var http11Checks = map[string]func(*server){
	"test_synchronous": func(s *server) {
		c, h, st := s.raw("GET", "/echo", "1.1")
		checkHeader(s.t, h, "Content-Length", "19")
		checkHeader(s.t, h, "Transfer-Encoding", "")
		st.expect("Welcome to SockJS!\n")
		_, _ = io.WriteString(c, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
		st.head(200)
	},
	"test_streaming": func(s *server) {
		_, h, st := s.raw("POST", session("/close")+"/xhr_streaming", "1.1")
		checkHeader(s.t, h, "Transfer-Encoding", "chunked")
		checkHeader(s.t, h, "Content-Length", "")
		for _, want := range []string{strings.Repeat("h", 2048) + "\n", "o\n", goAway, ""} {
			if got := st.chunk(); got != want {
				s.t.Errorf("chunk %q, want %q", got, want)
			}
		}
	},
}
