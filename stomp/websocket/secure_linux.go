package websocket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// secureConn is a conn over TLS. What TLS has encrypted cannot be taken back, so
// that it has to be known before whether the socket takes it without waiting for
// the peer: the kernel says what room there is.
type secureConn struct {
	conn
	raw     syscall.RawConn
	ask     func(fd uintptr) // made once, as it is a closure
	segment int              // what the last piece of a write counts as
	asked   uint32           // idle.waits then
}

var _ stomp.QuickTransport = (*secureConn)(nil)

// allocateSecure makes a conn that is a [stomp.QuickTransport].
func allocateSecure(raw syscall.RawConn) (*conn, stomp.Transport) {
	s := &secureConn{raw: raw}
	s.ask = func(fd uintptr) { s.out.room, s.segment = roomOf(fd) }
	return &s.conn, s
}

// TryWrite implements [stomp.QuickTransport].
func (c *secureConn) TryWrite(batch []*stomp.Message) (n int, more bool, err error) {
	return c.attempt(batch, c.write)
}

// write writes all that was collected, or nothing.
func (c *secureConn) write() (more bool, err error) {
	out := c.out
	if fits, err := c.fits(len(*out.buf)); err != nil || !fits {
		return err == nil, err
	}
	if err := out.renew(); err != nil {
		return false, err
	}
	buf := out.buf
	out.buf = nil
	_, err = out.Conn.Write(*buf)
	release(buf)
	return false, err
}

// fits says whether the socket takes n bytes without waiting. Asking the kernel is
// a fifth of what a small write costs, so that what it has said is used up first:
// while the reading goroutine waits nobody else writes. With c.out.mu held.
func (c *secureConn) fits(n int) (bool, error) {
	const header = 22 // of a TLS record, which has 16 KiB or, of a young connection, 1 KiB
	out, waits := c.out, c.idle.waits.Load()
	if waits%2 == 0 || waits != c.asked || out.room < n {
		if err := c.raw.Control(c.ask); err != nil {
			return false, err
		}
		c.asked = waits
	}
	if n > out.room {
		return false, nil
	}
	n += (n>>10 + 1) * header
	out.room -= (n/c.segment + 1) * c.segment
	return true, nil
}

// roomOf is how many bytes of ours the socket takes without waiting, however they
// are cut. The buffer's size is counted with the kernel's own costs, those of a
// piece for each segment, of which a peer with a small window makes small ones;
// notSent is not. And it is so little that a write of the reading goroutine, the
// answer to a KeyUpdate, with which TLS keeps others waiting, does not wait for the
// peer either: that is woken when a third of the buffer is free and half of notSent
// is sent, of which no more than what is queued is not.
func roomOf(fd uintptr) (room, segment int) {
	const sndbuf, queued, vars = 3, 5, 9 // SK_MEMINFO_SNDBUF, SK_MEMINFO_WMEM_QUEUED: see sock_diag(7)
	const records = 4 << 10              // at least; what TLS adds, and the kernel for the first packet
	const piece = 1400                   // at least; a segment's costs, of which options take 40 bytes at most
	var info [vars]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || uintptr(size) < unsafe.Sizeof(info) {
		return 0, 0
	}
	segment, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	if err != nil || segment <= 40 {
		return 0, 0
	}
	segment = min(segment-40, piece)
	taken := int(info[queued]) + records
	free := max(0, int(info[sndbuf])/3*2-taken)
	return max(0, min(free/(segment+piece)*segment, notSent/2-taken)), segment
}
