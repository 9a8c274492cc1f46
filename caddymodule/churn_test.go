package caddymodule

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
)

// Clients come and go while configurations do. Nobody is lost: every session
// that was connected has its two events, and nothing is left.
func TestChurnDuringReloads(t *testing.T) {
	resetEvents(t)
	config := func(i int) string {
		more := ""
		if i%2 == 0 {
			more = "stomp /sometimes {\n\t\tname sometimes\n\t\tbroker shared\n\t}"
		}
		return `{
	$GLOBAL
	events {
		on stomp_connected stomptest_record
		on stomp_disconnected stomptest_record
	}
	stomp {
		broker shared
	}
}

http://localhost:$PORT {
	stomp /always {
		name always
		broker shared
		limits {
			subscriptions ` + strconv.Itoa(10+i) + `
		}
	}
	` + more + `
}
`
	}
	s := run(t, config(0))
	broker := live(t, "shared").broker
	var done atomic.Bool
	var connected atomic.Int64
	var all sync.WaitGroup
	for i := range 4 {
		path := []string{"/always", "/sometimes"}[i%2]
		all.Go(func() {
			for !done.Load() {
				if comeAndGo(s.ws(path)) {
					connected.Add(1)
				}
			}
		})
	}
	for i := range int64(20) {
		s.load(config(int(i + 1)))
		eventually(t, "clients to come", func() bool { return connected.Load() > 4*i })
	}
	done.Store(true)
	all.Wait()
	eventually(t, "all connections to be gone", func() bool { return broker.Connections() == 0 })
	stats := broker.Stats()
	var ends uint64
	for _, n := range stats.Ends {
		ends += n
	}
	if stats.Connects != ends || stats.Connects < uint64(connected.Load()) || stats.Subscriptions != 0 {
		t.Errorf("%d connects, %d ends, %d subscriptions left; clients saw %d CONNECTED", stats.Connects, ends, stats.Subscriptions, connected.Load())
	}
	defer func() {
		c, d := len(recordedEvents(eventConnected)), len(recordedEvents(eventDisconnected))
		if c != int(stats.Connects) || d != int(ends) {
			t.Errorf("%d events of %d connects, %d events of %d ends", c, stats.Connects, d, ends)
		}
	}()
	eventually(t, "an event for each end", func() bool { return len(recordedEvents(eventDisconnected)) >= int(ends) })
	wantReferences(t, map[string]int{"shared": 1})
}

// comeAndGo connects, subscribes and disconnects; any of it may fail.
func comeAndGo(url string) (connected bool) {
	ws, _, err := upgrade(&dialer, url, nil)
	if err != nil {
		return false
	}
	defer ws.Close()
	for _, f := range []string{connectFrame, subscribeFrame} {
		if ws.WriteMessage(websocket.TextMessage, []byte(f)) != nil {
			return connected
		}
		_, p, err := ws.ReadMessage()
		if err != nil {
			return connected
		}
		connected = connected || strings.HasPrefix(string(p), "CONNECTED")
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("DISCONNECT\n\n\x00"))
	for err == nil {
		_, _, err = ws.ReadMessage()
	}
	return connected
}
