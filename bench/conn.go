//go:build linux

package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// conn is a client of what is measured.
type conn struct {
	socket *socket
	stream io.ReadWriter // the socket, or TLS over it
	id     string        // of the session

	kind     kind
	messages deframer
	got      int // MESSAGE frames, since the load began to count

	addr string // with an HTTP transport: where to send to
	xhr  string // and its path
	line []byte // of it, that is not complete

	message func(c *conn, text []byte) error // of each, where somebody wants to see them
	fate    func(c *conn, err error)         // the server ended it; without it that is an error
	gone    bool
}

// target is where clients connect to.
type target struct {
	addr        string // 127.0.0.1:port
	path        string
	tls         bool
	compression bool // permessage-deflate
	kind        kind
	beat        time.Duration // heart-beats, both ways
	host        string        // of CONNECT; bench
	login       frame.Header  // of CONNECT, besides
	window      int           // bytes that may come unread; 0: what the kernel thinks
}

// kind is what is under STOMP.
type kind uint8

const (
	raw       kind = iota // a WebSocket
	sockJS                // the websocket transport of SockJS
	streaming             // its xhr_streaming
	mute                  // a WebSocket on which nobody says anything
	silent                // nothing: bytes that a floor writes
)

func (c *conn) received(p []byte) error {
	return c.messages.feed(p, func(opcode byte, payload []byte) error {
		switch opcode {
		case opText, opBinary:
			payload = c.complete(payload)
			if err := c.closed(payload); err != nil {
				return err
			}
			for range c.in(payload) {
				c.got++
				if c.message == nil {
					continue
				}
				if err := c.message(c, payload); err != nil {
					return err
				}
			}
		case opPing:
			return c.write(opPong, payload)
		case opClose:
			return fmt.Errorf("closed by the server: %q", payload)
		case opEnd:
			return c.poll()
		}
		return nil
	})
}

// closed is the close frame of SockJS in a payload, as an error: whoever asks again
// gets it again, and no message ever.
func (c *conn) closed(payload []byte) error {
	if c.kind != sockJS && c.kind != streaming {
		return nil
	}
	for line := range bytes.Lines(payload) {
		if line[0] == 'c' {
			return fmt.Errorf("closed by the server: %s", bytes.TrimSpace(line))
		}
	}
	return nil
}

// in is how many MESSAGE frames are in a payload: what begins otherwise is a
// heart-beat, and deflated it cannot be seen.
func (c *conn) in(payload []byte) int {
	switch {
	case c.kind == sockJS || c.kind == streaming:
		return bytes.Count(payload, []byte(`"MESSAGE\n`))
	case len(payload) == 1:
		return 0
	default:
		return 1
	}
}

// text is the STOMP frames of a payload.
func (c *conn) text(payload []byte) ([]byte, error) {
	if c.kind != sockJS && c.kind != streaming {
		return c.messages.inflated(payload)
	}
	var text []byte
	for line := range bytes.Lines(payload) {
		array, ok := bytes.CutPrefix(line, []byte("a"))
		if !ok {
			continue // o, h
		}
		var frames []string
		if err := json.Unmarshal(array, &frames); err != nil {
			return nil, err
		}
		text = append(text, strings.Join(frames, "")...)
	}
	return text, nil
}

// dial connects a client and, unless it is silent, makes the session. It blocks.
func (t target) dial(header ...frame.Field) (*conn, error) {
	s, err := dialSocket(t.addr, t.window)
	if err != nil {
		return nil, err
	}
	c := &conn{socket: s, stream: s, kind: t.kind}
	if err := t.open(c, header); err != nil {
		_ = s.Close()
		return nil, err
	}
	return c, nil
}

