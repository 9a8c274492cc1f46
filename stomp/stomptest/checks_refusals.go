package stomptest

import (
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "ERROR": each refusal is an ERROR frame, then the end.
var refusalChecks = []check{
	{"before CONNECT", checkBeforeConnect},
	{"of CONNECT", checkRefusedConnect},
	{"after CONNECT", checkRefused},
	{"receipt-id of the offending frame", checkErrorReceipt},
	{"others are not disturbed", checkOthersUndisturbed},
}

func checkBeforeConnect(t *testing.T, dial Dialer) {
	for _, tt := range []struct{ raw, about string }{
		{"SEND\ndestination:/topic/a\n\nx\x00", "CONNECT"},
		{"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00", "CONNECT"},
		{"DISCONNECT\n\n\x00", "CONNECT"},
		{"CONNECTED\nversion:1.2\n\n\x00", "CONNECT"},
		{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
		{"\x00", ""},
	} {
		t.Run(tt.raw[:min(len(tt.raw), 10)], func(t *testing.T) {
			c := dial(t)
			c.Raw(tt.raw)
			c.ExpectError(tt.about)
		})
	}
}

func checkRefusedConnect(t *testing.T, dial Dialer) {
	for _, beat := range []string{"x,y", "1", "1,", ",1", "-1,0", "1,2,3", "1.5,0", "0x10,0"} {
		t.Run(beat, func(t *testing.T) {
			c := dial(t)
			c.Send(frame.Connect, "", "accept-version:1.2", "host:localhost", "heart-beat:"+beat)
			c.ExpectError("heart-beat")
		})
	}
}

func checkRefused(t *testing.T, dial Dialer) {
	for _, tt := range []struct{ name, version, raw, about string }{
		{"CONNECT twice", "1.2", "CONNECT\naccept-version:1.2\nhost:x\n\n\x00", "CONNECT"},
		{"STOMP after CONNECT", "1.2", "STOMP\naccept-version:1.2\nhost:x\n\n\x00", "STOMP"},
		{"unknown command", "1.2", "FLY\n\n\x00", "FLY"},
		{"server's command", "1.2", "MESSAGE\n\n\x00", "MESSAGE"},
		{"lower case command", "1.2", "send\ndestination:/topic/a\n\n\x00", "send"},
		{"SEND without destination", "1.2", "SEND\n\nx\x00", "destination"},
		{"SUBSCRIBE without destination", "1.2", "SUBSCRIBE\nid:1\n\n\x00", "destination"},
		{"SUBSCRIBE without id in 1.2", "1.2", "SUBSCRIBE\ndestination:/topic/a\n\n\x00", "id"},
		{"SUBSCRIBE without id in 1.1", "1.1", "SUBSCRIBE\ndestination:/topic/a\n\n\x00", "id"},
		{"UNSUBSCRIBE without id in 1.2", "1.2", "UNSUBSCRIBE\ndestination:/topic/a\n\n\x00", "id"},
		{"UNSUBSCRIBE without anything in 1.0", "1.0", "UNSUBSCRIBE\n\n\x00", "id"},
		{"UNSUBSCRIBE of nothing", "1.2", "UNSUBSCRIBE\nid:9\n\n\x00", "9"},
		{"duplicate id", "1.2", "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00SUBSCRIBE\nid:1\ndestination:/topic/b\n\n\x00", "1"},
		{"duplicate destination in 1.0", "1.0", "SUBSCRIBE\ndestination:/topic/a\n\n\x00SUBSCRIBE\ndestination:/topic/a\n\n\x00", "/topic/a"},
		{"SEND to an unknown destination", "1.2", "SEND\ndestination:/nowhere\n\nx\x00", "/nowhere"},
		{"SUBSCRIBE to an unknown destination", "1.2", "SUBSCRIBE\nid:1\ndestination:nowhere\n\n\x00", "nowhere"},
		{"header without colon", "1.2", "SEND\ndestination\n\nx\x00", ""},
		{"undefined escape", "1.2", "SEND\ndestination:/topic/\\t\n\nx\x00", ""},
		{"content-length too short", "1.2", "SEND\ndestination:/topic/a\ncontent-length:1\n\nabc\x00", ""},
		{"content-length no number", "1.2", "SEND\ndestination:/topic/a\ncontent-length:many\n\nabc\x00", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connected(t, dial, "accept-version:"+tt.version)
			c.Raw(tt.raw)
			c.ExpectError(tt.about)
		})
	}
}

func checkErrorReceipt(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	c.Send(frame.Send, "", "receipt:77")
	f, _ := c.ExpectError("destination")
	if f.Header.Get(frame.HdrReceiptID) != "77" {
		t.Errorf("no receipt-id:77 in %s", Show(f))
	}
}

func checkOthersUndisturbed(t *testing.T, dial Dialer) {
	other, bad := connected(t, dial), connected(t, dial)
	d := topic()
	other.Subscribe("1", d)
	bad.Subscribe("1", d)
	bad.Raw("SEND\ndestination:" + d + "\n\ngood\x00BAD" + strings.Repeat(" ", 10) + "\n\n\x00")
	bad.Expect(frame.Message)
	bad.ExpectError("")
	other.Expect(frame.Message)
	other.Publish(d, "still here")
	other.Expect(frame.Message)
	other.ExpectNothing()
}
