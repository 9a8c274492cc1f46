package stomp_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

var versions = []string{"1.0", "1.1", "1.2"}

// join is a client of the user, which may be "".
func (w *world) join(t testing.TB, hs stomp.Handshake, header ...string) *stomptest.Client {
	t.Helper()
	c, _ := stomptest.Dial(t, w.endpoint, &hs)
	c.Connect(header...)
	return c
}

// client is one after CONNECTED, where nothing but the client matters.
func (w *world) client(t testing.TB, header ...string) *stomptest.Client {
	t.Helper()
	c, _, _ := w.connect(t, header...)
	return c
}

// consume subscribes, and waits until that took effect.
func consume(c *stomptest.Client, id, destination, ack string) {
	c.Send(frame.Subscribe, "", "receipt:consume-"+id, "id:"+id, "destination:"+destination, "ack:"+ack)
	c.Expect(frame.Receipt, "receipt-id:consume-"+id)
}

// expectBodies are the next MESSAGE frames, which must have these bodies.
func expectBodies(t testing.TB, c *stomptest.Client, bodies ...string) []*frame.Frame {
	t.Helper()
	all := make([]*frame.Frame, 0, len(bodies))
	for _, want := range bodies {
		f := c.Expect(frame.Message)
		if string(f.Body) != want {
			t.Fatalf("expected the message %q, got %s", want, stomptest.Show(f))
		}
		all = append(all, f)
	}
	return all
}

// bodiesOf are the bodies of the MESSAGE frames that have come by now.
func bodiesOf(t testing.TB, c *stomptest.Client) []string {
	t.Helper()
	synctest.Wait()
	var bodies []string
	for _, f := range c.Sync() {
		if f.Command != frame.Message {
			t.Errorf("expected MESSAGE frames only, got %s", stomptest.Show(f))
		}
		bodies = append(bodies, string(f.Body))
	}
	return bodies
}

func wantBodies(t testing.TB, who string, c *stomptest.Client, want ...string) {
	t.Helper()
	if got := bodiesOf(t, c); !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", who, got, want)
	}
}

// settle is the ACK or NACK of a MESSAGE in the form of the client's version.
func settle(c *stomptest.Client, command string, message *frame.Frame, header ...string) {
	if ack, ok := message.Header.Lookup(frame.HdrAck); ok { // 1.2
		header = append(header, "id:"+ack)
	} else {
		header = append(header, "message-id:"+message.Header.Get(frame.HdrMessageID),
			"subscription:"+message.Header.Get(frame.HdrSubscription))
	}
	c.Send(command, "", header...)
}
