//go:build unix

package websocket

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// below is a connection that TLS would be put above, and its peer.
func below(t *testing.T) (*socket, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := BelowTLS(accepted)
	if !ok {
		t.Fatalf("%T is not taken", accepted)
	}
	t.Cleanup(func() { _, _ = c.Close(), dialed.Close() })
	return c.(*socket), dialed.(*net.TCPConn)
}

func (s *socket) taken(t *testing.T) *socket {
	t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	s.takeOver(raw)
	return s
}

// What is written directly comes as a whole and in order, with room for it or not.
func TestWriteBelowTLS(t *testing.T) {
	s, peer := below(t)
	s.taken(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than the socket takes
	written := make(chan error, 1)
	go func() {
		defer s.CloseWrite()
		for p := want; len(p) > 0; p = p[min(len(p), 1_000_003):] {
			q := p[:min(len(p), 1_000_003)]
			if n, err := s.Write(q); n != len(q) || err != nil {
				written <- fmt.Errorf("%d of %d bytes were written: %w", n, len(q), err)
				return
			}
		}
		written <- nil
	}()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, as they were: %v; %v", len(got), len(want), bytes.HasPrefix(want, got), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// What there is room for is written whatever the deadline, as nothing waits. A
// socket that is full is waited for until then; one that is closed says so; and how
// much was written is said in any case.
func TestWriteBelowTLSFails(t *testing.T) {
	s, peer := below(t)
	s.taken(t)
	if err := s.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := s.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := s.Write(make([]byte, 64<<20))
	if n == 0 || n == 64<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	for m := n; m > 0; n += m { // until there is no room at all
		if err := s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if m, err = s.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d, %v", m, err)
		}
	}
	_ = s.CloseWrite()
	if got, err := io.Copy(io.Discard, peer); got != int64(n)+1 || err != nil {
		t.Errorf("%d bytes came, %d were written: %v", got, n, err)
	}
	_ = s.Close()
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d, %v", n, err)
	}
}

// What the socket has to say of its end it says once, and that is passed on: a
// connection that timed out is another end of a session than one that was reset.
func TestWriteBelowTLSSaysWhy(t *testing.T) {
	s, peer := below(t)
	s.taken(t)
	if err := peer.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
	if err := s.direct.raw.Control(func(fd uintptr) {
		for { // it is there, and nobody was told
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 30_000); err != syscall.EINTR {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d, %v", n, err)
	}
}

// A descriptor is used again by whoever opens something next, who gets nothing of
// what is written after.
func TestWriteBelowTLSAfterClose(t *testing.T) {
	s, _ := below(t)
	s.taken(t)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	var others []net.Conn
	for range 4 {
		a, b := below(t)
		others = append(others, a, b)
	}
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d, %v", n, err)
	}
	for _, c := range others {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("another one got %d bytes, %v", n, err)
		}
	}
}

// Until it is taken over it is what it was: its deadlines are obeyed, and what the
// HTTP server looks for in a TCP connection is there.
func TestBelowTLSIsWhatItWas(t *testing.T) {
	s, _ := below(t)
	if err := s.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	if _, ok := net.Conn(s).(io.ReaderFrom); !ok {
		t.Error("files are not sent by the kernel")
	}
	if tcpConn(s) != s.TCPConn {
		t.Error("its options cannot be set")
	}
	for _, c := range []net.Conn{s, tls.Server(s, nil), countingConn{Conn: s}} {
		if same, ok := BelowTLS(c); ok != (c == s) || same != c {
			t.Errorf("%T: %v, %T", c, ok, same)
		}
	}
}
