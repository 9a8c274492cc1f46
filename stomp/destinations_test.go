package stomp_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// The prefixes are the operator's to choose.
func TestDestinationPrefixes(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		d := stomp.Destinations{
			Topic: "/exchange/fanout/", Queue: "/amq/queue/", User: "/me/", TempQueue: "/temp/", ReplyQueue: "/reply/",
		}
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		w.SetDestinations(d)
		c := w.join(t, stomp.Handshake{User: "mina"})
		c.Subscribe("topic", "/exchange/fanout/*")
		c.Subscribe("queue", "/amq/queue/a")
		c.Subscribe("user", "/me/x")
		c.Publish("/exchange/fanout/a", "?", "reply-to:/temp/1")
		to := c.Expect(frame.Message, "subscription:topic", "destination:/exchange/fanout/a").Header.Get("reply-to")
		if !strings.HasPrefix(to, "/reply/") {
			t.Errorf("reply-to %q", to)
		}
		c.Publish(to, "!")
		c.Expect(frame.Message, "subscription:/temp/1")
		c.Publish("/amq/queue/a", "x")
		c.Expect(frame.Message, "subscription:queue")
		c.Publish("/me/mina/x", "x")
		c.Expect(frame.Message, "subscription:user", "destination:/me/x")
		c.Publish("/topic/a", "x") // is none any more
		f, _ := c.ExpectError("/topic/a")
		for _, prefix := range []string{"/exchange/fanout/", "/amq/queue/", "/me/"} {
			if !strings.Contains(f.Header.Get(frame.HdrMessage), prefix) {
				t.Errorf("%s is not named in %q", prefix, f.Header.Get(frame.HdrMessage))
			}
		}
	})
}

// What live subscriptions read does not change with the prefixes.
func TestDestinationPrefixesChange(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		for _, d := range []string{"/topic/a", "/topic/*/b", "/queue/a", "/user/queue/a"} {
			c.Subscribe(d, d)
		}
		d := stomp.DefaultDestinations()
		d.Topic, d.Queue = "/queue/", "/topic/" // the other way round
		w.SetDestinations(d)
		synctest.Wait()
		for _, d := range []string{"/topic/a", "/topic/*/b", "/queue/a", "/user/queue/a"} {
			c.Send(frame.Unsubscribe, "", "id:"+d, "receipt:"+d)
			c.Expect(frame.Receipt, "receipt-id:"+d)
		}
		if !stomp.NoPatterns(w.Broker) || w.Stats().Subscriptions != 0 {
			t.Error("something is left")
		}
	})
}

func TestDestinationPrefixesRefused(t *testing.T) {
	for _, tt := range []struct {
		change func(*stomp.Destinations)
		about  string
	}{
		{func(d *stomp.Destinations) { d.Topic = "" }, `""`},
		{func(d *stomp.Destinations) { d.Topic = "/" }, `"/"`},
		{func(d *stomp.Destinations) { d.Topic = "//" }, `"//"`},
		{func(d *stomp.Destinations) { d.Topic = "topic/" }, `"topic/"`},
		{func(d *stomp.Destinations) { d.Queue = "/queue" }, `"/queue"`},
		{func(d *stomp.Destinations) { d.Queue = "/*/" }, `"/*/"`},
		{func(d *stomp.Destinations) { d.Queue = "/topic/" }, "overlap"},
		{func(d *stomp.Destinations) { d.User = "/topic/user/" }, "overlap"},
		{func(d *stomp.Destinations) { d.TempQueue = "/queue/temp/" }, "overlap"},
		{func(d *stomp.Destinations) { d.ReplyQueue, d.TempQueue = "/r/", "/r/" }, "overlap"},
	} {
		d := stomp.DefaultDestinations()
		tt.change(&d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), tt.about) {
			t.Errorf("%+v: %v, want an error about %s", d, err, tt.about)
		}
	}
	if d := stomp.DefaultDestinations(); d.Validate() != nil {
		t.Error(d.Validate())
	}
}

// What is not a destination is an ERROR that says so, not silence.
func TestDestinationsRefused(t *testing.T) {
	long := "/topic/" + strings.Repeat("x", 249) // 256 bytes
	for _, tt := range []struct{ name, destination, about string }{
		{"missing", "", "destination is missing"},
		{"without a prefix", "a", "no such destination"},
		{"unknown prefix", "/other/a", "/other/a"},
		{"wrong case", "/Topic/a", "/Topic/a"},
		{"nothing but a prefix", "/topic/", "/topic/"},
		{"less than a prefix", "/topic", "/topic"},
		{"queue without a name", "/queue/", "/queue/"},
		{"root", "/", "no such destination"},
		{"over-long", long, "limit exceeded: destination 255"},
	} {
		for _, command := range []string{frame.Send, frame.Subscribe} {
			t.Run(command+" "+tt.name, func(t *testing.T) {
				bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
					c := w.client(t)
					header := []string{"id:1", "receipt:77"}
					if tt.destination != "" {
						header = append(header, "destination:"+tt.destination)
					}
					c.Send(command, "", header...)
					if f, _ := c.ExpectError(tt.about); f.Header.Get(frame.HdrReceiptID) != "77" {
						t.Error("no receipt-id")
					}
				})
			})
		}
	}
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		c.Subscribe("1", long[:255])
		c.Publish(long[:255], "x")
		expectBodies(t, c, "x")
	})
}
