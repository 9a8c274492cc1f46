//go:build !linux

package websocket

import (
	"net"
	"time"
)

// setTCPOptions: there is no portable TCP_USER_TIMEOUT; pings and heart-beats
// do the work.
func setTCPOptions(*net.TCPConn, time.Duration) {}
