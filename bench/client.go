package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// client is a STOMP client over WebSocket that keeps what it is told of the
// others, by hash.
type client struct {
	load *load
	conn net.Conn
	id   string

	got    []uint64 // bodies, in order
	sizes  []int    // of the WebSocket messages
	lost   atomic.Bool
	failed atomic.Pointer[string]
}

// load is all clients and the bodies that they got.
type load struct {
	seed    maphash.Seed
	bytes   atomic.Int64
	clients []*client

	mu     sync.Mutex
	bodies map[uint64]*presenceBody
}

// presenceBody is a page of a roster, or changes.
type presenceBody struct {
	roster  bool
	more    bool
	seq     uint64
	entries []entry
}

type entry struct {
	Seq       uint64 `json:"seq"`
	Type      string `json:"type"`
	SessionID string `json:"sessionId"`
}

func newLoad() *load { return &load{seed: maphash.MakeSeed(), bodies: make(map[uint64]*presenceBody)} }

// clientData is 200 bytes of JSON.
func clientData(i int) string {
	head := fmt.Sprintf(`{"name":"somebody %d","about":"`, i)
	return head + strings.Repeat("x", 200-len(head)-2) + `"}`
}

// dial connects a client; it is registered when this returns.
func (l *load) dial(addr string, i int) (*client, error) {
	c, r, err := l.connect(addr, frame.Field{Name: "client-data", Value: clientData(i)})
	if err != nil {
		return nil, err
	}
	go c.read(r)
	return c, nil
}

// waitFor returns when somebody who asks who is there has been told of so many,
// by the roster and the changes after it.
func (l *load) waitFor(addr string, sessions int) error {
	c, r, err := l.connect(addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := l.subscribe([]*client{c}); err != nil {
		return err
	}
	for told := 0; told < sessions; {
		body, err := readMessage(r, nil)
		if err != nil {
			return fmt.Errorf("after %d of %d were told of: %w", told, sessions, err)
		}
		told += bytes.Count(body, []byte(`{"sessionId":`)) + bytes.Count(body, []byte(`"type":"joined"`))
	}
	return nil
}

// connect sends CONNECT with a header, and reads CONNECTED.
func (l *load) connect(addr string, header ...frame.Field) (*client, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	c := &client{load: l, conn: conn}
	if _, err := fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", addr); err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(conn, 4<<10)
	for line := 0; ; line++ {
		text, err := r.ReadString('\n')
		if err != nil {
			return nil, nil, err
		}
		if line == 0 && !strings.Contains(text, " 101 ") {
			return nil, nil, fmt.Errorf("upgrade: %s", text)
		}
		if text == "\r\n" {
			break
		}
	}
	header = append(frame.Header{{Name: "accept-version", Value: "1.2"}, {Name: "host", Value: "bench"}, {Name: "heart-beat", Value: "0,0"}}, header...)
	if err := c.send(frame.Connect, header...); err != nil {
		return nil, nil, err
	}
	message, err := readMessage(r, nil)
	if err != nil {
		return nil, nil, err
	}
	_, after, ok := bytes.Cut(message, []byte("\nsession:"))
	if !ok || !bytes.HasPrefix(message, []byte("CONNECTED\n")) {
		return nil, nil, fmt.Errorf("not connected: %.200q", message)
	}
	id, _, _ := bytes.Cut(after, []byte("\n"))
	c.id = string(id)
	return c, r, nil
}

// send sends a frame without a body.
func (c *client) send(command string, header ...frame.Field) error {
	f := frame.Frame{Command: command, Header: header}
	version := frame.V12
	if command == frame.Connect {
		version = 0
	}
	p := frame.Append(nil, version, &f)
	head := []byte{0x81, 0x80 | 126, 0, 0, 0, 0, 0, 0} // masked with zeros
	binary.BigEndian.PutUint16(head[2:], uint16(len(p)))
	_, err := c.conn.Write(append(head, p...))
	return err
}

func (c *client) read(r *bufio.Reader) {
	var buf []byte
	for {
		message, err := readMessage(r, buf)
		if err != nil {
			c.lost.Store(true)
			return
		}
		buf = message[:0]
		c.load.bytes.Add(int64(len(message)))
		if bytes.HasPrefix(message, []byte("ERROR\n")) {
			text := string(message)
			c.failed.Store(&text)
		}
		_, body, ok := bytes.Cut(message, []byte("\n\n"))
		if !ok || !bytes.HasPrefix(message, []byte("MESSAGE\n")) {
			continue
		}
		h := maphash.Bytes(c.load.seed, body)
		c.load.keep(h, body)
		c.got = append(c.got, h)
		c.sizes = append(c.sizes, len(message)+4)
	}
}

// readMessage reads one message; control frames are skipped.
func readMessage(r *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		head, err := r.Peek(2)
		if err != nil {
			return nil, err
		}
		opcode, size, skip := head[0]&0xf, uint64(head[1]&0x7f), 2
		switch size {
		case 126:
			if head, err = r.Peek(4); err != nil {
				return nil, err
			}
			size, skip = uint64(binary.BigEndian.Uint16(head[2:])), 4
		case 127:
			if head, err = r.Peek(10); err != nil {
				return nil, err
			}
			size, skip = binary.BigEndian.Uint64(head[2:]), 10
		}
		if _, err := r.Discard(skip); err != nil {
			return nil, err
		}
		if uint64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(r, buf); err != nil {
			return nil, err
		}
		switch opcode {
		case 1, 2:
			return buf, nil
		case 8:
			return nil, io.EOF
		}
	}
}

func (l *load) keep(h uint64, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bodies[h] != nil {
		return
	}
	body = bytes.TrimSuffix(body, []byte{0})
	b := new(presenceBody)
	l.bodies[h] = b
	if bytes.HasPrefix(body, []byte("[")) {
		if err := json.Unmarshal(body, &b.entries); err != nil {
			panic(fmt.Sprintf("%v in %.200q", err, body))
		}
		return
	}
	var page struct {
		Seq      uint64  `json:"seq"`
		More     bool    `json:"more"`
		Sessions []entry `json:"sessions"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		panic(fmt.Sprintf("%v in %.200q", err, body))
	}
	b.roster, b.more, b.seq, b.entries = true, page.More, page.Seq, page.Sessions
}

// picture is what somebody thinks of who is there.
type picture struct {
	err   string
	reset bool
	here  map[string]bool
}

// fold follows what a client was told.
func (l *load) fold(got []uint64) picture {
	p := picture{here: make(map[string]bool)}
	var seq uint64
	complete := false
	for _, h := range got {
		b := l.bodies[h]
		if b.roster {
			for _, e := range b.entries {
				p.here[e.SessionID] = true
			}
			seq, complete = b.seq, !b.more
			continue
		}
		for _, e := range b.entries {
			if e.Seq <= seq {
				p.err = fmt.Sprintf("change %d comes after %d", e.Seq, seq)
			}
			seq = e.Seq
			switch e.Type {
			case "joined":
				p.here[e.SessionID] = true
			case "left":
				if !p.here[e.SessionID] {
					p.err = fmt.Sprintf("%s left and was not there", e.SessionID)
				}
				delete(p.here, e.SessionID)
			case "reset":
				p.reset = true
			}
		}
	}
	if !complete {
		p.err = "the roster is not complete"
	}
	return p
}
