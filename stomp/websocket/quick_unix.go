//go:build unix

package websocket

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// quickConn is a conn over bare TCP, whose socket can be asked to take what it
// has room for.
type quickConn struct {
	*conn
	raw syscall.RawConn
	try func(fd uintptr) bool // one write(2); made once, as it is a closure

	// of a try, with conn.out.mu held
	p   []byte
	n   int
	err error
}

var _ stomp.QuickTransport = (*quickConn)(nil)

// quick is c, as a [stomp.QuickTransport] if it can be one.
func quick(c *conn) stomp.Transport {
	switch {
	case c.idle == nil:
		return c
	case c.idle.tls != nil:
		return quickSecure(c, c.idle.raw)
	}
	q := &quickConn{conn: c, raw: c.idle.raw}
	q.try = func(fd uintptr) bool {
		for q.n, q.err = syscall.Write(int(fd), q.p); errors.Is(q.err, syscall.EINTR); {
			q.n, q.err = syscall.Write(int(fd), q.p)
		}
		return true // whether or not it was taken: nobody waits
	}
	return q
}

// TryWrite implements [stomp.QuickTransport]. There is no deadline to set, which
// is a timer, as there is nothing that waits.
func (c *quickConn) TryWrite(batch []*stomp.Message) (n int, more bool, err error) {
	return c.attempt(batch, c.write)
}

// write writes what was collected, as much as the socket has room for.
func (c *quickConn) write() (more bool, err error) {
	buf := c.out.buf
	c.p = (*buf)[:min(len(*buf), batchSize)]
	if err := c.raw.Write(c.try); err != nil {
		return false, err
	}
	c.p = nil
	switch {
	case errors.Is(c.err, syscall.EAGAIN):
		return true, nil
	case c.err != nil:
		return false, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", c.err)}
	case c.n < len(*buf):
		*buf = append((*buf)[:0], (*buf)[c.n:]...)
		return true, nil
	}
	c.out.buf = nil
	release(buf)
	return false, nil
}

// Write implements [stomp.Transport]. The deadline that it leaves would be that
// of what is tried later.
func (c *quickConn) Write(batch []*stomp.Message) error {
	err := c.conn.Write(batch)
	if err == nil {
		err = c.out.Conn.SetWriteDeadline(time.Time{})
	}
	return err
}

// Ping implements [stomp.Transport], like Write.
func (c *quickConn) Ping() error {
	err := c.conn.Ping()
	if err == nil {
		err = c.out.Conn.SetWriteDeadline(time.Time{})
	}
	return err
}
