//go:build unix

package websocket

import (
	"net"
	"os"
	"syscall"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// quickConn is a conn over bare TCP, whose socket can be asked to take what it
// has room for.
type quickConn struct {
	conn
	raw syscall.RawConn
	try func(fd uintptr) // one system call; made once, as it is a closure

	// of a try, with conn.out.mu held
	n     int
	errno syscall.Errno
}

var _ stomp.QuickTransport = (*quickConn)(nil)

// allocate makes a conn that waits by i, and says what it is: a
// [stomp.QuickTransport] if it can be one.
func allocate(i *idle) (*conn, stomp.Transport) {
	switch {
	case i == nil:
		c := new(conn)
		return c, c
	case i.tls != nil:
		return allocateSecure(i.raw)
	}
	q := &quickConn{raw: i.raw}
	q.try = func(fd uintptr) {
		p := *q.out.buf
		q.n, q.errno = write(fd, p[:min(len(p), batchSize)])
	}
	return &q.conn, q
}

// TryWrite implements [stomp.QuickTransport].
func (c *quickConn) TryWrite(batch []*stomp.Message) (n int, more bool, err error) {
	return c.attempt(batch, c.write)
}

// write writes what was collected, as much as the socket has room for. That does
// not wait, so there is no deadline: neither to set, which is a timer, nor to obey,
// for which [syscall.RawConn.Write] has the runtime's poller look after each time.
func (c *quickConn) write() (more bool, err error) {
	if err := c.raw.Control(c.try); err != nil {
		return false, err
	}
	buf := c.out.buf
	switch {
	case c.errno == syscall.EAGAIN:
		return true, nil
	case c.errno != 0:
		return false, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", c.errno)}
	case c.n < len(*buf):
		*buf = append((*buf)[:0], (*buf)[c.n:]...)
		return true, nil
	}
	c.out.buf = nil
	release(buf)
	return false, nil
}
