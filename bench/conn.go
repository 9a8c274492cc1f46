//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// conn is a client of what is measured.
type conn struct {
	socket *socket
	stream io.ReadWriter // the socket, or TLS over it
	id     string        // of the session

	messages deframer
	got      int // MESSAGE frames, since the load began to count

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
}

// kind is what is under STOMP.
type kind uint8

const (
	raw    kind = iota // a WebSocket
	silent             // nothing: bytes that a floor writes
)

func (c *conn) received(p []byte) error {
	return c.messages.feed(p, func(opcode byte, payload []byte) error {
		switch opcode {
		case opText, opBinary:
			c.got++
			if c.message != nil {
				return c.message(c, payload)
			}
		case opPing:
			return c.write(opPong, payload)
		case opClose:
			return fmt.Errorf("closed by the server: %q", payload)
		}
		return nil
	})
}

// dial connects a client and, unless it is silent, makes the session. It blocks.
func (t target) dial(header ...frame.Field) (*conn, error) {
	s, err := dialSocket(t.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{socket: s, stream: s}
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
	if err := t.upgrade(c); err != nil {
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
	if _, err := fmt.Fprintf(c.stream, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", t.path, t.addr, extension); err != nil {
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

// head reads the head of a response. A server says nothing of its own after it.
func (c *conn) head() ([]byte, error) {
	var head []byte
	buf := make([]byte, 4<<10)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		n, err := c.stream.Read(buf)
		if err != nil {
			return nil, err
		}
		head = append(head, buf[:n]...)
	}
	return head, nil
}

// connect makes the session: CONNECT, CONNECTED.
func (t target) connect(c *conn, header []frame.Field) error {
	beat := fmt.Sprintf("%d,%[1]d", t.beat.Milliseconds())
	header = append(frame.Header{{Name: "accept-version", Value: "1.2"}, {Name: "host", Value: "bench"}, {Name: "heart-beat", Value: beat}}, header...)
	if err := c.send(0, &frame.Frame{Command: frame.Connect, Header: header}); err != nil {
		return err
	}
	return c.await(func(text []byte) (bool, error) {
		_, after, ok := bytes.Cut(text, []byte("\nsession:"))
		if !ok || !bytes.HasPrefix(text, []byte("CONNECTED\n")) {
			return false, fmt.Errorf("not connected: %.200q", text)
		}
		id, _, _ := bytes.Cut(after, []byte("\n"))
		c.id = string(id)
		return true, nil
	})
}

// subscribe returns when the subscription is there.
func (c *conn) subscribe(destination string) error {
	f := frame.Frame{Command: frame.Subscribe, Header: frame.Header{
		{Name: "id", Value: "s"}, {Name: "destination", Value: destination}, {Name: "receipt", Value: "r"},
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

// errEnough ends await.
var errEnough = errors.New("enough")

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
			text, err := c.messages.inflated(payload)
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
	return c.write(opText, frame.Append(nil, v, f))
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
