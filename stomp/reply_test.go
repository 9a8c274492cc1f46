package stomp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// Request and reply, as RabbitMQ does it: the request has a temp-queue in
// reply-to, the reply comes without a SUBSCRIBE, as of a subscription with
// that name.
func TestReply(t *testing.T) {
	for _, request := range []string{"/queue/rpc", "/topic/rpc", "/user/server/queue/rpc"} {
		for _, version := range versions {
			t.Run(request+" "+version, func(t *testing.T) {
				bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
					server := w.join(t, stomp.Handshake{User: "server"})
					for _, d := range []string{"/queue/rpc", "/topic/rpc", "/user/queue/rpc"} {
						server.Subscribe(d, d)
					}
					c := w.client(t, "accept-version:"+version)
					for i := range 3 { // the same name is the same queue
						c.Publish(request, "question", "reply-to:/temp-queue/answers", fmt.Sprintf("correlation-id:%d", i))
						f := server.Expect(frame.Message, fmt.Sprintf("correlation-id:%d", i))
						to := f.Header.Get("reply-to")
						if !strings.HasPrefix(to, "/reply-queue/") || len(to) < len("/reply-queue/")+22 || strings.Contains(to, "answers") {
							t.Fatalf("reply-to %q", to)
						}
						server.Publish(to, "answer", fmt.Sprintf("correlation-id:%d", i))
						c.Expect(frame.Message, "subscription:/temp-queue/answers", "destination:"+to, fmt.Sprintf("correlation-id:%d", i))
					}
					if n := stomp.Replies(w.Broker); n != 1 {
						t.Errorf("%d reply queues", n)
					}
					c.ExpectNothing()
				})
			})
		}
	}
}

// Equal names of two sessions are two queues; neither can be guessed.
func TestReplyQueuesArePrivate(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		server, a, b := w.client(t), w.client(t), w.client(t)
		server.Subscribe("1", "/topic/rpc")
		seen := make(map[string]*stomptest.Client)
		for _, c := range []*stomptest.Client{a, b} {
			for _, name := range []string{"x", "y"} {
				c.Publish("/topic/rpc", "?", "reply-to:/temp-queue/"+name)
				seen[server.Expect(frame.Message).Header.Get("reply-to")] = c
			}
		}
		if len(seen) != 4 {
			t.Fatalf("%d reply queues, want 4", len(seen))
		}
		for to, c := range seen {
			server.Publish(to, to)
			c.Expect(frame.Message, "destination:"+to)
		}
		a.ExpectNothing()
		b.ExpectNothing()
	})
}

// A temp-queue goes with its session; what is replied then is dropped and
// counted, and is not the replier's fault.
func TestReplyTooLate(t *testing.T) {
	for _, way := range []string{"DISCONNECT", "close", "abort"} {
		t.Run(way, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				server, c := w.client(t), w.client(t)
				server.Subscribe("1", "/topic/rpc")
				c.Publish("/topic/rpc", "?", "reply-to:/temp-queue/x")
				to := server.Expect(frame.Message).Header.Get("reply-to")
				switch way {
				case "DISCONNECT":
					c.Send(frame.Disconnect, "")
				case "close":
					c.Close(1000)
				default:
					c.Abort()
				}
				w.observer.NextEnd(t)
				if n := stomp.Replies(w.Broker); n != 0 {
					t.Errorf("%d reply queues are left", n)
				}
				before := w.Stats().Dropped
				server.Publish(to, "too late", "receipt:1")
				server.Expect(frame.Receipt, "receipt-id:1")
				server.Publish("/reply-queue/never-was", "x")
				server.ExpectNothing()
				if dropped := w.Stats().Dropped - before; dropped != 2 {
					t.Errorf("%d counted as dropped", dropped)
				}
			})
		})
	}
}

// Nobody reads a reply queue by SUBSCRIBE, nor sends to a temp-queue by the
// name that its session calls it.
func TestReplyQueuesRefused(t *testing.T) {
	for _, raw := range []string{
		"SUBSCRIBE\nid:1\ndestination:/temp-queue/x\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/reply-queue/x\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/reply-queue/*\n\n\x00",
		"SEND\ndestination:/temp-queue/x\n\nx\x00",
	} {
		t.Run(raw, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t)
				c.Raw(raw)
				c.ExpectError("-queue/")
			})
		})
	}
}

// A reply-to that is no temp-queue is the client's business.
func TestReplyToElsewhere(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		c.Subscribe("1", "/topic/a")
		for _, to := range []string{"/topic/answers", "/queue/answers", "anything", "", "/temp-queue/"} {
			c.Publish("/topic/a", "?", "reply-to:"+to)
			c.Expect(frame.Message, "reply-to:"+to)
		}
	})
}

// Whoever makes up temp-queues reaches a limit.
func TestReplyLimit(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Subscriptions: 3}}, func(t *testing.T, w *world) {
		c := w.client(t)
		for i := range 3 {
			c.Publish("/topic/a", "?", fmt.Sprintf("reply-to:/temp-queue/%d", i))
		}
		c.ExpectNothing()
		c.Publish("/topic/a", "?", "reply-to:/temp-queue/one-more")
		c.ExpectError("limit exceeded: subscriptions 3")
	})
}
