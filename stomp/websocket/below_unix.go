//go:build unix

package websocket

import (
	"net"
	"os"
	"syscall"
)

// BelowTLS returns a TCP connection to put TLS above whose sessions write to the
// socket as they do without TLS: on Linux unknown to the runtime's scheduler. Until
// [Accept] takes it over, and if it never does, it is c. Not ok is what is no TCP
// connection, or is wrapped: it is returned as it is.
func BelowTLS(c net.Conn) (_ net.Conn, ok bool) {
	switch c := c.(type) {
	case *net.TCPConn:
		return &socket{TCPConn: c}, true
	case *socket:
		return c, true
	}
	return c, false
}

// socket is a TCP connection below TLS.
type socket struct {
	*net.TCPConn
	direct *direct // nil: not taken over
}

// direct writes to a socket.
type direct struct {
	raw syscall.RawConn
	try func(fd uintptr) // one system call; made once, as it is a closure

	// of a write
	p     []byte
	n     int
	errno syscall.Errno
}

// takeOver has writes go to the socket directly. From then on TLS is the only one
// that writes, as hijacking has ended all that the HTTP server does, and writes one
// thing at a time.
func (s *socket) takeOver(raw syscall.RawConn) {
	d := &direct{raw: raw}
	d.try = func(fd uintptr) { d.n, d.errno = write(fd, d.p) }
	s.direct = d
}

// Write implements [net.Conn].
func (s *socket) Write(p []byte) (n int, err error) {
	if d := s.direct; d != nil {
		d.p = p
		err = d.raw.Control(d.try)
		d.p = nil
		switch {
		case err != nil || d.errno == syscall.EAGAIN:
		case d.errno != 0: // which the socket says once
			return 0, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", d.errno)}
		case d.n == len(p):
			return d.n, nil
		default:
			n = d.n
		}
	}
	m, err := s.TCPConn.Write(p[n:]) // which waits for room, or says that it is closed
	return n + m, err
}

// NetConn is the connection itself.
func (s *socket) NetConn() net.Conn { return s.TCPConn }
