package stomp_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "BEGIN", "COMMIT" and "ABORT": what is sent inside of a
// transaction takes effect at COMMIT, in order, or never.
func TestTransactionOfSends(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, reader, queue := w.client(t, "accept-version:"+version), w.client(t), w.client(t)
				reader.Subscribe("1", "/topic/a")
				consume(queue, "1", "/queue/a", "auto")

				c.Send(frame.Begin, "", "transaction:t1", "receipt:b")
				c.Expect(frame.Receipt, "receipt-id:b")
				c.Publish("/topic/a", "1", "transaction:t1", "receipt:held")
				c.Expect(frame.Receipt, "receipt-id:held") // the transaction holds it
				c.Publish("/queue/a", "2", "transaction:t1")
				c.Publish("/topic/a", "outside")
				c.Publish("/topic/a", "3", "transaction:t1")
				c.ExpectNothing()
				wantBodies(t, "before COMMIT, the reader", reader, "outside")
				wantBodies(t, "before COMMIT, the consumer", queue)

				c.Send(frame.Commit, "", "transaction:t1", "receipt:c")
				c.Expect(frame.Receipt, "receipt-id:c")
				for _, f := range expectBodies(t, reader, "1", "3") {
					if _, ok := f.Header.Lookup(frame.HdrTransaction); ok {
						t.Error("the transaction is passed on")
					}
				}
				expectBodies(t, queue, "2")

				c.Send(frame.Begin, "", "transaction:t1") // the name is free again
				c.Publish("/topic/a", "4", "transaction:t1")
				c.Send(frame.Abort, "", "transaction:t1", "receipt:a")
				c.Expect(frame.Receipt, "receipt-id:a")
				c.ExpectNothing()
				reader.ExpectNothing()
				queue.ExpectNothing()
			})
		})
	}
}

// Transactions do not touch each other, nor do those of two sessions with the
// same name.
func TestTransactionsSideBySide(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		a, b, reader := w.client(t), w.client(t), w.client(t)
		reader.Subscribe("1", "/topic/a")
		a.Send(frame.Begin, "", "transaction:x")
		a.Send(frame.Begin, "", "transaction:y")
		b.Send(frame.Begin, "", "transaction:x")
		a.Publish("/topic/a", "ax", "transaction:x")
		a.Publish("/topic/a", "ay", "transaction:y")
		b.Publish("/topic/a", "bx", "transaction:x")
		a.Send(frame.Commit, "", "transaction:y")
		a.ExpectNothing()
		b.Send(frame.Abort, "", "transaction:x")
		b.ExpectNothing()
		wantBodies(t, "the reader", reader, "ay")
		a.Send(frame.Commit, "", "transaction:x")
		a.ExpectNothing()
		wantBodies(t, "the reader", reader, "ax")
	})
}

// ACK and NACK inside of a transaction count at COMMIT only.
func TestTransactionOfAcks(t *testing.T) {
	for _, tt := range []struct {
		version, mode, command, end string
		left                        []string // of three, of which the second is settled
	}{
		{"1.0", "client", frame.Ack, frame.Commit, []string{"3"}},
		{"1.0", "client", frame.Ack, frame.Abort, []string{"1", "2", "3"}},
		{"1.1", "client", frame.Ack, frame.Commit, []string{"3"}},
		{"1.1", "client-individual", frame.Ack, frame.Commit, []string{"1", "3"}},
		{"1.1", "client-individual", frame.Nack, frame.Abort, []string{"1", "2", "3"}},
		{"1.2", "client", frame.Ack, frame.Commit, []string{"3"}},
		{"1.2", "client-individual", frame.Ack, frame.Commit, []string{"1", "3"}},
		{"1.2", "client-individual", frame.Ack, frame.Abort, []string{"1", "2", "3"}},
		{"1.2", "client-individual", frame.Nack, frame.Commit, []string{"1", "2", "3"}},
		{"1.2", "client", frame.Ack, "nothing", []string{"1", "2", "3"}},
	} {
		t.Run(strings.Join([]string{tt.version, tt.mode, tt.command, tt.end}, " "), func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 3}}, func(t *testing.T, w *world) {
				sender, c := w.client(t), w.client(t, "accept-version:"+tt.version)
				consume(c, "1", "/queue/a", tt.mode)
				for _, b := range []string{"1", "2", "3"} {
					sender.Publish("/queue/a", b)
				}
				second := expectBodies(t, c, "1", "2", "3")[1]
				c.Send(frame.Begin, "", "transaction:t")
				settle(c, tt.command, second, "transaction:t")
				c.ExpectNothing() // nothing comes again yet, nor is there room for more
				if tt.end != "nothing" {
					c.Send(tt.end, "", "transaction:t")
				}
				if tt.command == frame.Nack && tt.end == frame.Commit {
					expectBodies(t, c, "2")
				}
				c.ExpectNothing()
				c.Send(frame.Disconnect, "")
				c.ExpectClose(1000)
				expectLeft(t, w, tt.left...)
			})
		})
	}
}

