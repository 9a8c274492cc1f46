package websocket_test

import (
	"compress/flate"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// world is a broker with one endpoint, and who watches it.
type world struct {
	*stomp.Broker
	endpoint *stomp.Endpoint
	observer *stomptest.Observer
}

// serve serves a world on loopback: a raw WebSocket at the URL, which is
// ws://, SockJS below /sockjs.
func serve(t testing.TB, p stomp.Policy, config websocket.Config) (w *world, url string) {
	if _, one := t.(*testing.T); one { // a benchmark serves several at once
		stomptest.CheckLeaks(t)
	}
	w = &world{observer: stomptest.NewObserver()}
	w.Broker = stomp.NewBroker(stomp.Config{Observer: w.observer})
	w.endpoint = w.Endpoint("/ws", p)
	config.Subprotocols = websocket.Subprotocols()
	sock := config
	if frame := p.Limits.Frame.Frame; frame > 64<<10 && sock.MaxMessage == 0 {
		sock.MaxMessage = 8 * int64(frame) // JSON makes a byte six at most
	}
	open := func(tr stomp.Transport) (stomp.Receiver, error) {
		return w.endpoint.NewSession(tr, &stomp.Handshake{Transport: "websocket"})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) { _ = websocket.Accept(rw, r, config, open) })
	mux.Handle("/sockjs/", sockjs.NewHandler(sockjs.Config{
		Prefix: "/sockjs", WebSocket: sock,
		Open: func(_ *http.Request, _ sockjs.Connection, tr stomp.Transport) (stomp.Receiver, error) {
			return open(tr)
		},
	}))
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.Close()
		w.Drain(t.Context(), 1001, "")
	})
	return w, "ws" + strings.TrimPrefix(s.URL, "http")
}

const mebibyte = 1 << 20

// roomy is a policy for bodies of 1 MiB: a frame of that size, and room for
// some of them to wait.
func roomy() stomp.Policy {
	p := stomp.DefaultPolicy()
	p.Limits.Frame.Frame = mebibyte + 4096
	p.Limits.Pending = 8 * mebibyte
	return p
}

// A body of 1 MiB in one WebSocket message, both ways, in well under 5 s.
func TestLargeBodies(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", mebibyte/16)
	for _, tt := range []struct {
		name, path, destination, body string
		compression                   bool
	}{
		{"text to a topic", "", "/topic/a", text, false},
		{"binary to a topic", "", "/topic/a", text[:mebibyte-2] + "\xff\x00", false},
		{"text to a queue", "", "/queue/a", text, false},
		{"compressed", "", "/topic/a", text, true},
		{"SockJS", "sockjs+", "/topic/a", text, false},
		{"SockJS, all escaped", "sockjs+", "/topic/a", strings.Repeat("\"\n\x01\u2028", mebibyte/6), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, url := serve(t, roomy(), websocket.Config{Compression: tt.compression})
			if tt.path != "" {
				url = tt.path + url + "/sockjs"
			}
			c := stomptest.DialURL(t, url)
			if strings.HasPrefix(tt.name, "binary") {
				var ws *stomptest.WebSocket
				c, ws = stomptest.DialWebSocket(t, url, nil)
				ws.Binary = true
			}
			c.Connect()
			c.Subscribe("1", tt.destination)
			start := time.Now()
			const rounds = 3
			for range rounds {
				c.Publish(tt.destination, tt.body)
				if f := c.Expect(frame.Message); string(f.Body) != tt.body {
					t.Fatalf("%d bytes came back, other than the %d sent", len(f.Body), len(tt.body))
				}
			}
			took := time.Since(start) / rounds
			t.Logf("there and back in %v", took)
			if took > 2500*time.Millisecond {
				t.Errorf("%v is not well under 5 s", took)
			}
			c.ExpectNothing()
		})
	}
}

