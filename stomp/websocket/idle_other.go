//go:build !unix

package websocket

// idle: waiting without a buffer is a matter of the system's sockets.
type idle struct{}

func newIdle(*lateConn) *idle { return nil }

func (c *conn) wait() {}

func (c *conn) readAhead() {}
