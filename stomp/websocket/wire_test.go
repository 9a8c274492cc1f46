package websocket

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// RFC 6455, section 5.5.2: a pong has the payload of its ping, and there is one.
func TestPong(t *testing.T) {
	s := newServer(t, Config{}, nil)
	c, ws := s.dial(t)
	pongs := make(chan string, 10)
	ws.SetPongHandler(func(data string) error {
		pongs <- data
		return nil
	})
	for _, payload := range []string{"", "a", strings.Repeat("x", 125)} {
		if err := ws.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(30*time.Second)); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-pongs:
			if got != payload {
				t.Errorf("pong %q for ping %q", got, payload)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no pong for ping %q", payload)
		}
	}
	c.Connect() // which is answered by a message, after all pongs
	if n := len(pongs); n > 0 {
		t.Errorf("%d pongs too many", n)
	}
}

// RFC 6455, sections 5.5.1 and 7.4: the close comes back, and decides the
// reason of the end.
func TestCloseCodes(t *testing.T) {
	s := newServer(t, Config{}, nil)
	for _, tt := range []struct {
		code   int
		reason stomp.Reason
	}{
		{1000, stomp.ReasonClosed},
		{1001, stomp.ReasonClosed},
		{1005, stomp.ReasonClosed}, // none
		{3000, stomp.ReasonClosed},
		{4999, stomp.ReasonClosed},
		{1002, stomp.ReasonProtocolError},
		{1007, stomp.ReasonProtocolError},
		{1011, stomp.ReasonProtocolError},
	} {
		c, _ := s.dial(t)
		c.Connect()
		c.Close(tt.code)
		c.ExpectClose(tt.code)
		if e := s.observer.ExpectEnd(t, tt.reason); e.Code != tt.code {
			t.Errorf("code %d, want %d", e.Code, tt.code)
		}
	}
}

func TestConnectionLost(t *testing.T) {
	s := newServer(t, Config{}, nil)
	c, ws := s.dial(t)
	c.Connect()
	if err := ws.NetConn().Close(); err != nil {
		t.Fatal(err)
	}
	if e := s.observer.ExpectEnd(t, stomp.ReasonConnectionLost); e.Code != 1006 {
		t.Errorf("code %d", e.Code)
	}
}

// What breaks RFC 6455 itself ends with a close code that says so.
func TestViolations(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		code int
	}{
		{"reserved bits", "\xf1\x80\x00\x00\x00\x00", 1002},
		{"reserved opcode", "\x83\x80\x00\x00\x00\x00", 1002},
		{"not masked", "\x81\x01x", 1002},
		{"continuation of nothing", "\x80\x80\x00\x00\x00\x00", 1002},
		{"fragmented ping", "\x09\x80\x00\x00\x00\x00", 1002},
		{"long ping", "\x89\xfe\x00\x7e\x00\x00\x00\x00", 1002},
		{"close code 1006", "\x88\x82\x00\x00\x00\x00\x03\xee", 1002},
		{"close reason not UTF-8", "\x88\x84\x00\x00\x00\x00\x03\xe8\xc3\x28", 1002},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Config{}, nil)
			c, ws := s.dial(t)
			c.Connect()
			if _, err := ws.NetConn().Write([]byte(tt.wire)); err != nil {
				t.Fatal(err)
			}
			c.ExpectClose(tt.code)
			if e := s.observer.ExpectEnd(t, stomp.ReasonProtocolError); e.Code != tt.code {
				t.Errorf("code %d, want %d", e.Code, tt.code)
			}
		})
	}
}

func TestMessageTooLarge(t *testing.T) {
	s := newServer(t, Config{MaxMessage: 10_000}, nil)
	c, _ := s.dial(t)
	c.Connect()
	c.Raw(strings.Repeat("\n", 10_001))
	if _, closing := c.ExpectError("message_size"); closing.Code != 1009 {
		t.Error(closing)
	}
	if e := s.observer.ExpectEnd(t, stomp.ReasonPolicy); e.Code != 1009 {
		t.Errorf("code %d reported, 1009 was on the wire", e.Code)
	}
}

