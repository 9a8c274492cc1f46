package websocket

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// A session under TLS takes over what is below, one without TLS has the socket
// itself: both write past the scheduler.
func TestSessionsTakeOver(t *testing.T) {
	transports := make(chan stomp.Transport, 1)
	open := func(tr stomp.Transport) { transports <- tr }
	t.Run("TLS", func(t *testing.T) {
		s := secureServers["TLS on a socket"](t)
		s.open = open
		dialSecure(t, s)
		tr := <-transports
		if below := tr.(*secureConn).out.Conn.(*tls.Conn).NetConn().(*socket); below.direct == nil {
			t.Error("it is not taken over")
		}
	})
	t.Run("plain", func(t *testing.T) {
		s := listen(t, Config{}, nil, func(s *server) { s.Listener = socketListener{s.Listener} })
		s.open = open
		s.dial(t)
		tr := <-transports
		if _, ok := tr.(*quickConn).out.Conn.(*net.TCPConn); !ok {
			t.Errorf("it writes to %T", tr.(*quickConn).out.Conn)
		}
	})
}
