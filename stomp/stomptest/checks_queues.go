package stomptest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "SUBSCRIBE ack Header", "ACK" and "NACK"; what the specification
// leaves to the server is what brokers do with destinations below /queue/.
var queueChecks = []check{
	{"one consumer each", checkQueueOne},
	{"held while there is none", checkQueueHolds},
	{"order", checkQueueOrder},
	{"acknowledgement modes", checkAckModes},
	{"NACK", checkNack},
	{"a consumer goes", checkConsumerGoes},
	{"acknowledgement of a topic", checkAckOfTopic},
	{"what cannot be acknowledged", checkAckRefused},
}

// queue is a destination that nobody else uses.
func queue() string { return "/queue/stomptest-" + rand.Text() }

// consume subscribes and waits until it took effect.
func (c *Client) consume(id, destination, ack string) {
	c.t.Helper()
	c.Send(frame.Subscribe, "", "id:"+id, "destination:"+destination, "ack:"+ack, "receipt:consumes")
	c.Expect(frame.Receipt, "receipt-id:consumes")
}

// settle sends the ACK or NACK of a MESSAGE in the form of its version, and
// waits until it took effect. What comes meanwhile is returned.
func (c *Client) settle(command string, message *frame.Frame, header ...string) []*frame.Frame {
	c.t.Helper()
	if ack, ok := message.Header.Lookup(frame.HdrAck); ok { // since 1.2
		header = append(header, "id:"+ack)
	} else {
		header = append(header, "message-id:"+message.Header.Get(frame.HdrMessageID), "subscription:"+message.Header.Get(frame.HdrSubscription))
	}
	c.Send(command, "", header...)
	return c.Sync()
}

// expectBodies are the next messages.
func (c *Client) expectBodies(bodies ...string) []*frame.Frame {
	c.t.Helper()
	all := make([]*frame.Frame, 0, len(bodies))
	for _, want := range bodies {
		f := c.Expect(frame.Message)
		if string(f.Body) != want {
			c.t.Fatalf("expected the message %q, got %s", want, Show(f))
		}
		all = append(all, f)
	}
	return all
}

// drain gets what is left in a queue, and leaves.
func drain(t *testing.T, dial Dialer, destination string) []*frame.Frame {
	t.Helper()
	c := connected(t, dial)
	c.Send(frame.Subscribe, "", "id:1", "destination:"+destination)
	left := c.Sync()
	c.Send(frame.Disconnect, "", "receipt:drained")
	for f := c.Receive(); f.Command == frame.Message; f = c.Receive() {
		left = append(left, f)
	}
	c.ExpectClose(0)
	return left
}

// expectLeft drains a queue of which all was delivered before.
func expectLeft(t *testing.T, dial Dialer, destination string, want ...string) {
	t.Helper()
	left := drain(t, dial, destination)
	got := make([]string, 0, len(left))
	for _, f := range left {
		got = append(got, string(f.Body))
		if f.Header.Get("redelivered") != "true" {
			t.Errorf("not marked as redelivered: %s", Show(f))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("left were %q, want %q", got, want)
	}
}

func leave(c *Client) {
	c.t.Helper()
	c.Send(frame.Disconnect, "", "receipt:bye")
	c.Expect(frame.Receipt, "receipt-id:bye")
	c.ExpectClose(1000)
}

func checkQueueOne(t *testing.T, dial Dialer) {
	const consumers, each = 3, 10
	d := queue()
	all := make([]*Client, consumers)
	for i := range all {
		all[i] = connected(t, dial)
		all[i].consume("1", d, "auto")
	}
	sender := connected(t, dial)
	for i := range consumers * each {
		sender.Publish(d, fmt.Sprint(i))
	}
	sender.ExpectNothing()
	times := make(map[string]int)
	for i, c := range all {
		n := 0
		for _, f := range c.Sync() {
			times[string(f.Body)]++
			n++
		}
		if n != each {
			t.Errorf("consumer %d got %d of %d messages", i, n, consumers*each)
		}
	}
	for body, n := range times {
		if n != 1 {
			t.Errorf("message %s came %d times", body, n)
		}
	}
}

func checkQueueHolds(t *testing.T, dial Dialer) {
	d := queue()
	sender := connected(t, dial)
	for _, body := range []string{"1", "2", "3"} {
		sender.Publish(d, body, "x:"+body)
	}
	leave(sender)
	held := drain(t, dial, d)
	got := make([]string, 0, len(held))
	for _, f := range held {
		got = append(got, string(f.Body)+f.Header.Get("x")+f.Header.Get("redelivered"))
	}
	if want := []string{"11", "22", "33"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if left := drain(t, dial, d); len(left) > 0 {
		t.Errorf("consumed messages came again: %s", Show(left[0]))
	}
}

func checkQueueOrder(t *testing.T, dial Dialer) {
	d := queue()
	sender, c := connected(t, dial), connected(t, dial)
	c.consume("1", d, "auto")
	const n = 300
	for i := range n {
		sender.Publish(d, fmt.Sprint(i))
	}
	for i := range n {
		c.expectBodies(fmt.Sprint(i))
	}
}

func checkAckModes(t *testing.T, dial Dialer) {
	for _, tt := range []struct {
		version, ack string
		left         []string // of three, of which the second was acknowledged
	}{
		{"1.0", "auto", nil},
		{"1.0", "client", []string{"3"}},
		{"1.1", "auto", nil},
		{"1.1", "client", []string{"3"}},
		{"1.1", "client-individual", []string{"1", "3"}},
		{"1.2", "auto", nil},
		{"1.2", "client", []string{"3"}},
		{"1.2", "client-individual", []string{"1", "3"}},
	} {
		t.Run(tt.version+" "+tt.ack, func(t *testing.T) {
			d := queue()
			sender, c := connected(t, dial), connected(t, dial, "accept-version:"+tt.version)
			c.consume("1", d, tt.ack)
			for _, body := range []string{"1", "2", "3"} {
				sender.Publish(d, body)
			}
			got := c.expectBodies("1", "2", "3")
			for _, f := range got {
				if _, ok := f.Header.Lookup(frame.HdrAck); ok != (tt.version == "1.2" && tt.ack != "auto") {
					t.Errorf("ack is there: %v, in %s", ok, Show(f))
				}
			}
			if tt.ack != "auto" {
				c.settle(frame.Ack, got[1])
			}
			leave(c)
			expectLeft(t, dial, d, tt.left...)
		})
	}
}

func checkNack(t *testing.T, dial Dialer) {
	for _, version := range []string{"1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			d := queue()
			sender, c := connected(t, dial), connected(t, dial, "accept-version:"+version)
			c.consume("1", d, "client-individual")
			for _, body := range []string{"1", "2", "3"} {
				sender.Publish(d, body)
			}
			refused := c.expectBodies("1", "2", "3")[1]
			again := c.settle(frame.Nack, refused)
			if len(again) != 1 || string(again[0].Body) != "2" || again[0].Header.Get("redelivered") != "true" {
				t.Fatalf("the message that was refused came again as %d messages", len(again))
			}
			if again[0].Header.Get(frame.HdrMessageID) == refused.Header.Get(frame.HdrMessageID) {
				t.Errorf("the message-id is used again: %s", Show(again[0]))
			}
			leave(c)
			expectLeft(t, dial, d, "1", "2", "3")
		})
	}
}

