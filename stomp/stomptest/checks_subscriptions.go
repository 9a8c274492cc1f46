package stomptest

import (
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "SUBSCRIBE", "UNSUBSCRIBE" and "receipt".
var subscriptionChecks = []check{
	{"take effect", checkSubscribe},
	{"receipts", checkReceipts},
	{"several of one session", checkSeveral},
	{"ids are each session's own", checkOwnIDs},
	{"by destination in 1.0", checkByDestination},
	{"not below, not above", checkExact},
}

func checkSubscribe(t *testing.T, dial Dialer) {
	sender, reader := connected(t, dial), connected(t, dial)
	d := topic()
	sender.Publish(d, "before")
	sender.ExpectNothing()

	reader.Subscribe("1", d)
	sender.Publish(d, "while")
	if f := reader.Expect(frame.Message); string(f.Body) != "while" {
		t.Errorf("got %s", Show(f))
	}

	reader.Send(frame.Unsubscribe, "", "id:1", "receipt:gone")
	reader.Expect(frame.Receipt, "receipt-id:gone")
	sender.Publish(d, "after")
	sender.ExpectNothing()
	reader.ExpectNothing()

	reader.Subscribe("1", d) // the id is free again
	sender.Publish(d, "again")
	if f := reader.Expect(frame.Message); string(f.Body) != "again" {
		t.Errorf("got %s", Show(f))
	}
}

func checkReceipts(t *testing.T, dial Dialer) {
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			c := connected(t, dial, "accept-version:"+version)
			d := topic()
			c.Send(frame.Subscribe, "", "id:1", "destination:"+d, "receipt:a")
			c.Expect(frame.Receipt, "receipt-id:a")
			c.Send(frame.Send, "x", "destination:"+d, "receipt:b")
			c.Expect(frame.Message) // the effect, then the receipt
			c.Expect(frame.Receipt, "receipt-id:b")
			c.Send(frame.Unsubscribe, "", "id:1", "destination:"+d, "receipt:c")
			c.Expect(frame.Receipt, "receipt-id:c")
			c.Send(frame.Disconnect, "", "receipt:d")
			c.Expect(frame.Receipt, "receipt-id:d")
			c.ExpectClose(1000)
		})
	}
}

func checkSeveral(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	one, two := topic(), topic()
	c.Subscribe("1a", one)
	c.Subscribe("1b", one)
	c.Subscribe("2", two)

	c.Publish(one, "x")
	got := make(map[string]string)
	for _, f := range c.Sync() {
		got[f.Header.Get(frame.HdrSubscription)] = f.Header.Get(frame.HdrMessageID)
	}
	if len(got) != 2 || got["1a"] == "" || got["1b"] == "" || got["1a"] == got["1b"] {
		t.Errorf("message-ids by subscription %v", got)
	}

	c.Send(frame.Unsubscribe, "", "id:1a")
	c.Publish(one, "y")
	c.Expect(frame.Message, "subscription:1b")
	c.Publish(two, "z")
	c.Expect(frame.Message, "subscription:2", "destination:"+two)
	c.ExpectNothing()
}

func checkOwnIDs(t *testing.T, dial Dialer) {
	a, b := connected(t, dial), connected(t, dial)
	d, e := topic(), topic()
	a.Subscribe("1", d)
	b.Subscribe("1", e)
	a.Send(frame.Unsubscribe, "", "id:1")
	a.Publish(e, "x")
	b.Expect(frame.Message, "subscription:1", "destination:"+e)
	a.ExpectNothing()
}

func checkByDestination(t *testing.T, dial Dialer) {
	c := connected(t, dial, "accept-version:1.0")
	d := topic()
	c.Send(frame.Subscribe, "", "destination:"+d)
	c.Publish(d, "x")
	c.Expect(frame.Message, "destination:"+d)
	c.Send(frame.Unsubscribe, "", "destination:"+d)
	c.Publish(d, "y")
	c.ExpectNothing()
}

func checkExact(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	d := topic()
	c.Subscribe("1", d)
	for _, other := range []string{d + "/below", d + "/", d[:len(d)-1], d + "x", d[:len(d)-1] + "_"} {
		c.Publish(other, other)
	}
	c.ExpectNothing()
}