func TestTransactionErrors(t *testing.T) {
	for _, tt := range []struct{ name, raw, about string }{
		{"BEGIN without a name", "BEGIN\n\n\x00", "transaction is missing"},
		{"BEGIN with an empty name", "BEGIN\ntransaction:\n\n\x00", "transaction is missing"},
		{"COMMIT without a name", "COMMIT\n\n\x00", "transaction is missing"},
		{"ABORT without a name", "ABORT\n\n\x00", "transaction is missing"},
		{"BEGIN twice", "BEGIN\ntransaction:t\n\n\x00BEGIN\ntransaction:t\n\n\x00", "begun already"},
		{"COMMIT of nothing", "COMMIT\ntransaction:t\n\n\x00", "no such transaction"},
		{"ABORT of nothing", "ABORT\ntransaction:t\n\n\x00", "no such transaction"},
		{"COMMIT twice", "BEGIN\ntransaction:t\n\n\x00COMMIT\ntransaction:t\n\n\x00COMMIT\ntransaction:t\n\n\x00", "no such transaction"},
		{"COMMIT after ABORT", "BEGIN\ntransaction:t\n\n\x00ABORT\ntransaction:t\n\n\x00COMMIT\ntransaction:t\n\n\x00", "no such transaction"},
		{"SEND in nothing", "SEND\ndestination:/topic/a\ntransaction:t\n\nx\x00", "no such transaction"},
		{"SEND in an empty name", "SEND\ndestination:/topic/a\ntransaction:\n\nx\x00", "no such transaction"},
		{"ACK in nothing", "ACK\nid:1\ntransaction:t\n\n\x00", "no such transaction"},
		{"NACK in nothing", "NACK\nid:1\ntransaction:t\n\n\x00", "no such transaction"},
		{"SEND without destination", "BEGIN\ntransaction:t\n\n\x00SEND\ntransaction:t\n\nx\x00", "destination is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t)
				c.Raw(tt.raw)
				c.ExpectError(tt.about)
				w.observer.ExpectEnd(t, stomp.ReasonProtocolError)
			})
		})
	}
}

// All of it or nothing (STOMP 1.2, "BEGIN": "processed atomically"): a COMMIT
// that is refused has sent nothing.
func TestTransactionIsAtomic(t *testing.T) {
	for name, bad := range map[string]string{
		"unknown destination": "SEND\ndestination:/nowhere\ntransaction:t\n\nx\x00",
		"wildcards":           "SEND\ndestination:/topic/*\ntransaction:t\n\nx\x00",
		"temp-queue":          "SEND\ndestination:/temp-queue/x\ntransaction:t\n\nx\x00",
		"user":                "SEND\ndestination:/user/x\ntransaction:t\n\nx\x00",
		"ACK of nothing":      "ACK\nid:zzz\ntransaction:t\n\n\x00",
		"ACK without id":      "ACK\ntransaction:t\n\n\x00",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, reader := w.client(t), w.client(t)
				reader.Subscribe("1", "/topic/a")
				c.Raw("BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/topic/a\ntransaction:t\n\ngood\x00" + bad + "COMMIT\ntransaction:t\n\n\x00")
				c.ExpectError("")
				wantBodies(t, "the reader", reader)
			})
		})
	}
}

// What leaves while a transaction is open has sent nothing.
func TestTransactionAbortedByTheEnd(t *testing.T) {
	for _, way := range []string{"DISCONNECT", "close", "abort"} {
		t.Run(way, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, reader := w.client(t), w.client(t)
				reader.Subscribe("1", "/topic/a")
				c.Send(frame.Begin, "", "transaction:t")
				c.Publish("/topic/a", "x", "transaction:t")
				synctest.Wait()
				switch way {
				case "DISCONNECT":
					c.Send(frame.Disconnect, "")
				case "close":
					c.Close(1000)
				default:
					c.Abort()
				}
				w.observer.NextEnd(t)
				reader.ExpectNothing()
			})
		})
	}
}

func TestTransactionLimits(t *testing.T) {
	t.Run("transactions", func(t *testing.T) {
		bubble(t, stomp.Policy{Limits: stomp.Limits{Transactions: 3}}, func(t *testing.T, w *world) {
			c := w.client(t)
			for range 3 { // those that have ended do not count
				c.Send(frame.Begin, "", "transaction:a")
				c.Send(frame.Commit, "", "transaction:a")
			}
			for i := range 3 {
				c.Send(frame.Begin, "", fmt.Sprintf("transaction:%d", i))
			}
			c.ExpectNothing()
			c.Send(frame.Begin, "", "transaction:4", "receipt:no")
			f, _ := c.ExpectError("limit exceeded: transactions 3")
			if f.Header.Get(frame.HdrReceiptID) != "no" {
				t.Error("no receipt-id")
			}
			w.observer.ExpectEnd(t, stomp.ReasonPolicy)
		})
	})
	t.Run("transaction_bytes", func(t *testing.T) {
		bubble(t, stomp.Policy{Limits: stomp.Limits{TransactionBytes: 10_000}}, func(t *testing.T, w *world) {
			c := w.client(t)
			for _, end := range []string{frame.Commit, frame.Abort} { // both give the bytes back
				for range 3 {
					c.Send(frame.Begin, "", "transaction:a")
					c.Publish("/topic/a", body(9000), "transaction:a")
					c.Send(end, "", "transaction:a")
				}
			}
			for i := range 4 { // together
				c.Send(frame.Begin, "", fmt.Sprintf("transaction:%d", i))
				c.Publish("/topic/a", body(2000), fmt.Sprintf("transaction:%d", i))
			}
			c.ExpectNothing()
			c.Publish("/topic/a", body(2000), "transaction:0")
			c.ExpectError("limit exceeded: transaction_bytes 10000")
			w.observer.ExpectEnd(t, stomp.ReasonPolicy)
		})
	})
	t.Run("of nothing but heads", func(t *testing.T) {
		bubble(t, stomp.Policy{Limits: stomp.Limits{TransactionBytes: 10_000}}, func(t *testing.T, w *world) {
			c := w.client(t)
			c.Send(frame.Begin, "", "transaction:a")
			for range 100 {
				c.Send(frame.Ack, "", "transaction:a", "id:1")
			}
			c.ExpectError("transaction_bytes")
		})
	})
}
