//go:build unix && (!linux || race)

package websocket

import (
	"errors"
	"syscall"
)

// write is write(2) to a socket that does not wait.
func write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	return call(func() (int, error) { return syscall.Write(int(fd), p) })
}

// read is read(2) from a socket that does not wait, of what stays there if peek is
// true.
func read(fd uintptr, p []byte, peek bool) (n int, errno syscall.Errno) {
	return call(func() (int, error) {
		if peek {
			n, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK)
			return n, err
		}
		return syscall.Read(int(fd), p)
	})
}

func call(try func() (int, error)) (n int, errno syscall.Errno) {
	for {
		n, err := try()
		if errno, _ := errors.AsType[syscall.Errno](err); errno != syscall.EINTR {
			return n, errno
		}
	}
}
