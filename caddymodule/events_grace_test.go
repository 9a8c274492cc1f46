package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Who comes back in time is not left because a handler of stomp_connecting thinks
// for longer than there was time: when it says yes he has his session, and when
// it says no the session is left, once.
func TestGraceWaitsForConnectingHandlers(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refuse %t", refuse), func(t *testing.T) {
			resetEvents(t)
			s := run(t, strings.NewReplacer(
				"on stomp_connected stomptest_record", "on stomp_unreachable stomptest_record\n\t\ton stomp_returned stomptest_record\n\t\ton stomp_disconnected stomptest_record",
				"name chat", "name chat\n\t\tpresence {\n\t\t\tgrace 1s\n\t\t}",
			).Replace(guarded))
			for try := 0; !comesBackSlowly(t, s, refuse); try++ {
				if try == 30 {
					t.Fatal("this machine never had a handler run within the grace")
				}
			}
		})
	}
}

// comesBackSlowly is one try: it says nothing if the machine was too slow for a
// client to come back in time, or for a handler to have time left.
func comesBackSlowly(t *testing.T, s *server, refuse bool) (tried bool) {
	t.Helper()
	stones = make(chan struct{})
	header := http.Header{"X-User": {"mina"}}
	c := dialWith(t, s.ws("/ws"), header, "client-data:1")
	registry := live(t, "chat").registry
	c.ws.NetConn().Close()
	var until time.Time
	eventually(t, "the loss", func() bool {
		lost := registry.Session(c.session)
		if lost != nil && lost.Lost != nil {
			until = lost.Lost.Until
		}
		return lost == nil || lost.Lost != nil
	})
	began := time.Now()
	back := dialUnconnected(t, s.ws("/ws"), header)
	back.send("CONNECT", "", "accept-version:1.2", "host:x", "heart-beat:0,0", "resume-token:"+c.connected.header["resume-token"],
		fmt.Sprintf(`client-data:{"wait":true,"refuse":%t}`, refuse))
	eventually(t, "a handler", func() bool { return guardsAsleep.Load() == 1 })
	inTime := time.Now().Before(until)
	eventually(t, "the end of the grace", func() bool { return time.Now().After(until.Add(100 * time.Millisecond)) })
	kept := registry.Get(c.session) != nil
	close(stones)
	answer := back.next()
	eventually(t, "no handler", func() bool { return guardsAsleep.Load() == 0 })
	if !inTime || time.Since(began) >= admissionTimeout {
		back.ws.Close()
		return false
	}
	if !kept {
		t.Error("it was left while the handler was thinking")
	}
	want := []string{"stomp_unreachable", "stomp_returned"}
	if refuse {
		want[1] = "stomp_disconnected"
	} else if answer.command != "CONNECTED" || answer.header["session"] != c.session {
		t.Errorf("the answer is %v, want CONNECTED as %s", answer, c.session)
	}
	if refuse && (answer.command != "ERROR" || answer.header["message"] != "CONNECT: refused") {
		t.Errorf("the answer is %v", answer)
	}
	wantEvents(t, c.session, want...)
	return true
}
