//go:build unix

package websocket

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// idle waits for something to read where that holds least memory: not inside of
// gorilla's reader but on a stack that is hardly used, so that the 2 KiB that a
// goroutine begins with are enough, and without a buffer, which is there only
// while there is something in it. The stack that handling a frame takes, 8 KiB,
// goes with the goroutine that did; heart-beats need no more than there is, and
// none starts for them: that costs 8 us when processors have nothing else to do.
// An idle session took 14 KiB before and takes 8.
type idle struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // one read(2); made once, as it is a closure
	tls net.Conn              // what is read instead; nil: the socket

	waits atomic.Uint32 // odd while it waits, and has TLS write nothing
}

// newIdle returns nil if c is not known well enough to wait for it below.
func newIdle(c *lateConn) *idle {
	i := new(idle)
	below := c.Conn
	if secure, ok := below.(*tls.Conn); ok {
		i.tls, below = secure, secure.NetConn()
	}
	s, wrapped := below.(*socket)
	if wrapped {
		below = s.TCPConn
	}
	tcp, ok := below.(*net.TCPConn)
	if !ok {
		return nil
	}
	var err error
	if i.raw, err = tcp.SyscallConn(); err != nil {
		return nil
	}
	if i.tls == nil {
		c.Conn, i.try = tcp, c.tryRead
		return i
	}
	if wrapped {
		s.takeOver(i.raw)
	}
	i.try = peek
	return i
}

// tryRead reads what there is into a buffer that lives until that is used. It has
// its caller wait for something, unless only a look was asked for.
func (c *lateConn) tryRead(fd uintptr) bool {
	buf := reads.Get().(*[]byte)
	n, errno := read(fd, *buf, false)
	if n > 0 {
		c.lead, c.held = (*buf)[:n], buf
		return true
	}
	reads.Put(buf)
	return c.look || errno != syscall.EAGAIN // who reads next finds out
}

// peek says whether there is something to read.
func peek(fd uintptr) bool {
	var b [1]byte
	_, errno := read(fd, b[:], true)
	return errno != syscall.EAGAIN // who reads next finds out
}

// wait returns when there is something to read, or nothing will come.
func (c *conn) wait() {
	c.idle.waits.Add(1)
	_ = c.idle.raw.Read(c.idle.try) // its error comes again
	c.idle.waits.Add(1)
	c.renew()
}

// renew has TLS write what it has to answer: the deadline of the last write may
// have passed. Whoever is writing has set another.
func (c *conn) renew() {
	if c.idle.tls != nil && c.out.mu.TryLock() {
		_ = c.out.renew()
		c.out.mu.Unlock()
	}
}

// readAhead takes what there is to read, if nothing is left of what was taken
// before: what TLS has read and not given yet, of which the socket knows nothing;
// and what is in the socket in the middle of a message, for which gorilla would ask
// in pieces. Between messages wait does that.
func (c *conn) readAhead() {
	switch in := c.in; {
	case len(in.lead) > 0 || in.err != nil:
	case c.idle.tls != nil:
		c.renew()
		c.readSecure()
	case in.br.Buffered() > 0:
		in.look = true
		_ = c.idle.raw.Read(c.idle.try) // its error comes again
		in.look = false
	}
}

func (c *conn) readSecure() {
	secure := c.idle.tls
	buf := reads.Get().(*[]byte)
	_ = secure.SetReadDeadline(time.Unix(1, 0))
	n, err := secure.Read(*buf)
	_ = secure.SetReadDeadline(time.Time{})
	if due := c.due.Load(); due != 0 { // Close has set one, which may be gone
		_ = secure.SetReadDeadline(time.Unix(0, due))
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.in.err = err // the socket need not say that nothing will come
	}
	if n == 0 {
		reads.Put(buf)
		return
	}
	c.in.lead, c.in.held = (*buf)[:n], buf
}
