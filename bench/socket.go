//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a TCP connection that the runtime's poller does not know, so that
// thousands of them cost one epoll_wait and a read each, and no goroutine. It
// blocks until it is given to a [poller].
type socket struct{ fd int }

// again is what Read returns when there is nothing to read. It is temporary, so
// that crypto/tls goes on where it was.
type again struct{}

func (again) Error() string   { return "nothing to read" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// dialSocket connects. Window is how much may come that nobody reads, in bytes;
// 0 leaves that to the kernel.
func dialSocket(addr string, window int) (*socket, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a socket: %w", err)
	}
	s := &socket{fd}
	if window > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, window); err != nil {
			return nil, err
		}
	}
	if err := connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return s, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

// connect waits for the answer if a signal interrupts it.
func connect(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if err != unix.EINTR {
		return err
	}
	if err := wait(fd, unix.POLLOUT); err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

func wait(fd int, events int16) error {
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, -1); err != unix.EINTR {
			return err
		}
	}
}

// Read implements [io.Reader].
func (s *socket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, again{}
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write writes all of p.
func (s *socket) Write(p []byte) (int, error) {
	for written := 0; ; {
		n, err := unix.Write(s.fd, p[written:])
		written += max(n, 0)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := wait(s.fd, unix.POLLOUT); err != nil {
				return written, err
			}
		case err != nil || written == len(p):
			return written, err
		}
	}
}

// Close implements [net.Conn].
func (s *socket) Close() error { return unix.Close(s.fd) }

// reset closes without a TIME_WAIT, so that the port is free for the next.
func (s *socket) reset() {
	_ = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = s.Close()
}

// The rest of [net.Conn], which crypto/tls wants but does not need here.

func (*socket) LocalAddr() net.Addr              { return nil }
func (*socket) RemoteAddr() net.Addr             { return nil }
func (*socket) SetDeadline(time.Time) error      { return nil }
func (*socket) SetReadDeadline(time.Time) error  { return nil }
func (*socket) SetWriteDeadline(time.Time) error { return nil }
