package stomptest

import (
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "DISCONNECT" and "Connection Lingering".
var endChecks = []check{
	{"DISCONNECT with receipt", checkDisconnectReceipt},
	{"DISCONNECT without receipt", checkDisconnect},
	{"what is queued goes out before", checkQueuedBefore},
	{"nothing counts after DISCONNECT", checkAfterDisconnect},
	{"close without DISCONNECT", checkClose},
	{"close before CONNECT", checkCloseBeforeConnect},
}

func checkDisconnectReceipt(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	c.Send(frame.Disconnect, "", "receipt:77")
	c.Expect(frame.Receipt, "receipt-id:77")
	c.ExpectClose(1000)
}

func checkDisconnect(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	c.Send(frame.Disconnect, "")
	c.ExpectClose(1000)
}

func checkQueuedBefore(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	d := topic()
	c.Subscribe("1", d)
	const n = 50
	for range n {
		c.Publish(d, "x")
	}
	c.Send(frame.Disconnect, "", "receipt:last")
	for range n {
		c.Expect(frame.Message)
	}
	c.Expect(frame.Receipt, "receipt-id:last")
	c.ExpectClose(1000)
}

func checkAfterDisconnect(t *testing.T, dial Dialer) {
	c, witness := connected(t, dial), connected(t, dial)
	d := topic()
	witness.Subscribe("1", d)
	c.Raw("DISCONNECT\nreceipt:bye\n\n\x00" +
		"SEND\ndestination:" + d + "\nreceipt:no\n\ntoo late\x00" +
		"NONSENSE\n\n\x00" +
		"CONNECT\naccept-version:1.2\nhost:x\n\n\x00")
	c.Expect(frame.Receipt, "receipt-id:bye")
	c.ExpectClose(1000)
	witness.ExpectNothing()
}

func checkClose(t *testing.T, dial Dialer) {
	for _, code := range []int{1000, 1001, 3000, 4999} {
		c := connected(t, dial)
		c.Close(code)
		c.ExpectClose(0)
	}
}

func checkCloseBeforeConnect(t *testing.T, dial Dialer) {
	c := dial(t)
	c.Close(1000)
	c.ExpectClose(0)
}