// Left at their defaults, frame_size and, where a message is kept whole until
// it is taken apart, message_size refuse it, and say so.
func TestLargeBodyRefused(t *testing.T) {
	_, url := serve(t, stomp.DefaultPolicy(), websocket.Config{})
	raw, ws := stomptest.DialWebSocket(t, url, nil)
	framed, sock := stomptest.DialSockJS(t, url+"/sockjs", nil)
	for _, tt := range []struct {
		c     *stomptest.Client
		conn  stomptest.Conn
		limit string
	}{{raw, ws, "frame_size 65536"}, {framed, sock, "message_size 524288"}} {
		c, conn := tt.c, tt.conn
		c.Connect()
		// it may be refused, and the connection closed, before all is written
		_ = conn.Write([]byte("SEND\ndestination:/topic/a\n\n" + strings.Repeat("x", mebibyte) + "\x00"))
		if _, closing := c.ExpectError("limit exceeded: " + tt.limit); closing.Code != 1009 {
			t.Errorf("closed with %v", closing)
		}
	}
}

// dialCompressed connects a client that agrees to permessage-deflate.
func dialCompressed(t testing.TB, url string) (*stomptest.Client, *stomptest.WebSocket) {
	t.Helper()
	d := gorilla.Dialer{EnableCompression: true}
	conn, resp, err := d.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Sec-Websocket-Extensions"); !strings.Contains(got, "permessage-deflate") {
		t.Fatalf("extensions %q", got)
	}
	_ = conn.SetCompressionLevel(flate.BestCompression)
	ws := &stomptest.WebSocket{Conn: conn}
	return stomptest.NewClient(t, ws), ws
}

// Attack: a compressed bomb. Megabytes that are kilobytes on the wire make the
// server hold or inflate without end. They end with the limit that they go
// over, at once, whatever they are made of; what is held meanwhile stays below
// a bound.
func TestCompressedBombs(t *testing.T) {
	const inflated = 64 * mebibyte
	for _, tt := range []struct {
		name, start, fill string
		limit             string
	}{
		{"a body", "SEND\ndestination:/topic/a\n\n", "x", "frame_size"},
		{"a counted body", "SEND\ndestination:/topic/a\ncontent-length:67108864\n\n", "x", "frame_size"},
		{"a header", "SEND\nx:", "x", "header_line"},
		{"heart-beats", "", "\n", "message_size"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, url := serve(t, stomp.DefaultPolicy(), websocket.Config{Compression: true, MaxMessage: 4 * mebibyte})
			c, ws := dialCompressed(t, url)
			c.Connect()
			var most uint64
			done := make(chan struct{})
			watched := make(chan struct{})
			before := inUse()
			go func() {
				defer close(watched)
				for {
					select {
					case <-done:
						return
					case <-time.After(5 * time.Millisecond):
						most = max(most, inUse())
					}
				}
			}()
			start := time.Now()
			go func() {
				out, err := ws.NextWriter(gorilla.TextMessage)
				if err != nil {
					return
				}
				_, _ = out.Write([]byte(tt.start))
				chunk := []byte(strings.Repeat(tt.fill, mebibyte))
				for n := 0; n < inflated && err == nil; n += len(chunk) {
					_, err = out.Write(chunk)
				}
				_ = out.Close()
			}()
			_, closing := c.ExpectError("limit exceeded: " + tt.limit)
			took := time.Since(start)
			w.observer.ExpectEnd(t, stomp.ReasonPolicy)
			close(done)
			<-watched
			t.Logf("ended with %d after %v, %d MiB more in use", closing.Code, took, int64(most-min(most, before))>>20)
			if took > 5*time.Second {
				t.Errorf("ended after %v", took)
			}
			if most > before+48*mebibyte {
				t.Errorf("%d MiB in use, before %d", most>>20, before>>20)
			}
		})
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// Compression is off unless configured, so that nobody can offer a bomb.
func TestNoCompressionByDefault(t *testing.T) {
	_, url := serve(t, stomp.DefaultPolicy(), websocket.Config{})
	d := gorilla.Dialer{EnableCompression: true, NetDial: net.Dial}
	conn, resp, err := d.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = conn.Close()
	if got := resp.Header.Get("Sec-Websocket-Extensions"); got != "" {
		t.Errorf("extensions %q", got)
	}
}

// The suite, over a WebSocket that compresses.
func TestConformanceCompressed(t *testing.T) {
	_, url := serve(t, stomp.Policy{HeartBeatSend: 200 * time.Millisecond}, websocket.Config{Compression: true})
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c, ws := dialCompressed(t, url)
		_ = ws.SetCompressionLevel(flate.BestSpeed)
		return c
	})
}
