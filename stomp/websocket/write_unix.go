//go:build unix && (!linux || race)

package websocket

import (
	"errors"
	"syscall"
)

// write is write(2) to a socket that does not wait.
func write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	for {
		n, err := syscall.Write(int(fd), p)
		if errno, _ := errors.AsType[syscall.Errno](err); errno != syscall.EINTR {
			return n, errno
		}
	}
}
