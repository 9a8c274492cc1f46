package stomp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// Beyond each limit there is an ERROR that names it as the operator does, with
// its value, and a close with the code that belongs to it. docs/stomp.md has
// the table.
func TestLimitsAreNamed(t *testing.T) {
	send := func(n int) string { return "SEND\ndestination:/topic/a\n\n" + body(n) + "\x00" }
	for _, tt := range []struct {
		limit  string
		limits stomp.Limits
		raw    string
		code   int
	}{
		{"command_line 32", stomp.Limits{}, strings.Repeat("A", 33), 1008},
		{"header_line 100", stomp.Limits{Frame: frame.Limits{HeaderLine: 100}}, "SEND\ndestination:/topic/a\nx:" + body(99) + "\n\nx\x00", 1008},
		{"headers 3", stomp.Limits{Frame: frame.Limits{Headers: 3}}, "SEND\ndestination:/topic/a\na:1\nb:2\nc:3\n\nx\x00", 1008},
		{"frame_size 1000", stomp.Limits{Frame: frame.Limits{Frame: 1000}}, send(1000), 1009},
		{"frame_size 1000", stomp.Limits{Frame: frame.Limits{Frame: 1000}}, "SEND\ndestination:/topic/a\ncontent-length:1000\n\n", 1009},
		{"destination 10", stomp.Limits{Destination: 10}, "SEND\ndestination:/topic/abcd\n\nx\x00", 1008},
		{"subscriptions 1", stomp.Limits{Subscriptions: 1}, "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00SUBSCRIBE\nid:2\ndestination:/topic/a\n\n\x00", 1008},
		{"transactions 1", stomp.Limits{Transactions: 1}, "BEGIN\ntransaction:1\n\n\x00BEGIN\ntransaction:2\n\n\x00", 1008},
		{"transaction_bytes 1000", stomp.Limits{TransactionBytes: 1000}, "BEGIN\ntransaction:1\n\n\x00SEND\ntransaction:1\ndestination:/topic/a\n\n" + body(900) + "\x00", 1008},
		{"frames_per_second 5", stomp.Limits{FramesPerSecond: 5}, strings.Repeat(send(1), 20), 1008},
	} {
		t.Run(tt.limit, func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: tt.limits}, func(t *testing.T, w *world) {
				time.Sleep(time.Second) // the clock of a bubble begins at zero, which the rate takes for never
				c := w.client(t)
				c.Raw(tt.raw)
				if _, closing := c.ExpectError("limit exceeded: " + tt.limit); closing.Code != tt.code {
					t.Errorf("closed with %v, want %d", closing, tt.code)
				}
				w.observer.ExpectEnd(t, stomp.ReasonPolicy)
			})
		})
	}
	t.Run("client_data 4096", func(t *testing.T) {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			c, _ := w.dial(t)
			c.Raw("CONNECT\naccept-version:1.2\nclient-data:\"" + body(4094) + "\"\n\n\x00")
			c.Expect(frame.Connected)
			c, _ = w.dial(t)
			c.Raw("CONNECT\naccept-version:1.2\nclient-data:\"" + body(4095) + "\"\n\n\x00")
			c.ExpectError("client_data 4096")
		})
	})
	t.Run("connect_timeout 10s", func(t *testing.T) {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			c, _ := w.dial(t)
			c.ExpectError("connect_timeout 10s")
		})
	})
}

// A second's worth twice at once, then a second's worth a second; heart-beats
// are no frames.
func TestFramesPerSecond(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{FramesPerSecond: 10}}, func(t *testing.T, w *world) {
		time.Sleep(time.Second) // see TestLimitsAreNamed
		c := w.client(t)        // one frame
		send := "SEND\ndestination:/topic/a\n\nx\x00"
		c.Raw(strings.Repeat("\n", 10_000) + strings.Repeat(send, 18))
		c.Send(frame.Send, "", "destination:/topic/a", "receipt:1") // the twentieth
		c.Expect(frame.Receipt)
		for range 3 {
			time.Sleep(time.Second)
			c.Raw(strings.Repeat(send, 9))
			c.Send(frame.Send, "", "destination:/topic/a", "receipt:2")
			c.Expect(frame.Receipt)
		}
		time.Sleep(500 * time.Millisecond)
		c.Raw(strings.Repeat(send, 6))
		c.ExpectError("frames_per_second 10")
		w.observer.ExpectEnd(t, stomp.ReasonPolicy)
	})
}

