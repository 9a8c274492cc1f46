package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"
)

// gorilla/websocket asks its response writer for http.Hijacker, takes the
// connection and writes the response head to it. Behind a chain of writers
// that would go past everything: headers set by others would be missing, the
// access log would not know of the 101, and the outer writers' hijacked
// connections would stay in memory. So gorilla is given a connection that
// hijacks late: its first write, the response head, is sent through the chain,
// and only then the innermost writer is hijacked.

// lateHijacker is the response writer that gorilla is given.
type lateHijacker struct {
	http.ResponseWriter
	conn *lateConn
}

// Hijack implements [http.Hijacker] without hijacking yet.
func (l *lateHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	l.conn = &lateConn{w: l.ResponseWriter}
	l.conn.br = bufio.NewReaderSize(l.conn, readBufferSize)
	return l.conn, bufio.NewReadWriter(l.conn.br, bufio.NewWriterSize(l.conn, 16)), nil
}

// lateConn becomes the hijacked connection at the first write. It stays
// between gorilla and the connection, as the place where what is written is
// collected.
type lateConn struct {
	batchConn
	w    http.ResponseWriter // until the hijack
	br   *bufio.Reader       // gorilla's
	lead []byte              // was read and comes first
	held *[]byte             // the buffer that lead is in, if it is of the pool
	err  error               // what comes after lead, if that was read too
	look bool                // at what there is to read, without waiting
}

func (c *lateConn) Write(p []byte) (int, error) {
	if c.w == nil {
		return c.batchConn.Write(p)
	}
	w := c.w
	c.w = nil
	if err := writeHead(w, p); err != nil {
		return 0, err
	}
	c.deflate = w.Header().Get("Sec-WebSocket-Extensions") != "" // the only one that gorilla knows
	h, err := hijacker(w)
	if err != nil {
		return 0, err
	}
	nc, brw, err := h.Hijack()
	if err != nil {
		return 0, fmt.Errorf("hijacking: %w", err)
	}
	c.Conn = nc
	if n := brw.Reader.Buffered(); n > 0 {
		lead, _ := brw.Reader.Peek(n)
		c.lead = bytes.Clone(lead)
	}
	return len(p), nil
}

func (c *lateConn) Read(p []byte) (int, error) {
	if len(c.lead) > 0 {
		n := copy(p, c.lead)
		if c.lead = c.lead[n:]; len(c.lead) == 0 {
			if c.held != nil {
				reads.Put(c.held)
			}
			c.lead, c.held = nil, nil
		}
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// empty says whether nothing that was read is left.
func (c *lateConn) empty() bool { return len(c.lead) == 0 && c.err == nil && c.br.Buffered() == 0 }

// What gorilla calls before its first write.

func (c *lateConn) SetDeadline(time.Time) error { return nil }

func (c *lateConn) Close() error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

// writeHead sends a response head through a chain of response writers.
func writeHead(w http.ResponseWriter, head []byte) error {
	resp, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(head), len(head)), nil)
	if err != nil {
		return fmt.Errorf("reading the handshake response: %w", err)
	}
	_ = resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	return nil
}

// errNoHijack: HTTP/2, HTTP/3, or a writer that cannot be unwrapped.
var errNoHijack = errors.New("the HTTP server cannot hand over this connection")

// hijacker finds the innermost writer.
func hijacker(w http.ResponseWriter) (http.Hijacker, error) {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = u.Unwrap()
	}
	if h, ok := w.(http.Hijacker); ok {
		return h, nil
	}
	return nil, errNoHijack
}
