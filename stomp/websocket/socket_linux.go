package websocket

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// notSent is how much the kernel takes from us beyond what it has sent: what
// waits for a slow reader waits where it is counted, in the session's queue,
// not in megabytes of socket buffer.
const notSent = 128 << 10

func setTCPOptions(c *net.TCPConn, silence time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
	})
}
