//go:build !race

package websocket

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// A socket that somebody has made one that waits, as [os.File.Fd] of a copy of it
// may, is not waited for: the whole process would.
func TestBlockingSocket(t *testing.T) {
	transports := make(chan stomp.Transport, 1)
	s := newBareServer(t, Config{})
	s.open = func(tr stomp.Transport) { transports <- tr }
	conn, err := peer{buffer: 64 << 10}.dialer().Dial("tcp", strings.TrimPrefix(s.URL, "http://")) // which nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	q := (<-transports).(*quickConn)
	if err := q.raw.Control(func(fd uintptr) { err = unix.SetNonblock(int(fd), false) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		fillSocket(t, q)
		for range 200 { // until it is full for good, whatever a signal interrupts
			if _, _, err := q.TryWrite(messages(10, 5000)); err != nil {
				t.Error(err)
			}
		}
	}()
	select {
	case <-filled:
	case <-time.After(10 * time.Second):
		t.Error("a write waits for the peer")
	}
	_ = q.raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), true) })
}
