package sockjs_test

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// ws is a WebSocket whose messages are seen as they are.
type ws struct {
	*websocket.Conn
	s *server
}

func (s *server) websocket(path string) *ws {
	s.t.Helper()
	c, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = resp.Body.Close()
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	return &ws{c, s}
}

func (w *ws) send(message string) {
	w.s.t.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		w.s.t.Fatal(err)
	}
}

func (w *ws) expect(want string) {
	w.s.t.Helper()
	if _, p, err := w.ReadMessage(); err != nil || string(p) != want {
		w.s.t.Fatalf("got %q, %v, want %q", p, err, want)
	}
}

func (w *ws) expectClose(code int, text string) {
	w.s.t.Helper()
	_, p, err := w.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Text != text {
		w.s.t.Fatalf("got %q, %v, want close code %d %q", p, err, code, text)
	}
}

var websocketErrorChecks = map[string]func(*server){
	"test_httpMethod": func(s *server) { s.get("/echo/0/0/websocket").is(400).mentions(`Can "Upgrade" only to "WebSocket".`) },
	"test_invalidConnectionHeader": func(s *server) {
		s.get("/echo/0/0/websocket", "Upgrade: WebSocket", "Connection: close").is(400)
	},
	"test_invalidMethod": func(s *server) {
		s.post("/echo/0/0/websocket", "").has405("GET")
		s.post("/echo/0/0/websocket", "", "Upgrade: WebSocket", "Connection: Upgrade").has405("GET")
	},
}

var websocketChecks = map[string]func(*server){
	"test_transport": func(s *server) {
		w := s.websocket(session("/echo") + "/websocket")
		w.expect("o")
		w.send(`["a"]`)
		w.expect(`a["a"]`)
	},
	"test_close": func(s *server) {
		w := s.websocket(session("/close") + "/websocket")
		w.expect("o")
		w.expect(`c[3000,"Go away!"]`)
		w.expectClose(1000, "")
	},
	"test_headersSanity": func(s *server) {
		for _, connection := range []string{"Upgrade", "keep-alive, Upgrade"} {
			h := s.handshake("Connection: " + connection + "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Origin: http://asd\r\n" +
				"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n").head(101)
			checkHeader(s.t, h, "Sec-Websocket-Accept", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=")
			checkHeader(s.t, h, "Content-Length", "")
			if !strings.EqualFold(h.Get("Connection"), "upgrade") || !strings.EqualFold(h.Get("Upgrade"), "websocket") {
				s.t.Errorf("head %v", h)
			}
		}
	},
	"test_empty_frame": func(s *server) {
		w := s.websocket(session("/echo") + "/websocket")
		w.expect("o")
		w.send("")
		w.send("[]")
		w.send(`["a"]`)
		w.expect(`a["a"]`)
	},
	"test_reuseSessionId": func(s *server) {
		path := session("/echo") + "/websocket"
		a, b := s.websocket(path), s.websocket(path)
		a.expect("o")
		b.expect("o")
		a.send(`["a"]`)
		a.expect(`a["a"]`)
		b.send(`["b"]`)
		b.expect(`a["b"]`)
		_ = a.Close()
		c := s.websocket(path)
		c.expect("o")
		c.send(`["c"]`)
		c.expect(`a["c"]`)
	},
	// The suite has a handshake of the draft hixie-76 of 2010 here, which no
	// browser has spoken since 2012: refused, with the version that is meant.
	"test_haproxy": func(s *server) {
		h := s.handshake("Connection: Upgrade\r\nOrigin: " + s.url + "\r\nSec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n" +
			"Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n").head(400)
		checkHeader(s.t, h, "Sec-Websocket-Version", "13")
	},
	"test_broken_json": func(s *server) {
		w := s.websocket(session("/echo") + "/websocket")
		w.expect("o")
		w.send(`["a`)
		_, p, err := w.ReadMessage()
		if err != nil || !strings.HasPrefix(string(p), `c[1002,"broken JSON`) {
			s.t.Errorf("got %q, %v", p, err)
		}
		w.expectClose(1000, "")
	},
}

// handshake sends the head of an upgrade.
func (s *server) handshake(header string) *stream {
	s.t.Helper()
	c, r := s.dialTCP()
	if _, err := fmt.Fprintf(c, "GET %s/websocket HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n%s\r\n", session("/echo"), c.RemoteAddr(), header); err != nil {
		s.t.Fatal(err)
	}
	return &stream{&http.Response{Body: http.NoBody}, s.t, bufio.NewReader(r)}
}

var rawWebsocketChecks = map[string]func(*server){
	"test_transport": func(s *server) {
		w := s.websocket("/echo/websocket")
		w.send("Hello world!\uffff")
		w.expect("Hello world!\uffff")
	},
	"test_close": func(s *server) { s.websocket("/close/websocket").expectClose(3000, "Go away!") },
}
