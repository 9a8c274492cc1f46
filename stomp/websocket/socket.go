package websocket

import (
	"net"
	"time"
)

// setSocketOptions lets the kernel notice a peer that vanished: keep-alive
// while nothing is under way, and, where the system has it, a limit on how
// long sent data may stay unacknowledged, during which keep-alive is silent.
// What is not TCP, or not known to be, is left as it is.
func setSocketOptions(c net.Conn, silence time.Duration) {
	tcp := tcpConn(c)
	if tcp == nil {
		return
	}
	const probes = 3
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: silence / 2, Interval: max(time.Second, silence/2/probes), Count: probes,
	})
	setTCPOptions(tcp, silence)
}

// tcpConn finds the TCP connection below TLS and below wrapped listeners.
func tcpConn(c net.Conn) *net.TCPConn {
	for {
		switch v := c.(type) {
		case *net.TCPConn:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		case interface{ Unwrap() net.Conn }:
			c = v.Unwrap()
		default:
			return nil
		}
	}
}
