package websocket

import (
	"net"
	"sync"
	"time"
)

const (
	readBufferSize  = 512
	writeBufferSize = 4 << 10
	// batchSize is how much goes out in one system call at most.
	batchSize = 64 << 10
)

// batches are the buffers of connections that are writing.
var batches = sync.Pool{New: func() any { b := make([]byte, 0, writeBufferSize); return &b }}

// batchConn collects what gorilla writes until flush, so that all that waits
// for a session goes out in one system call. Writes may come from the writing
// goroutine and, for what gorilla says itself when the peer breaks RFC 6455,
// from the reading one.
type batchConn struct {
	net.Conn
	timeout time.Duration

	mu  sync.Mutex
	buf *[]byte // nil while there is nothing to write
}

// Write takes p without writing it, unless there is a batch's worth.
func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		c.buf = batches.Get().(*[]byte)
	}
	*c.buf = append(*c.buf, p...)
	if len(*c.buf) >= batchSize {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
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
	c.buf = nil
	err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	for p := *buf; len(p) > 0 && err == nil; {
		n := min(len(p), batchSize)
		_, err = c.Conn.Write(p[:n])
		if p = p[n:]; len(p) > 0 && err == nil {
			err = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
		}
	}
	if cap(*buf) <= 2*batchSize {
		*buf = (*buf)[:0]
		batches.Put(buf)
	}
	return err
}

// SetWriteDeadline does nothing: gorilla sets one for each of its writes, and
// those do not block; Flush has its own.
func (c *batchConn) SetWriteDeadline(time.Time) error { return nil }
