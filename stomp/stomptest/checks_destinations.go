package stomptest

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// What this project's server makes of destinations, which the specification
// leaves to it.
var destinationChecks = []check{
	{"wildcards", checkWildcards},
	{"of a user", checkUser},
	{"to reply to", checkReply},
	{"refused", checkDestinationsRefused},
}

func checkWildcards(t *testing.T, dial Dialer) {
	c := connected(t, dial)
	d := topic()
	c.Subscribe("one", d+"/*")
	c.Subscribe("inner", d+"/*/b")
	c.Subscribe("rest", d+"/**")
	for destination, want := range map[string]string{
		d:               "rest",
		d + "/a":        "one rest",
		d + "/a/b":      "inner rest",
		d + "/a/c":      "rest",
		d + "/a/b/c":    "rest",
		topic():         "",
		d + "other/a/b": "",
	} {
		c.Publish(destination, "x")
		got := make(map[string]bool)
		for _, f := range c.Sync() {
			if got[f.Header.Get(frame.HdrSubscription)] || f.Header.Get(frame.HdrDestination) != destination {
				t.Errorf("%s: got %s", destination, Show(f))
			}
			got[f.Header.Get(frame.HdrSubscription)] = true
		}
		for _, id := range []string{"one", "inner", "rest"} {
			if got[id] != strings.Contains(want, id) {
				t.Errorf("%s reached %q: %v", destination, id, got[id])
			}
		}
	}
	c.Send(frame.Unsubscribe, "", "id:rest")
	c.Publish(d, "x")
	c.ExpectNothing()
}

func checkUser(t *testing.T, dial Dialer) {
	c, other := dial(t), dial(t)
	id := c.Connect().Header.Get(frame.HdrSession)
	other.Connect()
	own := "/user/queue/" + rand.Text()
	c.Subscribe("1", own)
	name := c.User
	if name == "" {
		name = id
	}
	rest := strings.TrimPrefix(own, "/user")
	want := []string{"by session"}
	if id != c.chosen || c.User != "" { // an id that a client chose is nobody's name
		other.Publish("/user/"+url.PathEscape(name)+rest, "by name")
		want = []string{"by name", "by session"}
	}
	other.Publish("/user/"+url.PathEscape(name)+";session="+id+rest, "by session")
	other.Publish("/user/somebody-else"+rest, "not for him")
	other.Publish("/user/"+url.PathEscape(name)+";session=another-session"+rest, "not for this one")
	other.ExpectNothing()
	for _, f := range c.expectBodies(want...) {
		if f.Header.Get(frame.HdrDestination) != own || f.Header.Get(frame.HdrSubscription) != "1" {
			t.Errorf("got %s", Show(f))
		}
	}
	c.ExpectNothing()
}

func checkReply(t *testing.T, dial Dialer) {
	c, server := connected(t, dial), connected(t, dial)
	d := queue()
	server.consume("1", d, "auto")
	c.Publish(d, "question", "reply-to:/temp-queue/mine", "correlation-id:7")
	to := server.Expect(frame.Message, "correlation-id:7").Header.Get("reply-to")
	if to == "" || strings.Contains(to, "mine") {
		t.Errorf("reply-to %q", to)
	}
	server.Publish(to, "answer", "correlation-id:7")
	if f := c.Expect(frame.Message, "subscription:/temp-queue/mine", "correlation-id:7"); string(f.Body) != "answer" {
		t.Errorf("got %s", Show(f))
	}
	leave(c)
	server.Publish(to, "too late")
	server.ExpectNothing()
}

func checkDestinationsRefused(t *testing.T, dial Dialer) {
	for _, raw := range []string{
		"SEND\ndestination:/topic/\n\nx\x00",
		"SEND\ndestination:/topic/*\n\nx\x00",
		"SEND\ndestination:/topic/a/**\n\nx\x00",
		"SEND\ndestination:/user/nobody\n\nx\x00",
		"SEND\ndestination:/temp-queue/a\n\nx\x00",
		"SEND\ndestination:/topic/" + strings.Repeat("x", 1000) + "\n\nx\x00",
		"SUBSCRIBE\nid:1\ndestination:/topic/**/a\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/temp-queue/a\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/queue/\n\n\x00",
	} {
		t.Run(raw[:min(len(raw), 40)], func(t *testing.T) {
			c := connected(t, dial)
			c.Raw(raw)
			_, _ = c.ExpectError("")
		})
	}
}
