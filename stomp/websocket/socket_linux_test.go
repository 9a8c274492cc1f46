package websocket

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel gives up on a peer as soon as the session does, from the moment that
// they have agreed on when that is.
func TestSocketOptions(t *testing.T) {
	q, c := openedQuick(t, Config{})
	option := func(level, name int) (value int) {
		t.Helper()
		if err := q.raw.Control(func(fd uintptr) {
			var err error
			if value, err = unix.GetsockoptInt(int(fd), level, name); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return value
	}
	c.Connect("heart-beat:15000,0")
	c.Sync()
	for _, o := range []struct {
		name                string
		level, option, want int
	}{
		{"TCP_USER_TIMEOUT in ms", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30_850},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE in s", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 16},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_KEEPINTVL in s", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 6},
	} {
		if got := option(o.level, o.option); got != o.want {
			t.Errorf("%s is %d, not %d", o.name, got, o.want)
		}
	}
}
