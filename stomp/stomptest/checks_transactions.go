package stomptest

import (
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "BEGIN", "COMMIT" and "ABORT".
var transactionChecks = []check{
	{"COMMIT and ABORT", checkCommitAndAbort},
	{"acknowledgements", checkTransactionOfAcks},
	{"the end aborts", checkEndAborts},
	{"names", checkTransactionNames},
}

func checkCommitAndAbort(t *testing.T, dial Dialer) {
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			c, reader := connected(t, dial, "accept-version:"+version), connected(t, dial)
			d := topic()
			reader.Subscribe("1", d)
			c.Send(frame.Begin, "", "transaction:a", "receipt:1")
			c.Expect(frame.Receipt, "receipt-id:1")
			c.Send(frame.Begin, "", "transaction:b")
			c.Publish(d, "1", "transaction:a", "receipt:2")
			c.Expect(frame.Receipt, "receipt-id:2")
			c.Publish(d, "never", "transaction:b")
			c.Publish(d, "2", "transaction:a")
			c.ExpectNothing()
			reader.ExpectNothing()
			c.Send(frame.Abort, "", "transaction:b", "receipt:3")
			c.Expect(frame.Receipt, "receipt-id:3")
			reader.ExpectNothing()
			c.Send(frame.Commit, "", "transaction:a", "receipt:4")
			c.Expect(frame.Receipt, "receipt-id:4")
			for _, f := range reader.expectBodies("1", "2") {
				if _, ok := f.Header.Lookup(frame.HdrTransaction); ok {
					t.Errorf("transaction is passed on: %s", Show(f))
				}
			}
			reader.ExpectNothing()
		})
	}
}

func checkTransactionOfAcks(t *testing.T, dial Dialer) {
	for _, tt := range []struct {
		end  string
		left []string
	}{
		{frame.Commit, []string{"1", "3"}},
		{frame.Abort, []string{"1", "2", "3"}},
	} {
		t.Run(tt.end, func(t *testing.T) {
			d := queue()
			c := connected(t, dial)
			c.consume("1", d, "client-individual")
			for _, body := range []string{"1", "2", "3"} {
				c.Publish(d, body)
			}
			second := c.expectBodies("1", "2", "3")[1]
			c.Send(frame.Begin, "", "transaction:t")
			c.settle(frame.Ack, second, "transaction:t")
			c.Send(tt.end, "", "transaction:t")
			leave(c)
			expectLeft(t, dial, d, tt.left...)
		})
	}
}

func checkEndAborts(t *testing.T, dial Dialer) {
	c, reader := connected(t, dial), connected(t, dial)
	d := topic()
	reader.Subscribe("1", d)
	c.Send(frame.Begin, "", "transaction:t")
	c.Publish(d, "never", "transaction:t")
	leave(c)
	reader.ExpectNothing()
}

func checkTransactionNames(t *testing.T, dial Dialer) {
	const begin = "BEGIN\ntransaction:t\n\n\x00"
	for _, tt := range []struct{ name, raw, about string }{
		{"BEGIN without one", "BEGIN\n\n\x00", "transaction"},
		{"COMMIT without one", "COMMIT\n\n\x00", "transaction"},
		{"ABORT without one", "ABORT\n\n\x00", "transaction"},
		{"BEGIN twice", begin + begin, "t"},
		{"COMMIT of an unknown one", "COMMIT\ntransaction:t\n\n\x00", "t"},
		{"ABORT of an unknown one", "ABORT\ntransaction:t\n\n\x00", "t"},
		{"SEND in an unknown one", "SEND\ndestination:/topic/a\ntransaction:t\n\nx\x00", "t"},
		{"ACK in an unknown one", "ACK\nid:1\ntransaction:t\n\n\x00", "t"},
		{"COMMIT after ABORT", begin + "ABORT\ntransaction:t\n\n\x00COMMIT\ntransaction:t\n\n\x00", "t"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connected(t, dial)
			c.Raw(tt.raw)
			_, _ = c.ExpectError(tt.about)
		})
	}
}
