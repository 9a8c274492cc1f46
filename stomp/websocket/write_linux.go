package websocket

import (
	"syscall"
	"unsafe"
)

// write is write(2) to a socket that does not wait. The runtime's scheduler is not
// told of it, as [syscall.Write] does for calls that may: it takes the processor
// away from one that is not back after 20 us, as some of these are not, and wakes
// another thread to use it. That was a tenth of what a delivery costs.
func write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if errno != syscall.EINTR {
			return int(r), errno
		}
	}
}
