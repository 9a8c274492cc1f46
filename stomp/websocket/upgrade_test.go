package websocket

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

const handshake = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// connect sends bytes to the server and returns the connection with a reader.
func (s *server) connect(t *testing.T, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

// RFC 6455, section 4.2.2, with the example of section 1.3.
func TestOneResponseHead(t *testing.T) {
	s := newServer(t, Config{}, nil)
	nc, br := s.connect(t, handshake+"Sec-WebSocket-Protocol: v10.stomp, v12.stomp\r\n\r\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 101 {
		t.Fatal(resp.Status)
	}
	for name, want := range map[string]string{
		"Upgrade":                "websocket",
		"Connection":             "Upgrade",
		"Sec-Websocket-Accept":   "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
		"Sec-Websocket-Protocol": "v12.stomp",
	} {
		if got := resp.Header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Content-Type"} {
		if got, ok := resp.Header[name]; ok {
			t.Errorf("%s: %q in a 101", name, got)
		}
	}
	// what follows is WebSocket, not another head: a close, answered with a close
	if _, err := nc.Write([]byte{0x88, 0x80, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(br)
	if err != nil || len(rest) < 2 || rest[0] != 0x88 {
		t.Errorf("after the 101 came %q, %v", rest, err)
	}
}

func TestSubprotocol(t *testing.T) {
	s := newServer(t, Config{}, nil)
	for _, tt := range []struct {
		asked []string
		want  string
	}{
		{nil, ""},
		{[]string{"v12.stomp"}, "v12.stomp"},
		{[]string{"v10.stomp", "v11.stomp"}, "v11.stomp"},
		{[]string{"v11.stomp", "v12.stomp", "mqtt"}, "v12.stomp"},
		{[]string{"mqtt"}, ""},
	} {
		c, resp, err := (&websocket.Dialer{Subprotocols: tt.asked}).Dial(s.url, nil)
		if err != nil {
			t.Fatalf("%q: %v", tt.asked, err)
		}
		if got := resp.Header.Get("Sec-Websocket-Protocol"); got != tt.want || c.Subprotocol() != tt.want {
			t.Errorf("%q: agreed to %q, want %q", tt.asked, got, tt.want)
		}
		_ = resp.Body.Close()
		_ = c.Close()
	}
}

// onlyUnwrap is a response writer as Caddy's are: no http.Hijacker.
type onlyUnwrap struct {
	w      http.ResponseWriter
	status *[]int
}

func (o onlyUnwrap) Header() http.Header         { return o.w.Header() }
func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }
func (o onlyUnwrap) WriteHeader(status int) {
	*o.status = append(*o.status, status)
	o.Header().Set("X-Late", "in WriteHeader")
	o.w.WriteHeader(status)
}

func TestThroughTheChainOfWriters(t *testing.T) {
	var status []int
	s := newServer(t, Config{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Early", "by a middleware")
			w = onlyUnwrap{onlyUnwrap{w, new([]int)}, &status}
			next.ServeHTTP(w, r)
			if !slices.Equal(status, []int{101}) {
				t.Errorf("the chain saw the status codes %v", status)
			}
		})
	})
	c, resp, err := websocket.DefaultDialer.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = c.Close()
	if resp.Header.Get("X-Early") != "by a middleware" || resp.Header.Get("X-Late") != "in WriteHeader" {
		t.Errorf("headers %v", resp.Header)
	}
}

// The handler returns while the connection goes on.
func TestHandlerReturns(t *testing.T) {
	returned := make(chan struct{}, 1)
	s := newServer(t, Config{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			returned <- struct{}{}
		})
	})
	c, _ := s.dial(t)
	<-returned
	c.Connect()
	c.ExpectNothing()
}

// What a client sends without waiting for the 101 is not lost.
func TestEarlyData(t *testing.T) {
	s := newServer(t, Config{}, nil)
	connect := "CONNECT\naccept-version:1.2\nhost:x\n\n\x00"
	frame := append([]byte{0x82, 0x80 | byte(len(connect)), 0, 0, 0, 0}, connect...)
	_, br := s.connect(t, handshake+"\r\n"+string(frame)+string(frame[:3]))
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	head := make([]byte, 2)
	if _, err := io.ReadFull(br, head); err != nil || head[0] != 0x81 {
		t.Fatalf("%q, %v", head, err)
	}
	answer := make([]byte, len("CONNECTED\n"))
	if _, err := io.ReadFull(br, answer); err != nil || string(answer) != "CONNECTED\n" {
		t.Fatalf("%q, %v", answer, err)
	}
}

