//go:build !race

package websocket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// write is send(2), which does not wait, whatever others have made of the socket:
// what a descriptor may do is said of all that lead to it. The runtime's scheduler
// is not told, as [syscall.Write] does: it takes the processor away from a call that
// is not back after 20 us, as some of these are not, and wakes another thread to
// use it. That was a tenth of what a delivery costs. In return what stops the world,
// as garbage collection does for an instant, waits until the call is back.
//
// The race detector knows only the calls of package syscall.
func write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		if errno != syscall.EINTR {
			return int(r), errno
		}
	}
}
