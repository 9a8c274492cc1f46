//go:build !race

package websocket

import (
	"testing"
	"time"
)

// A socket that somebody has made one that waits, as [os.File.Fd] of a copy of it
// does, is not waited for: the whole process would.
func TestBlockingSocket(t *testing.T) {
	q, _ := openedQuick(t, Config{})
	f, err := tcpConn(q.out.Conn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Fd()
	defer time.AfterFunc(30*time.Second, q.Abort).Stop()
	fillSocket(t, q)
}
