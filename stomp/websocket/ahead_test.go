//go:build unix

package websocket

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// clientFrame is a frame as clients send it (RFC 6455 section 5.2).
func clientFrame(first byte, payload string) []byte {
	p := []byte{first, 0x80 | byte(len(payload))}
	if len(payload) > 125 {
		p = []byte{first, 0x80 | 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	key := []byte{1, 2, 3, 4}
	p = append(p, key...)
	for i := range len(payload) {
		p = append(p, payload[i]^key[i%4])
	}
	return p
}

// What a client has sent in a row is published together, but nothing of it waits
// for what has not come yet, wherever that is cut.
func TestNothingWaitsForTheRest(t *testing.T) {
	const fin, text, more, ping = 0x80, 1, 0, 9
	send := func(i, size int) string {
		return fmt.Sprintf("SEND\ndestination:/topic/a\n\n%d %s\x00", i, bytes.Repeat([]byte("x"), size))
	}
	type piece struct {
		p    []byte
		done int // messages, when it has come
	}
	half := send(4, 20)
	pieces := []piece{
		{clientFrame(fin|text, send(0, 10)), 1},
		{clientFrame(fin|text, send(1, 10)), 2},
		{clientFrame(fin|text, "\n"), 2},
		{clientFrame(fin|text, send(2, 10)), 3},
		{clientFrame(fin|ping, "?"), 3},
		{clientFrame(fin|text, send(3, 200)), 4},
		{clientFrame(text, half[:len(half)/2]), 4},
		{clientFrame(fin|more, half[len(half)/2:]), 5},
		{clientFrame(fin|text, send(5, 0)+"\n"+send(6, 0)), 7}, // two in one
		{clientFrame(fin|text, send(7, 0)), 8},
	}
	var stream []byte
	for _, p := range pieces {
		stream = append(stream, p.p...)
	}
	for name, serve := range map[string]func(testing.TB) *server{
		"plain":           func(t testing.TB) *server { return newBareServer(t, Config{}) },
		"TLS":             secureServers["TLS"],
		"TLS on a socket": secureServers["TLS on a socket"],
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			d := websocket.Dialer{TLSClientConfig: secure, Subprotocols: Subprotocols()}
			ws, resp, err := d.Dial(s.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			defer ws.Close()
			conn := ws.NetConn()
			write := func(p []byte) {
				if _, err := conn.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			write(clientFrame(fin|text, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00"))
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			var reader *stomptest.Client
			if name != "plain" {
				reader, _ = dialSecure(t, s)
			} else {
				reader, _ = s.dial(t)
			}
			reader.Connect()
			reader.Subscribe("1", "/topic/a")
			for cut := 1; cut < len(stream); cut += 3 {
				write(stream[:cut])
				done, at := 0, 0
				for _, p := range pieces {
					if at += len(p.p); at <= cut {
						done = p.done
					}
				}
				for i := range 8 {
					if i == done {
						write(stream[cut:])
					}
					if f := reader.Expect(frame.Message); !bytes.HasPrefix(f.Body, fmt.Appendf(nil, "%d ", i)) {
						t.Fatalf("cut at %d: the message %d is %.20q", cut, i, f.Body)
					}
				}
				if done == 8 {
					write(stream[cut:])
				}
			}
		})
	}
}

// senderAndReader are a connection that has said nothing yet, and who reads /topic/a.
func senderAndReader(t *testing.T, s *server, d websocket.Dialer) (net.Conn, *stomptest.Client) {
	t.Helper()
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	reader, _ := s.dial(t)
	reader.Connect()
	reader.Subscribe("1", "/topic/a")
	return ws.NetConn(), reader
}

// The rest of a message is no message that is ahead, whatever it looks like.
func TestNothingWaitsForTheRestOfAMessage(t *testing.T) {
	s := newBareServer(t, Config{})
	conn, reader := senderAndReader(t, s, websocket.Dialer{})
	const received = 4 << 10 // at once
	payload := []byte("SEND\ndestination:/topic/a\n\nfirst\x00SEND\ndestination:/topic/a\n\n")
	payload = append(payload, bytes.Repeat([]byte("x"), 2*received)...)
	copy(payload[received:], "\x80\x82\x03\x04") // masked: a whole message of 0 bytes
	big := clientFrame(0x82, string(append(payload, 0)))
	for _, p := range [][]byte{clientFrame(0x81, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00"), big[:8+received+100]} {
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if f := reader.Expect(frame.Message); string(f.Body) != "first" {
		t.Errorf("%.20q", f.Body)
	}
}

// So is what follows in the frame of a message that ends before it, as only one
// that is deflated can.
func TestNothingWaitsForTheRestOfADeflatedMessage(t *testing.T) {
	s := newBareServer(t, Config{Compression: true})
	conn, reader := senderAndReader(t, s, websocket.Dialer{EnableCompression: true})
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "SEND\ndestination:/topic/a\n\nfirst\x00")
	_ = w.Close() // with a block that is the last
	big := clientFrame(0xc1, deflated.String()+string(make([]byte, 2000)))
	for at := readBufferSize; at < len(big); at++ {
		big[at] = "\x82\x80\x01\x02\x03\x04"[(at-readBufferSize)%6] // messages of 0 bytes
	}
	for _, p := range [][]byte{clientFrame(0x81, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00"), big[:1500]} {
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if f := reader.Expect(frame.Message); string(f.Body) != "first" {
		t.Errorf("%.20q", f.Body)
	}
}

// settling counts what is received before Settle.
type settling struct {
	received, most int
	closed         chan struct{}
}

func (s *settling) Receive([]byte, bool) error {
	s.received++
	s.most = max(s.most, s.received)
	return nil
}

func (s *settling) Settle()             { s.received = 0 }
func (s *settling) Closed(stomp.Ending) { close(s.closed) }
func (*settling) Alive()                {}
func (*settling) Flush()                {}
func (*settling) Fail(error)            {}

// Attack: send something, and heart-beats without end, so that there is always a
// whole message ahead.
func TestNothingWaitsForHeartBeats(t *testing.T) {
	receiver := &settling{closed: make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = Accept(w, r, Config{}, func(stomp.Transport) (stomp.Receiver, error) { return receiver, nil })
	}))
	defer s.Close()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, err := ws.NetConn().Write(bytes.Repeat(clientFrame(0x81, "\n"), 5000)); err != nil {
		t.Fatal(err)
	}
	_ = ws.Close()
	<-receiver.closed
	if receiver.most > maxAhead {
		t.Errorf("%d messages came before Settle", receiver.most)
	}
}

// Ahead counts on whole messages only.
func TestFrameSize(t *testing.T) {
	for _, tt := range []struct {
		head string
		want int
	}{
		{"", 0},
		{"\x81", 0},
		{"\x81\x85", 2 + 4 + 5},
		{"\x82\x80", 2 + 4},
		{"\xc1\x85", 2 + 4 + 5}, // deflated
		{"\x01\x85", 0},         // goes on
		{"\x80\x85", 0},         // the end of one
		{"\x88\x80", 0},         // close
		{"\x89\x80", 0},         // ping
		{"\x8a\x80", 0},         // pong
		{"\x81\xfe", 0},         // the length is not here
		{"\x81\xfe\x01\x00", 4 + 4 + 256},
		{"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00", 0}, // 64 KiB
	} {
		if got := frameSize([]byte(tt.head)); got != tt.want {
			t.Errorf("%x: %d, not %d", tt.head, got, tt.want)
		}
	}
}