func TestRefusals(t *testing.T) {
	s := newServer(t, Config{}, nil)
	plain := "GET / HTTP/1.1\r\nHost: example.com\r\n"
	for _, tt := range []struct {
		name, request string
		status        int
		text          string
		header        string
	}{
		{"no upgrade", plain + "\r\n", 426, "not a WebSocket handshake", "Upgrade"},
		{"upgrade to something else", plain + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 426, "not a WebSocket handshake", "Upgrade"},
		{"POST", strings.Replace(handshake, "GET", "POST", 1) + "\r\n", 405, "GET", ""},
		{"extended CONNECT", "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n", 501, "extended CONNECT", ""},
		{"body", handshake + "Content-Length: 3\r\n\r\nabc", 400, "no body", ""},
		{"chunked body", handshake + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "no body", ""},
		{"other origin", handshake + "Origin: https://evil.example\r\n\r\n", 403, `origin "https://evil.example" is not allowed`, ""},
		{"two origins", handshake + "Origin: http://example.com\r\nOrigin: https://evil.example\r\n\r\n", 403, "not allowed", ""},
		{"version", strings.Replace(handshake, "13", "8", 1) + "\r\n", 400, "version", "Sec-Websocket-Version"},
		{"key", strings.Replace(handshake, "dGhl", "", 1) + "\r\n", 400, "Key", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, br := s.connect(t, tt.request)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status || !strings.Contains(string(text), tt.text) {
				t.Errorf("%d %q, want %d with %q", resp.StatusCode, text, tt.status, tt.text)
			}
			if tt.header != "" && resp.Header.Get(tt.header) == "" {
				t.Errorf("no %s in %v", tt.header, resp.Header)
			}
		})
	}
	if n := s.endpoint.Broker().Connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestSameOrigin(t *testing.T) {
	s := newServer(t, Config{}, nil)
	c, resp, err := websocket.DefaultDialer.Dial(s.url, http.Header{"Origin": {s.URL}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = c.Close()
}

// A server that cannot hand over its connections, as HTTP/2 and HTTP/3 cannot,
// must not promise to.
func TestNoHijacker(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	w := httptest.NewRecorder()
	err := Accept(w, r, Config{}, func(stomp.Transport) (stomp.Receiver, error) {
		t.Error("a session was opened")
		return nil, stomp.ErrDraining
	})
	if err == nil {
		t.Error("no error")
	}
	if w.Code < 500 || w.Body.Len() == 0 {
		t.Errorf("answered with %d %q, want a server error and a text", w.Code, w.Body)
	}
}

// A session that cannot be opened is told so with a close code that means: try
// again.
func TestOpenFails(t *testing.T) {
	s := newServer(t, Config{}, nil)
	s.endpoint.Close(1001, "")
	c, _ := s.dial(t)
	if closing := c.ExpectClose(1012); closing.Text != stomp.ErrDraining.Error() {
		t.Errorf("reason %q", closing.Text)
	}
}

func TestIsUpgrade(t *testing.T) {
	for i, tt := range []struct {
		connection, upgrade []string
		want                bool
	}{
		{[]string{"Upgrade"}, []string{"websocket"}, true},
		{[]string{"keep-alive, UPGRADE"}, []string{"WebSocket"}, true},
		{[]string{"keep-alive", "upgrade"}, []string{"h2c", "websocket"}, true},
		{[]string{"keep-alive"}, []string{"websocket"}, false},
		{[]string{"Upgrade"}, nil, false},
		{[]string{"upgraded"}, []string{"websocket"}, false},
		{[]string{"Upgrade"}, []string{"websocket2"}, false},
	} {
		r := &http.Request{Header: http.Header{"Connection": tt.connection, "Upgrade": tt.upgrade}}
		if got := IsUpgrade(r); got != tt.want {
			t.Error(fmt.Sprint(i, tt), got)
		}
	}
}
