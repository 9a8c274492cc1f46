package caddymodule

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// behindEverything is an endpoint behind the handlers that sites have.
const behindEverything = `{
	$GLOBAL
}

(site) {
	log
	header X-Site example
	encode gzip
	basic_auth {
		mina $2a$04$eAa96Dcs.XHxRH6/vTFctOTtprWvHYZsj2xNZMjlqvQwutcGeruI6
	}
	stomp /ws {
		name chat
		user {http.auth.user.id}
	}
	respond "the rest of the site"
}

http://localhost:$PORT {
	import site
}

https://localhost:$PORT2 {
	tls $TLS
	import site
}
`

var credentials = "Basic " + base64.StdEncoding.EncodeToString([]byte("mina:secret"))

const handshake = "GET /ws HTTP/1.1\r\nHost: localhost:$PORT\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v12.stomp\r\n" +
	"Accept-Encoding: gzip\r\n"

// text is a masked WebSocket text frame, as a client sends it.
func text(payload string) []byte {
	f := []byte{0x81}
	if len(payload) < 126 {
		f = append(f, 0x80|byte(len(payload)))
	} else {
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(len(payload)))
	}
	f = append(f, 0, 0, 0, 0) // the mask that changes nothing
	return append(f, payload...)
}

const connectFrame = "CONNECT\naccept-version:1.2\nhost:localhost\n\n\x00"

// rawConnect sends the handshake and, in the same segment, CONNECT, and
// returns all that came, up to the CONNECTED frame's end.
func rawConnect(t *testing.T, nc net.Conn, head string) string {
	t.Helper()
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(append([]byte(head+"\r\n"), text(connectFrame)...)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	r := bufio.NewReader(nc)
	for !strings.Contains(got.String(), "\x00") {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		got.WriteByte(b)
	}
	return got.String()
}

// checkUpgrade checks what law 4 promises of the bytes on the wire.
func checkUpgrade(t *testing.T, got string) {
	t.Helper()
	if n := strings.Count(got, "HTTP/1."); n != 1 || !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") {
		t.Errorf("%d status lines in %q", n, got)
	}
	head, rest, _ := strings.Cut(got, "\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head+"\r\n\r\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
		"Sec-Websocket-Protocol": "v12.stomp", "X-Site": "example", "Server": "Caddy",
	} {
		if values := resp.Header.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
	for _, name := range []string{"Content-Encoding", "Content-Length", "Transfer-Encoding"} {
		if resp.Header.Get(name) != "" {
			t.Errorf("the 101 has %s: %s", name, resp.Header.Get(name))
		}
	}
	if !strings.Contains(rest, "CONNECTED\n") || !strings.Contains(rest, "\nuser-name:mina\n") {
		t.Errorf("after the head came %q", rest)
	}
}

func (s *server) accessLog() []map[string]any {
	return s.logged(func(e map[string]any) bool { return strings.HasPrefix(e["logger"].(string), "http.log.access") })
}

func TestUpgradeOnTheWire(t *testing.T) {
	s := run(t, behindEverything)
	nc, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	checkUpgrade(t, rawConnect(t, nc, s.expand(handshake)+"Authorization: "+credentials+"\r\n"))
	eventually(t, "the access log", func() bool { return len(s.accessLog()) > 0 })
	entry := s.accessLog()[0]
	if entry["status"] != 101.0 || entry["user_id"] != "mina" || entry["duration"].(float64) > 5 {
		t.Errorf("access log: %v", entry)
	}
	header, _ := entry["resp_headers"].(map[string]any)
	if header["X-Site"] == nil || header["Upgrade"] == nil {
		t.Errorf("headers in the access log: %v", header)
	}
}

func TestUpgradeOverTLS(t *testing.T) {
	s := run(t, behindEverything)
	var nc *tls.Conn
	eventually(t, "the certificate", func() (ok bool) {
		var err error
		nc, err = tls.Dial("tcp", "127.0.0.1:"+s.port2, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		return err == nil
	})
	head := strings.Replace(s.expand(handshake), s.port, s.port2, 1)
	checkUpgrade(t, rawConnect(t, nc, head+"Authorization: "+credentials+"\r\n"))

	c := dialWith(t, "wss://localhost:"+s.port2+"/ws", http.Header{"Authorization": {credentials}})
	c.subscribe("/topic/x")
	c.send("SEND", strings.Repeat("x", 50_000), "destination:/topic/x")
	if m := c.expect("MESSAGE"); len(m.body) != 50_000 {
		t.Errorf("%d bytes came back", len(m.body))
	}
}

// What authentication refuses does not reach the endpoint; what is not the
// endpoint's goes on.
func TestUpgradeRefused(t *testing.T) {
	s := run(t, behindEverything)
	ask := func(path string, header http.Header) (int, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, s.http(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		r.Close = true
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	authorized := http.Header{"Authorization": {credentials}}
	upgrade := http.Header{
		"Authorization": {credentials}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Origin": {"https://elsewhere.example"},
	}
	for _, test := range []struct {
		path   string
		header http.Header
		status int
		body   string
	}{
		{"/ws", http.Header{}, http.StatusUnauthorized, ""},
		{"/ws", authorized, http.StatusUpgradeRequired, "not a WebSocket handshake"},
		{"/ws", upgrade, http.StatusForbidden, `origin "https://elsewhere.example" is not allowed`},
		{"/wsx", upgrade, http.StatusOK, "the rest of the site"},
		{"/", authorized, http.StatusOK, "the rest of the site"},
	} {
		if status, body := ask(test.path, test.header); status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("GET %s: %d %q, want %d %q", test.path, status, body, test.status, test.body)
		}
	}
	if refs := live(t, "chat").broker.Connections(); refs != 0 {
		t.Errorf("%d connections", refs)
	}
}

// An endpoint works below what handlers before have taken off the path.
func TestUpgradeInRoutes(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}

http://localhost:$PORT {
	handle_path /app/* {
		stomp /ws {
			name handled
		}
		respond "the rest of the app" 404
	}
	route /routed/* {
		uri strip_prefix /routed
		stomp /ws {
			name routed
			sockjs
		}
	}
	handle {
		stomp /plain {
			name plain
		}
	}
}
`)
	for _, path := range []string{"/app/ws", "/app/ws/below", "/routed/ws/websocket", "/plain"} {
		dial(t, s.ws(path)).alive()
	}
	if status, _ := s.get(s.http("/app/other")); status != http.StatusNotFound {
		t.Errorf("/app/other: %d", status)
	}
	if status, body := s.get(s.http("/routed/ws/info")); !strings.Contains(body, `"websocket":true`) {
		t.Errorf("/routed/ws/info: %d %s", status, body)
	}
}