func TestFrameTooLarge(t *testing.T) {
	s := newServer(t, Config{}, nil)
	c, _ := s.dial(t)
	c.Connect()
	c.Raw("SEND\ndestination:/topic/a\ncontent-length:1048576\n\nthe first of many bytes")
	f, closing := c.ExpectError("frame_size")
	if closing.Code != 1009 {
		t.Errorf("%v after %v", closing, f)
	}
	s.observer.ExpectEnd(t, stomp.ReasonPolicy)
}

func TestFragments(t *testing.T) {
	s := newServer(t, Config{}, nil)
	c, ws := s.dial(t)
	c.Connect()
	c.Subscribe("1", "/topic/a")
	body := strings.Repeat("0123456789abcdef", 1000)
	for _, size := range []int{1, 100, 4095, 4096, 4097} {
		w, err := ws.NextWriter(websocket.TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		text := "SEND\ndestination:/topic/a\n\n" + body + "\x00"
		if size == 1 {
			text = "SEND\ndestination:/topic/a\n\nx\x00"
		}
		for i := 0; i < len(text); i += size {
			if _, err := w.Write([]byte(text[i:min(len(text), i+size)])); err != nil {
				t.Fatal(err)
			}
			// gorilla makes a fragment when its buffer is full, or of a ping
			if err := ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(30*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f := c.Expect(frame.Message)
		if size > 1 && string(f.Body) != body {
			t.Errorf("fragments of %d: %d bytes", size, len(f.Body))
		}
	}
}

// A body that is not UTF-8 goes out in a binary message, others in text.
func TestTextAndBinary(t *testing.T) {
	s := newServer(t, Config{}, nil)
	sender, ws := s.dial(t)
	ws.Binary = true
	sender.Connect()
	reader, _, err := websocket.DefaultDialer.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	read := func(kind int, start string) {
		t.Helper()
		got, p, err := reader.ReadMessage()
		if err != nil || got != kind || !strings.HasPrefix(string(p), start) {
			t.Fatalf("message of kind %d: %.100q, %v", got, p, err)
		}
	}
	for _, f := range []string{
		"CONNECT\naccept-version:1.2\nhost:x\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00",
	} {
		if err := reader.WriteMessage(websocket.TextMessage, []byte(f)); err != nil {
			t.Fatal(err)
		}
	}
	read(websocket.TextMessage, "CONNECTED")
	read(websocket.TextMessage, "RECEIPT")
	sender.Publish("/topic/a", "\xff\xfe")
	read(websocket.BinaryMessage, "MESSAGE")
	sender.Publish("/topic/a", "\u00e9\x00")
	read(websocket.TextMessage, "MESSAGE")
}

// RFC 6455, section 5.5: a close frame has 125 bytes at most, and its reason
// is UTF-8. A reason that is neither too long nor broken stays as it is.
func TestCloseReason(t *testing.T) {
	s := newServer(t, Config{}, nil)
	for _, reason := range []string{
		"plain", "caf\u00e9", "\u2603", "\U0001F600",
		strings.Repeat("x", 123), strings.Repeat("x", 124), strings.Repeat("\u00e9", 100),
		strings.Repeat("x", 122) + "\u00e9", strings.Repeat("x", 121) + "\u2603", strings.Repeat("x", 120) + "\U0001F600",
	} {
		c, _ := s.dial(t)
		id := c.Connect().Header.Get("session")
		s.endpoint.Broker().Session(id).End(stomp.End{Reason: stomp.ReasonPolicy, Text: reason})
		c.Expect(frame.Error, "message:"+reason)
		closing := c.ExpectClose(1008)
		got := closing.Text
		if !utf8.ValidString(got) || !strings.HasPrefix(reason, got) || len(reason) <= 123 && got != reason || len(got) < min(len(reason), 120) {
			t.Errorf("reason %q became %q", reason, got)
		}
	}
}
