package caddymodule

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// Caddy's idle timeouts wrap the request's body and the response writer and
// set deadlines on the connection through http.ResponseController, which still
// works after the hijack: in Write, Flush and ReadFrom, never in WriteHeader,
// and, when the handler returns, only for a request with a body
// (caddyhttp.Server.serveHTTP, IdleTimeoutReader.HandlerDone), which is no
// handshake. net/http takes away its own deadlines when the connection is
// hijacked. So a session outlives all of them.
func TestSessionOutlivesServerTimeouts(t *testing.T) {
	const timeout = 200 * time.Millisecond
	s := run(t, `{
	$GLOBAL
	servers {
		timeouts {
			read_body 200ms
			read_header 200ms
			read_body_idle 200ms
			write 200ms
			write_idle 200ms
			idle 200ms
		}
	}
}

(site) {
	encode
	log
	stomp /ws {
		name chat
		sockjs
	}
}

http://localhost:$PORT {
	import site
}

https://localhost:$PORT2 {
	tls $TLS
	import site
}
`)
	clients := []*client{dial(t, s.ws("/ws/websocket")), dial(t, "wss://localhost:"+s.port2+"/ws/websocket")}
	for range 2 {
		time.Sleep(2*timeout + 100*time.Millisecond) // it is this time that is tested
		for _, c := range clients {
			c.alive()
		}
	}
}

// A handshake with a body would have a deadline left on its connection.
func TestHandshakeWithBodyIsRefused(t *testing.T) {
	s := run(t, withLimit("1"))
	nc, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte(s.expand(handshake) + "Content-Length: 1\r\n\r\nx")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "no body") {
		t.Errorf("answered with %s %q", resp.Status, body)
	}
}

// A stream that is idle for longer than Caddy lets a read or a write take is
// cut by neither, over HTTP/1.1, HTTP/2 and HTTP/3.
func TestStreamOutlivesIdleTimeouts(t *testing.T) {
	s := run(t, `{
	$GLOBAL
	servers {
		timeouts {
			read_body_idle 100ms
			write_idle 100ms
			idle 100ms
		}
	}
}

https://localhost:$PORT {
	tls $TLS
	encode
	log
	stomp /ws {
		name chat
		sockjs {
			heartbeat 300ms
		}
	}
}
`)
	eventually(t, "the certificate", func() bool {
		nc, err := tls.Dial("tcp", "127.0.0.1:"+s.port, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
	insecure := &tls.Config{InsecureSkipVerify: true}
	quic := &http3.Transport{TLSClientConfig: insecure.Clone()}
	t.Cleanup(func() { _ = quic.Close() })
	for major, transport := range map[int]http.RoundTripper{
		1: &http.Transport{TLSClientConfig: insecure.Clone(), DisableKeepAlives: true},
		2: &http.Transport{TLSClientConfig: insecure.Clone(), DisableKeepAlives: true, ForceAttemptHTTP2: true},
		3: quic,
	} {
		client := &http.Client{Timeout: patience, Transport: transport}
		for _, name := range []string{"xhr_streaming", "eventsource"} {
			method, body := http.MethodPost, io.Reader(strings.NewReader("a body"))
			if name == "eventsource" {
				method, body = http.MethodGet, nil
			}
			req, err := http.NewRequest(method, "https://localhost:"+s.port+"/ws/000/"+rand.Text()+"/"+name, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(resp.Body)
			beats := 0
			for beats < 3 && lines.Scan() {
				if line := lines.Text(); line == "h" || line == "data: h" {
					beats++
				}
			}
			if resp.ProtoMajor != major || beats < 3 {
				t.Errorf("%s over %s: %d heartbeats, then %v", name, resp.Proto, beats, lines.Err())
			}
			_ = resp.Body.Close()
		}
	}
}
