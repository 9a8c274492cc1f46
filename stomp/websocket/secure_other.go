//go:build unix && !linux

package websocket

import (
	"syscall"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// allocateSecure makes a conn: only Linux says what room a socket has.
func allocateSecure(syscall.RawConn) (*conn, stomp.Transport) {
	c := new(conn)
	return c, c
}