func (t target) open(c *conn, header []frame.Field) error {
	if t.kind == silent {
		return nil
	}
	if t.tls {
		//nolint:gosec // the certificate of the benchmark itself, on loopback
		c.stream = tls.Client(c.socket, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	if t.kind == streaming {
		if err := t.stream(c); err != nil {
			return err
		}
		return t.connect(c, header)
	}
	if err := t.upgrade(c); err != nil || t.kind == mute {
		return err
	}
	return t.connect(c, header)
}

// upgrade asks for a WebSocket.
func (t target) upgrade(c *conn) error {
	extension := ""
	if t.compression {
		extension = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"
	}
	path := t.path
	if t.kind == sockJS {
		path += "/000/" + rand.Text() + "/websocket"
	}
	if _, err := fmt.Fprintf(c.stream, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", path, t.addr, extension); err != nil {
		return err
	}
	head, err := c.head()
	if err != nil {
		return fmt.Errorf("upgrading: %w", err)
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("no upgrade: %.200s", head)
	}
	if t.compression != bytes.Contains(bytes.ToLower(head), []byte("permessage-deflate")) {
		return fmt.Errorf("compression is not %v: %s", t.compression, head)
	}
	return nil
}

// head reads the head of a response. What follows it is for the next to feed.
func (c *conn) head() ([]byte, error) {
	var got []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := c.stream.Read(buf)
		if err != nil {
			return nil, err
		}
		got = append(got, buf[:n]...)
		if head, rest, ok := bytes.Cut(got, []byte("\r\n\r\n")); ok {
			c.messages.pending = append(c.messages.pending, rest...)
			return head, nil
		}
	}
}

// connect makes the session: CONNECT, CONNECTED.
func (t target) connect(c *conn, header []frame.Field) error {
	beat := fmt.Sprintf("%d,%[1]d", t.beat.Milliseconds())
	host := cmp.Or(t.host, "bench")
	header = append(frame.Header{{Name: "accept-version", Value: "1.2"}, {Name: "host", Value: host}, {Name: "heart-beat", Value: beat}}, header...)
	header = append(header, t.login...)
	if err := c.send(0, &frame.Frame{Command: frame.Connect, Header: header}); err != nil {
		return err
	}
	return c.await(func(text []byte) (bool, error) {
		_, after, ok := bytes.Cut(text, []byte("\nsession:"))
		if len(text) == 0 {
			return false, nil
		}
		if !ok || !bytes.HasPrefix(text, []byte("CONNECTED\n")) {
			return false, fmt.Errorf("not connected: %.200q", text)
		}
		id, _, _ := bytes.Cut(after, []byte("\n"))
		c.id = string(id)
		return true, nil
	})
}

// subscribe returns when the subscription is there.
func (c *conn) subscribe(id, destination string) error {
	f := frame.Frame{Command: frame.Subscribe, Header: frame.Header{
		{Name: "id", Value: id}, {Name: "destination", Value: destination}, {Name: "receipt", Value: "r"},
	}}
	if err := c.send(frame.V12, &f); err != nil {
		return err
	}
	return c.await(func(text []byte) (bool, error) {
		if bytes.HasPrefix(text, []byte("ERROR")) {
			return false, fmt.Errorf("not subscribed: %.200q", text)
		}
		return bytes.HasPrefix(text, []byte("RECEIPT\n")), nil
	})
}

// await reads, blocking, until a message is what is waited for. It counts none.
func (c *conn) await(found func(text []byte) (bool, error)) error {
	got := c.got
	defer func() { c.got = got }()
	buf := make([]byte, 4<<10)
	for {
		n, err := c.stream.Read(buf)
		if err != nil {
			return err
		}
		enough := false
		err = c.messages.feed(buf[:n], func(opcode byte, payload []byte) error {
			switch {
			case opcode == opClose:
				return fmt.Errorf("closed by the server: %q", payload)
			case opcode != opText && opcode != opBinary:
				return nil
			}
			text, err := c.text(c.complete(payload))
			if err != nil {
				return err
			}
			ok, err := found(text)
			enough = enough || ok
			return err
		})
		if err != nil || enough {
			return err
		}
	}
}

// send sends a STOMP frame as one message.
func (c *conn) send(v frame.Version, f *frame.Frame) error {
	p := frame.Append(nil, v, f)
	if c.kind == sockJS || c.kind == streaming {
		var err error
		if p, err = json.Marshal([]string{string(p)}); err != nil {
			return err
		}
	}
	if c.kind == streaming {
		return c.post(p)
	}
	return c.write(opText, p)
}

func (c *conn) write(opcode byte, payload []byte) error {
	_, err := c.stream.Write(appendMessage(nil, opcode, payload))
	return err
}

// appendMessage appends a message of a client, masked with zeros.
func appendMessage(p []byte, opcode byte, payload []byte) []byte {
	const fin, masked = 0x80, 0x80
	switch n := len(payload); {
	case n < 126:
		p = append(p, fin|opcode, masked|byte(n))
	case n < 1<<16:
		p = binary.BigEndian.AppendUint16(append(p, fin|opcode, masked|126), uint16(n))
	default:
		p = binary.BigEndian.AppendUint64(append(p, fin|opcode, masked|127), uint64(n))
	}
	return append(append(p, 0, 0, 0, 0), payload...)
}
