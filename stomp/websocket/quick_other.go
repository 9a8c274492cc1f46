//go:build !unix

package websocket

import "github.com/caddy-stomp/caddy-stomp/stomp"

// quick: writes that do not wait are a matter of the system's sockets.
func quick(c *conn) stomp.Transport { return c }
