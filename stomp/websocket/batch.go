package websocket

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

const (
	// readBufferSize is the least that gorilla takes over: what is read is in
	// a buffer of ours before, as a rule.
	readBufferSize  = 257
	writeBufferSize = 4 << 10
	// batchSize is how much goes out in one system call at most.
	batchSize = 64 << 10
)

// batches are the buffers of connections that are writing.
var batches = sync.Pool{New: func() any { b := make([]byte, 0, writeBufferSize); return &b }}

// batchConn collects what is written until flush, so that all that waits for a
// session goes out in one system call: messages, and control frames of
// gorilla's, which come from the writing goroutine and, for what gorilla says
// itself when the peer breaks RFC 6455, from the reading one.
type batchConn struct {
	net.Conn
	timeout time.Duration

	deflate bool // permessage-deflate was agreed on

	pong atomic.Pointer[string] // the answer to the latest ping, until it is collected

	mu     sync.Mutex
	until  time.Time // the write deadline, as far as it is known
	room   int       // what the socket takes without waiting, under TLS, as far as it is known
	buf    *[]byte   // nil while there is nothing to write
	closed bool      // a close frame is in it, or was: no message may follow
}

// Write takes control frames from gorilla. It never blocks: they are small, and
// go out with the next flush.
func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf := c.buffer()
	*buf = append(*buf, p...)
	c.closed = c.closed || p[0]&0xf == websocket.CloseMessage
	return len(p), nil
}

// buffer is what waits to be written. With c.mu held.
func (c *batchConn) buffer() *[]byte {
	if c.buf == nil {
		c.buf = batches.Get().(*[]byte)
	}
	return c.buf
}

// collect takes the answer to a ping, if there is one, and messages until there are
// as many bytes as go out in one system call, and says how many messages that are.
// With c.mu held. What follows a close frame goes nowhere (RFC 6455 section 5.5.1):
// the reading goroutine is at its end, and says why.
//
// The hot path of every delivery: a lookup, a head of 2 to 10 bytes and a copy,
// 10 ns for a small message. gorilla's WriteMessage does the same for 70 ns and
// an allocation.
func (c *batchConn) collect(batch []*stomp.Message) (n int) {
	pong := c.pong.Load() != nil // seldom
	if c.closed || len(batch) == 0 && !pong {
		return len(batch)
	}
	buf := *c.buffer()
	if pong {
		data := *c.pong.Swap(nil)
		buf = append(append(buf, fin|websocket.PongMessage, byte(len(data))), data...)
	}
	for n < len(batch) && len(buf) < batchSize {
		buf = appendFrame(buf, batch[n], c.deflate)
		n++
	}
	*c.buf = buf
	return n
}

// fin says that a frame is the last of its message (RFC 6455 section 5.2).
const fin = 0x80

// appendFrame appends an unmasked frame that is a whole message (RFC 6455
// section 5.2, RFC 7692 section 6).
func appendFrame(dst []byte, m *stomp.Message, deflated bool) []byte {
	const rsv1 = 0x40
	opcode, data := byte(fin|websocket.TextMessage), m.Data
	if m.Binary {
		opcode = fin | websocket.BinaryMessage
	}
	if deflated {
		opcode |= rsv1
		data = m.Form(stomp.FormDeflated, deflate).Data
	}
	switch n := len(data); {
	case n < 126:
		dst = append(dst, opcode, byte(n))
	case n <= 0xffff:
		dst = append(dst, opcode, 126, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, opcode, 127), uint64(n))
	}
	return append(dst, data...)
}

// writeMessages writes messages, together with what was collected before. It
// may block for up to the write timeout, for each batch's worth.
func (c *batchConn) writeMessages(batch []*stomp.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n := c.collect(batch)
		if err := c.flush(); err != nil {
			return err
		}
		if batch = batch[n:]; len(batch) == 0 {
			return nil
		}
	}
}

// Flush writes what was collected. It may block for up to the write timeout.
func (c *batchConn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush()
}

func (c *batchConn) flush() error {
	if c.buf == nil {
		return nil
	}
	buf := c.buf
	c.buf, c.until, c.room = nil, time.Time{}, 0 // it sets its own
	err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	for p := *buf; len(p) > 0 && err == nil; {
		n := min(len(p), batchSize)
		_, err = c.Conn.Write(p[:n])
		if p = p[n:]; len(p) > 0 && err == nil {
			err = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
		}
	}
	release(buf)
	return err
}

// stuck is how long a write may take at least for which there was room. Only a
// machine that has no memory left makes one wait, and then that session ends
// before those that its worker has to write to miss it.
const stuck = time.Second

// renew sets a deadline for a write that does not wait: once in a while and not
// for every one, which is a tenth of what that costs. With c.mu held.
func (c *batchConn) renew() error {
	now := time.Now()
	if c.until.Sub(now) >= stuck {
		return nil
	}
	c.until = now.Add(2 * stuck)
	return c.Conn.SetWriteDeadline(c.until)
}

// release gives a buffer back, unless it has grown beyond what is usual.
func release(buf *[]byte) {
	if cap(*buf) <= 2*batchSize {
		*buf = (*buf)[:0]
		batches.Put(buf)
	}
}

// SetWriteDeadline does nothing: gorilla sets one for each of its writes, and
// those do not block; Flush has its own.
func (c *batchConn) SetWriteDeadline(time.Time) error { return nil }