func checkConsumerGoes(t *testing.T, dial Dialer) {
	for name, goes := range map[string]func(*Client){
		"UNSUBSCRIBE": func(c *Client) { c.Send(frame.Unsubscribe, "", "id:1"); c.ExpectNothing() },
		"DISCONNECT":  leave,
		"close":       func(c *Client) { c.Close(1000); c.ExpectClose(0) },
		"ERROR":       func(c *Client) { c.Raw("NONSENSE\n\n\x00"); _, _ = c.ExpectError("") },
	} {
		t.Run(name, func(t *testing.T) {
			d := queue()
			sender, c, next := connected(t, dial), connected(t, dial), connected(t, dial)
			c.consume("1", d, "client")
			for _, body := range []string{"1", "2", "3"} {
				sender.Publish(d, body)
			}
			c.settle(frame.Ack, c.expectBodies("1", "2", "3")[0])
			next.consume("1", d, "auto")
			goes(c)
			for _, f := range next.expectBodies("2", "3") {
				if f.Header.Get("redelivered") != "true" {
					t.Errorf("not marked as redelivered: %s", Show(f))
				}
			}
			next.ExpectNothing()
		})
	}
}

func checkAckOfTopic(t *testing.T, dial Dialer) {
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			c := connected(t, dial, "accept-version:"+version)
			d := topic()
			c.consume("1", d, "client")
			for _, body := range []string{"1", "2", "3"} {
				c.Publish(d, body)
			}
			got := c.expectBodies("1", "2", "3")
			for _, f := range []*frame.Frame{got[1], got[2]} {
				if more := c.settle(frame.Ack, f); len(more) > 0 {
					t.Errorf("got %s", Show(more[0]))
				}
			}
		})
	}
}

func checkAckRefused(t *testing.T, dial Dialer) {
	for _, tt := range []struct{ name, version, raw, about string }{
		{"ACK without id in 1.2", "1.2", "ACK\nmessage-id:1\nsubscription:1\n\n\x00", "id"},
		{"ACK without message-id in 1.1", "1.1", "ACK\nsubscription:1\n\n\x00", "message-id"},
		{"ACK without subscription in 1.1", "1.1", "ACK\nmessage-id:1\n\n\x00", "subscription"},
		{"ACK without message-id in 1.0", "1.0", "ACK\n\n\x00", "message-id"},
		{"ACK of nothing", "1.2", "ACK\nid:zzzz\n\n\x00", ""},
		{"NACK of nothing", "1.2", "NACK\nid:zzzz\n\n\x00", ""},
		{"NACK in 1.0", "1.0", "NACK\nmessage-id:1\n\n\x00", "NACK"},
		{"unknown ack mode", "1.2", "SUBSCRIBE\nid:1\ndestination:/topic/a\nack:never\n\n\x00", "ack"},
		{"client-individual in 1.0", "1.0", "SUBSCRIBE\ndestination:/topic/a\nack:client-individual\n\n\x00", "ack"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connected(t, dial, "accept-version:"+tt.version)
			c.Raw(tt.raw)
			_, _ = c.ExpectError(tt.about)
		})
	}
}