func TestFramesPerSecondOff(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{FramesPerSecond: -1}}, func(t *testing.T, w *world) {
		c := w.client(t)
		for range 30 {
			c.Raw(strings.Repeat("SEND\ndestination:/topic/a\n\nx\x00", 1000))
		}
		c.ExpectNothing()
	})
}

// STOMP 1.2, "Body": only SEND, MESSAGE and ERROR have one. EOLs behind the
// head are let pass.
func TestBodies(t *testing.T) {
	for _, tt := range []struct{ command, head string }{
		{frame.Subscribe, "id:2\ndestination:/topic/b\n"},
		{frame.Unsubscribe, "id:1\n"},
		{frame.Begin, "transaction:2\n"},
		{frame.Commit, "transaction:1\n"},
		{frame.Abort, "transaction:1\n"},
		{frame.Ack, "id:%a\n"},
		{frame.Nack, "id:%a\n"},
		{frame.Disconnect, ""},
	} {
		for _, body := range []string{"", "\n", "\n\r\n", "x", "\n\nx", " ", "\x00"} {
			t.Run(fmt.Sprintf("%s %q", tt.command, body), func(t *testing.T) {
				bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
					c := w.client(t)
					consume(c, "1", "/topic/a", "client")
					c.Send(frame.Begin, "", "transaction:1")
					c.Publish("/topic/a", "x")
					raw := fmt.Sprintf("%s\nreceipt:r\n%scontent-length:%d\n\n%s\x00", tt.command, tt.head, len(body), body)
					c.Raw(withMessageID(raw, expectBodies(t, c, "x")[0]))
					if strings.Trim(body, "\r\n") == "" {
						c.Expect(frame.Receipt, "receipt-id:r")
						return
					}
					if f, _ := c.ExpectError(tt.command + ": only SEND has a body"); f.Header.Get(frame.HdrReceiptID) != "r" {
						t.Errorf("no receipt-id: %s", stomptest.Show(f))
					}
					w.observer.ExpectEnd(t, stomp.ReasonProtocolError)
				})
			})
		}
	}
	for _, body := range []string{"\n", "x"} {
		t.Run(fmt.Sprintf("CONNECT %q", body), func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, _ := w.dial(t)
				c.Raw("CONNECT\naccept-version:1.2\n\n" + body + "\x00")
				if body == "\n" {
					c.Expect(frame.Connected)
				} else {
					c.ExpectError("only SEND has a body")
				}
			})
		})
	}
}

// What is wrong with a CONNECT is said in words that a client can read before
// it knows a version: stompjs undoes no escapes until CONNECTED, and 1.0 has
// none.
func TestErrorsBeforeConnectedHaveNoEscapes(t *testing.T) {
	for _, raw := range []string{
		"SEND\ndestination:/topic/a\n\nx\x00",
		"CONNECT\naccept-version:1.2\nheart-beat:1\n\n\x00",
		"CONNECT\naccept-version:9.9\n\n\x00",
		"CONNECT\nx:" + body(4000) + "\n\n\x00",
		"CONNECT\n\nbody\x00",
		"nonsense\n\n\x00",
	} {
		t.Run(fmt.Sprintf("%.40q", raw), func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, _ := w.dial(t)
				c.Raw(raw)
				if f, _ := c.ExpectError(""); strings.Contains(f.Header.Get(frame.HdrMessage), `\`) { // as it is on the wire
					t.Errorf("message %s", f.Header.Get(frame.HdrMessage))
				}
			})
		})
	}
}
