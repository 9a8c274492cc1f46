//go:build linux

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strconv"
)

// stream opens xhr_streaming of SockJS.
func (t target) stream(c *conn) error {
	c.addr, c.xhr = t.addr, t.path+"/000/"+rand.Text()
	c.messages.chunks = true
	if err := c.poll(); err != nil {
		return err
	}
	head, err := c.head()
	if err == nil && !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		err = fmt.Errorf("no stream: %.200s", head)
	}
	return err
}

// poll asks for what there is.
func (c *conn) poll() error {
	_, err := fmt.Fprintf(c.stream, "POST %s/xhr_streaming HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", c.xhr, c.addr)
	return err
}

// post sends, over another connection. It blocks.
func (c *conn) post(payload []byte) error {
	s, err := dialSocket(c.addr, 0)
	if err != nil {
		return err
	}
	defer s.reset()
	if _, err := fmt.Fprintf(s, "POST %s/xhr_send HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
		c.xhr, c.addr, len(payload), payload); err != nil {
		return err
	}
	head, err := (&conn{socket: s, stream: s}).head()
	if err == nil && !bytes.HasPrefix(head, []byte("HTTP/1.1 204 ")) {
		err = fmt.Errorf("not sent to %s: %.200s", c.xhr, head)
	}
	return err
}

// complete is what of the payload can be looked at: of a stream whole lines,
// whichever chunks they came in.
func (c *conn) complete(payload []byte) []byte {
	if c.kind != streaming {
		return payload
	}
	if len(c.line) > 0 {
		payload = append(c.line, payload...)
	}
	end := bytes.LastIndexByte(payload, '\n') + 1
	if c.line = nil; end < len(payload) {
		c.line = bytes.Clone(payload[end:])
	}
	return payload[:end]
}

// cutChunk cuts the first chunk of a response off p (RFC 9112 section 7.1). The
// rest is nil if it is not complete. The head of a response is skipped.
func cutChunk(p []byte) (opcode byte, payload, rest []byte, err error) {
	if bytes.HasPrefix(p, []byte("HTTP/1.1 ")) {
		head, body, ok := bytes.Cut(p, []byte("\r\n\r\n"))
		if !ok {
			return 0, nil, nil, nil
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
			return 0, nil, nil, fmt.Errorf("no stream: %.200s", head)
		}
		p = body
	}
	line, data, ok := bytes.Cut(p, []byte("\r\n"))
	if !ok {
		return 0, nil, nil, nil
	}
	size, err := strconv.ParseUint(string(line), 16, 30)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("a chunk begins with %.20q", line)
	}
	if uint64(len(data)) < size+2 {
		return 0, nil, nil, nil
	}
	if size == 0 {
		return opEnd, nil, data[2:], nil
	}
	return opText, data[:size:size], data[size+2:], nil
}
