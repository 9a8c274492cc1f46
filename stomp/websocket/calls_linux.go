//go:build !race

package websocket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls that do not wait, whatever others have made of the socket: what a descriptor
// may do is said of all that lead to it. The runtime's scheduler is not told, as
// package syscall does: it takes the processor away from a call that is not back
// after 20 us, as some of these are not, and wakes another thread to use it; and who
// tells it wakes the thread that looks after that. That was a tenth of what a
// delivery costs, and as much of a heart-beat. In return what stops the world, as
// garbage collection does for an instant, waits until the call is back.
//
// The race detector knows only the calls of package syscall.

// write is send(2).
func write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	return call(unix.SYS_SENDTO, fd, p, unix.MSG_NOSIGNAL)
}

// read is recv(2), of what stays there if peek is true.
func read(fd uintptr, p []byte, peek bool) (n int, errno syscall.Errno) {
	if peek {
		return call(unix.SYS_RECVFROM, fd, p, unix.MSG_PEEK)
	}
	return call(unix.SYS_RECVFROM, fd, p, 0)
}

func call(trap, fd uintptr, p []byte, flags uintptr) (n int, errno syscall.Errno) {
	for {
		r, _, errno := unix.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags|unix.MSG_DONTWAIT, 0, 0)
		if errno != syscall.EINTR {
			return int(r), errno
		}
	}
}
