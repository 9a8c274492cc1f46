package stomptest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "SEND" and "MESSAGE", "Body" and "Value Encoding".
var messageChecks = []check{
	{"headers of MESSAGE", checkMessageHeaders},
	{"client headers pass", checkClientHeaders},
	{"reserved headers are the server's", checkReservedHeaders},
	{"headers across versions", checkHeadersAcrossVersions},
	{"bodies", checkBodies},
	{"order", checkOrder},
	{"frames cut and joined", checkCutAndJoined},
	{"line ends", checkLineEnds},
}

func checkMessageHeaders(t *testing.T, dial Dialer) {
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			c := connected(t, dial, "accept-version:"+version)
			d := topic()
			c.Subscribe("s:1", d) // an id is any string
			ids := make(map[string]bool)
			for i := range 20 {
				c.Publish(d, "hello")
				f := c.Expect(frame.Message, "subscription:s:1", "destination:"+d, "content-length:5")
				id := f.Header.Get(frame.HdrMessageID)
				if id == "" || ids[id] {
					t.Fatalf("message-id %q of message %d is empty or not unique", id, i)
				}
				ids[id] = true
				if string(f.Body) != "hello" {
					t.Fatalf("body %q", f.Body)
				}
			}
		})
	}
}

func checkClientHeaders(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	d := topic()
	c.Subscribe("1", d)
	header := []string{
		"content-type:application/json", "x-my-header:a", "X-My-Header:b", "empty:", "colon:a:b", "lines:a\nb\r\nc",
		"back:\\slash", "unicode:\u00e9\u2603", " spaces : kept ",
	}
	c.Publish(d, "{}", header...)
	c.Expect(frame.Message, header...)

	c.Publish(d, "{}", "twice:first", "twice:second")
	c.Expect(frame.Message, "twice:first") // STOMP 1.2, "Repeated Header Entries"
}

func checkReservedHeaders(t *testing.T, dial Dialer) {
	sender, reader := connected(t, dial), connected(t, dial)
	d := topic()
	reader.Subscribe("mine", d)
	sender.Publish(d, "x", "receipt:secret-receipt", "login:secret-login", "passcode:secret-passcode",
		"Authorization:Bearer secret", "authorization:Bearer secret",
		"message-id:secret-id", "subscription:secret-subscription", "ack:secret-ack")
	f := reader.Expect(frame.Message, "subscription:mine")
	if strings.Contains(Show(f), "secret") {
		t.Errorf("headers leaked or spoofed: %s", Show(f))
	}
	for _, name := range []string{"subscription", "message-id", "destination", "content-length"} {
		if n := len(slices.DeleteFunc(f.Header.Clone(), func(h frame.Field) bool { return h.Name != name })); n != 1 {
			t.Errorf("%s is there %d times: %s", name, n, Show(f))
		}
	}
	if f.Header.Get(frame.HdrMessageID) == "" {
		t.Errorf("no message-id: %s", Show(f))
	}
	sender.Expect(frame.Receipt, "receipt-id:secret-receipt")
}

// What one version can say and another cannot must not become lines of its own.
func checkHeadersAcrossVersions(t *testing.T, dial Dialer) {
	sender := connected(t, dial)
	d := topic()
	readers := make(map[string]*Client)
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		readers[version] = connected(t, dial, "accept-version:"+version)
		readers[version].Subscribe("1", d)
	}
	sender.Publish(d, "body", "x:a\nsubscription:2\n\nspoofed", "y\nz:1", "last:one")
	for version, c := range readers {
		f := c.Expect(frame.Message, "subscription:1", "last:one")
		if string(f.Body) != "body" {
			t.Errorf("%s: %s", version, Show(f))
		}
		if version != "1.0" && f.Header.Get("x") != "a\nsubscription:2\n\nspoofed" {
			t.Errorf("%s: the header changed: %s", version, Show(f))
		}
		c.ExpectNothing()
	}
}

func checkBodies(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	d := topic()
	c.Subscribe("1", d)
	for _, body := range []string{
		"", "\x00", "a\x00b\x00\x00", "\n", "\n\n\x00\n", "MESSAGE\n\nx\x00", "\r\n", `"quoted" \ <b>`, "\u00e9\u2028\U0001F600",
		"\x01\x1f\x7f\ufeff\ufffd\uffff", strings.Repeat("0123456789abcdef", 3<<10),
	} {
		c.Publish(d, body)
		f := c.Expect(frame.Message, fmt.Sprintf("content-length:%d", len(body)))
		if string(f.Body) != body {
			t.Errorf("body %.60q became %.60q", body, f.Body)
		}
	}
	// without content-length the body ends at the first NUL
	c.Raw("SEND\ndestination:" + d + "\n\nshort\x00\n")
	if f := c.Expect(frame.Message); string(f.Body) != "short" {
		t.Errorf("body %q", f.Body)
	}
}

func checkOrder(t *testing.T, dial Dialer) {
	const n = 500
	sender, reader := connected(t, dial), connected(t, dial)
	d := topic()
	reader.Subscribe("1", d)
	for i := range n {
		sender.Publish(d, fmt.Sprint(i))
	}
	for i := range n {
		if f := reader.Expect(frame.Message); string(f.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, f.Body)
		}
	}
	reader.ExpectNothing()
}

func checkCutAndJoined(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	d := topic()
	c.Subscribe("1", d)
	send := "SEND\ndestination:" + d + "\ncontent-length:3\n\na\x00b\x00"
	for i := 1; i < len(send); i += 7 {
		c.Raw(send[:i])
		c.Raw(send[i:])
	}
	c.Raw(send + "\n" + send + send + "\n\n")
	for i := 1; i < len(send); i += 7 {
		c.Expect(frame.Message, "content-length:3")
	}
	for range 3 {
		c.Expect(frame.Message, "content-length:3")
	}
	c.ExpectNothing()
}

func checkLineEnds(t *testing.T, dial Dialer) {
	c := dial(t)
	c.Raw("CONNECT\r\naccept-version:1.2\r\nhost:localhost\r\n\r\n\x00\r\n")
	c.Expect(frame.Connected, "version:1.2")
	d := topic()
	c.Raw("SUBSCRIBE\r\nid:1\r\ndestination:" + d + "\r\n\r\n\x00\r\n")
	c.Raw("SEND\r\ndestination:" + d + "\r\n\r\nx\r\ny\x00\r\n")
	if f := c.Expect(frame.Message, "destination:"+d); string(f.Body) != "x\r\ny" {
		t.Errorf("body %q", f.Body)
	}
}
