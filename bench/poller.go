//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// poller reads from all connections of a load in one thread: that of whoever
// calls poll.
type poller struct {
	epoll, timer int
	conns        map[int32]*conn
	events       []unix.EpollEvent
	buf          []byte
	bytes        int64 // that were read
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &poller{
		epoll: epoll, timer: timer, conns: make(map[int32]*conn),
		events: make([]unix.EpollEvent, 1024), buf: make([]byte, 64<<10),
	}
	return p, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(timer)})
}

// add makes poll read from c.
func (p *poller) add(c *conn) error {
	if err := unix.SetNonblock(c.socket.fd, true); err != nil {
		return err
	}
	p.conns[int32(c.socket.fd)] = c
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, c.socket.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.socket.fd)})
}

// drop closes c, without a word.
func (p *poller) drop(c *conn) {
	if !c.gone {
		c.gone = true
		delete(p.conns, int32(c.socket.fd))
		c.socket.reset()
	}
}

func (p *poller) close() {
	for _, c := range p.conns {
		p.drop(c)
	}
	_ = unix.Close(p.timer)
	_ = unix.Close(p.epoll)
}

// poll reads what there is, once from each connection, and waits for it so long
// at most.
func (p *poller) poll(most time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(most, 1)))}
	if err := unix.TimerfdSettime(p.timer, 0, &spec, nil); err != nil {
		return err
	}
	n, err := unix.EpollWait(p.epoll, p.events, -1)
	if err != nil {
		if err == unix.EINTR {
			return nil
		}
		return err
	}
	for _, event := range p.events[:n] {
		c := p.conns[event.Fd]
		if c == nil {
			continue // the timer, or gone meanwhile
		}
		if err := p.read(c); err != nil {
			p.drop(c)
			if c.fate == nil {
				return fmt.Errorf("a connection ended: %w", err)
			}
			c.fate(c, err)
		}
	}
	return nil
}

// read reads once from c: with TLS until nothing is left in the connection's
// own buffer, of which epoll knows nothing.
func (p *poller) read(c *conn) error {
	for {
		n, err := c.stream.Read(p.buf)
		if n > 0 {
			p.bytes += int64(n)
			if err := c.received(p.buf[:n]); err != nil {
				return err
			}
		}
		if errors.As(err, new(again)) {
			return nil
		}
		if err != nil || c.stream == c.socket {
			return err
		}
	}
}
