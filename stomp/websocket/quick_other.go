//go:build !unix

package websocket

import "github.com/caddy-stomp/caddy-stomp/stomp"

// allocate makes a conn: writes that do not wait are a matter of the system's
// sockets.
func allocate(*idle) (*conn, stomp.Transport) {
	c := new(conn)
	return c, c
}
