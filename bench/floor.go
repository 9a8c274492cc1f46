//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// floor is a server that does nothing but write: what no server can go below.
type floor struct {
	*process
	addr string
	in   io.Writer
	out  *bufio.Reader
}

// startFloor runs this program as a floor.
func startFloor() (*floor, error) {
	p, in, out, err := own("floor")
	if err != nil {
		return nil, err
	}
	f := &floor{process: p, in: in, out: bufio.NewReader(out)}
	if f.addr, err = f.out.ReadString('\n'); err != nil {
		p.stop()
		return nil, fmt.Errorf("the floor did not start: %w", err)
	}
	f.addr = strings.TrimSpace(f.addr)
	return f, nil
}

// connect returns so many more connections that the floor has, too, in the same
// order: one is made after the other.
func (f *floor) connect(connections int) ([]*conn, error) {
	if _, err := fmt.Fprintln(f.in, "accept", connections); err != nil {
		return nil, err
	}
	conns := make([]*conn, connections)
	for i := range conns {
		var err error
		if conns[i], err = (target{addr: f.addr, kind: silent}).dial(); err != nil {
			return nil, fmt.Errorf("connection %d of the floor: %w", i, err)
		}
	}
	_, err := f.out.ReadString('\n')
	return conns, err
}

// floorMain accepts connections and obeys the lines of the standard input: each
// is the sizes of WebSocket messages that all connections get, with a write(2)
// for each size and connection. Lines of one size that are there at once are
// written together, up to 64 KiB in one write(2), as by a server that looks at
// all that it has for a socket. After "to 1000" only the first 1000 connections
// get what follows.
func floorMain() error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(listener, 4096); err != nil {
		return err
	}
	name, err := unix.Getsockname(listener)
	if err != nil {
		return err
	}
	fmt.Println(net.JoinHostPort("127.0.0.1", fmt.Sprint(name.(*unix.SockaddrInet4).Port)))

	f := floorServer{listener: listener}
	buf := make([]byte, 1<<20)
	var orders []byte
	for {
		n, err := os.Stdin.Read(buf)
		if err != nil {
			return nil // whoever started the floor has ended
		}
		orders = append(orders, buf[:n]...)
		end := bytes.LastIndexByte(orders, '\n') + 1
		if err := f.obey(string(orders[:end])); err != nil {
			return err
		}
		orders = append(orders[:0], orders[end:]...)
	}
}

type floorServer struct {
	listener int
	conns    []int
	to       int // how many of them are written to; 0: all
}

func (f *floorServer) obey(orders string) error {
	var together []byte
	for order := range strings.Lines(orders) {
		if order == "echo\n" {
			return f.echo()
		}
		var connections int
		if _, err := fmt.Sscanf(order, "accept %d", &connections); err == nil {
			if err := f.accept(connections); err != nil {
				return err
			}
			continue
		}
		var to int
		if _, err := fmt.Sscanf(order, "to %d", &to); err == nil {
			if err := f.write(together); err != nil {
				return err
			}
			if to > len(f.conns) {
				return fmt.Errorf("%q: there are %d connections", order, len(f.conns))
			}
			together, f.to = together[:0], to
			continue
		}
		sizes := strings.Fields(order)
		for _, text := range sizes {
			var size int
			if _, err := fmt.Sscan(text, &size); err != nil {
				return fmt.Errorf("order %q: %w", order, err)
			}
			if len(together)+size > 64<<10 || len(sizes) > 1 {
				if err := f.write(together); err != nil {
					return err
				}
				together = together[:0]
			}
			together = appendServed(together, size)
		}
	}
	return f.write(together)
}

func (f *floorServer) accept(connections int) error {
	for range connections {
		fd, _, err := unix.Accept4(f.listener, unix.SOCK_CLOEXEC)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
		f.conns = append(f.conns, fd)
	}
	fmt.Println(len(f.conns))
	return nil
}

// echo answers whatever comes with a heart-beat, and does nothing else any more.
func (f *floorServer) echo() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	for _, fd := range f.conns {
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	beat, buf := appendServed(nil, served(1)), make([]byte, 512)
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			s := socket{int(event.Fd)}
			if _, err := s.Read(buf); err != nil {
				return nil //nolint:nilerr // it is over
			}
			if _, err := s.Write(beat); err != nil {
				return nil //nolint:nilerr // it is over
			}
		}
	}
}

// write writes p to the connections, from as many threads as there are
// processors, as any server would.
func (f *floorServer) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	conns := f.conns
	if f.to > 0 {
		conns = conns[:f.to]
	}
	writers := runtime.GOMAXPROCS(0)
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := w; i < len(conns); i += writers {
				if _, err := (&socket{conns[i]}).Write(p); err != nil {
					errs <- fmt.Errorf("writing: %w", err)
					return
				}
			}
			errs <- nil
		}()
	}
	var err error
	for range writers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// served is how large a message of a server with such a payload is on the wire.
func served(payload int) int {
	switch {
	case payload < 126:
		return 2 + payload
	case payload < 1<<16:
		return 4 + payload
	default:
		return 10 + payload
	}
}

// appendServed appends a text message of a server that is so large on the wire.
// (No message is 128, 129 or 65,540 to 65,545 bytes large.)
func appendServed(p []byte, size int) []byte {
	const final = 0x80 | opText
	begin := len(p)
	switch {
	case size < served(126):
		p = append(p, final, byte(size-2))
	case size < served(1<<16):
		p = binary.BigEndian.AppendUint16(append(p, final, 126), uint16(size-4))
	default:
		p = binary.BigEndian.AppendUint64(append(p, final, 127), uint64(size-10))
	}
	for len(p)-begin < size {
		p = append(p, 'x')
	}
	return p
}
