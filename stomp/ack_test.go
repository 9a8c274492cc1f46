package stomp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// STOMP 1.2, "SUBSCRIBE ack Header": what is left to others when the second of
// three messages was acknowledged and the consumer goes.
func TestAckModes(t *testing.T) {
	for _, tt := range []struct {
		version, ack string
		left         []string
	}{
		{"1.0", "", nil},
		{"1.0", "auto", nil},
		{"1.0", "client", []string{"3"}},
		{"1.1", "auto", nil},
		{"1.1", "client", []string{"3"}},
		{"1.1", "client-individual", []string{"1", "3"}},
		{"1.2", "", nil},
		{"1.2", "auto", nil},
		{"1.2", "client", []string{"3"}},
		{"1.2", "client-individual", []string{"1", "3"}},
	} {
		t.Run(tt.version+" "+tt.ack, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				sender := w.client(t)
				c := w.client(t, "accept-version:"+tt.version)
				header := []string{"id:1", "destination:/queue/a", "receipt:r"}
				if tt.ack != "" {
					header = append(header, "ack:"+tt.ack)
				}
				c.Send(frame.Subscribe, "", header...)
				c.Expect(frame.Receipt)
				for _, b := range []string{"1", "2", "3"} {
					sender.Publish("/queue/a", b)
				}
				got := expectBodies(t, c, "1", "2", "3")
				for _, f := range got {
					_, ok := f.Header.Lookup(frame.HdrAck)
					if want := tt.version == "1.2" && tt.ack != "" && tt.ack != "auto"; ok != want {
						t.Errorf("ack header: %v in %s", ok, stomptest.Show(f))
					}
				}
				if tt.ack != "" && tt.ack != "auto" {
					settle(c, frame.Ack, got[1], "receipt:acked")
					c.Expect(frame.Receipt, "receipt-id:acked")
				}
				c.Send(frame.Disconnect, "")
				c.ExpectClose(1000)
				expectLeft(t, w, tt.left...)
			})
		})
	}
}

// expectLeft drains /queue/a, of which all was delivered before.
func expectLeft(t *testing.T, w *world, bodies ...string) {
	t.Helper()
	c := w.client(t)
	consume2(c, "1", "/queue/a")
	synctest.Wait()
	var got []string
	for _, f := range c.Sync() {
		if f.Command != frame.Message {
			continue
		}
		got = append(got, string(f.Body))
		if f.Header.Get("redelivered") != "true" {
			t.Errorf("not marked as redelivered: %s", stomptest.Show(f))
		}
	}
	if !slices.Equal(got, bodies) {
		t.Errorf("left were %q, want %q", got, bodies)
	}
}

// STOMP 1.2, "NACK": what was not wanted is given to somebody, before what
// came later.
func TestNack(t *testing.T) {
	for _, tt := range []struct {
		version, ack string
		again        []string // to the other consumer, of five of which the third is refused
	}{
		{"1.1", "client", []string{"1", "2", "3"}},
		{"1.2", "client", []string{"1", "2", "3"}},
		{"1.1", "client-individual", []string{"3"}},
		{"1.2", "client-individual", []string{"3"}},
	} {
		t.Run(tt.version+" "+tt.ack, func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 5}}, func(t *testing.T, w *world) {
				sender := w.client(t)
				c := w.client(t, "accept-version:"+tt.version)
				consume(c, "1", "/queue/a", tt.ack)
				for i := range 7 {
					sender.Publish("/queue/a", fmt.Sprint(i+1))
				}
				got := expectBodies(t, c, "1", "2", "3", "4", "5") // the limit
				sender.ExpectNothing()
				c.ExpectNothing()
				settle(c, frame.Nack, got[2], "receipt:no")
				// the same one gets them again: there is nobody else
				for _, f := range expectBodies(t, c, tt.again...) {
					if f.Header.Get("redelivered") != "true" {
						t.Errorf("not marked as redelivered: %s", stomptest.Show(f))
					}
					if slices.ContainsFunc(got, func(old *frame.Frame) bool {
						return old.Header.Get(frame.HdrMessageID) == f.Header.Get(frame.HdrMessageID)
					}) {
						t.Errorf("a message-id is used again: %s", stomptest.Show(f))
					}
				}
				c.Expect(frame.Receipt, "receipt-id:no")
				c.ExpectNothing()
				c.Abort()
				w.observer.ExpectEnd(t, stomp.ReasonConnectionLost)
				reader := w.client(t)
				consume2(reader, "1", "/queue/a")
				expectBodies(t, reader, "1", "2", "3", "4", "5", "6", "7")
			})
		})
	}
}

// Whatever way a consumer goes, what it has not acknowledged is given to
// others, in the order sent, before what is new.
func TestConsumerGoes(t *testing.T) {
	ways := map[string]func(*stomptest.Client){
		"UNSUBSCRIBE": func(c *stomptest.Client) { c.Send(frame.Unsubscribe, "", "id:1") },
		"DISCONNECT":  func(c *stomptest.Client) { c.Send(frame.Disconnect, "") },
		"close":       func(c *stomptest.Client) { c.Close(1001) },
		"abort":       func(c *stomptest.Client) { c.Abort() },
		"ERROR":       func(c *stomptest.Client) { c.Raw("NONSENSE\n\n\x00") },
	}
	for name, leave := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 3}}, func(t *testing.T, w *world) {
				sender, c := w.client(t), w.client(t)
				consume(c, "1", "/queue/a", "client-individual")
				for i := range 5 {
					sender.Publish("/queue/a", fmt.Sprint(i+1))
				}
				settle(c, frame.Ack, expectBodies(t, c, "1", "2", "3")[1])
				expectBodies(t, c, "4")
				synctest.Wait()
				leave(c)
				synctest.Wait()
				reader := w.client(t)
				consume2(reader, "1", "/queue/a")
				for _, f := range expectBodies(t, reader, "1", "3", "4", "5") {
					if got, want := f.Header.Get("redelivered") == "true", string(f.Body) != "5"; got != want {
						t.Errorf("redelivered is %v: %s", got, stomptest.Show(f))
					}
				}
				reader.Expect(frame.Receipt)
				reader.ExpectNothing()
			})
		})
	}
}

// A queue gives no more to a consumer that owes too many acknowledgements; a
// topic, which cannot hold anything back, ends its subscriber.
func TestUnacknowledged(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 2}}, func(t *testing.T, w *world) {
		sender, c, other := w.client(t), w.client(t), w.client(t)
		consume(c, "1", "/queue/a", "client-individual")
		for i := range 4 {
			sender.Publish("/queue/a", fmt.Sprint(i+1))
		}
		first := expectBodies(t, c, "1", "2")
		sender.ExpectNothing()
		c.ExpectNothing()
		settle(c, frame.Ack, first[1])
		expectBodies(t, c, "3")
		c.ExpectNothing()
		consume2(other, "1", "/queue/a")
		expectBodies(t, other, "4")

		consume(c, "2", "/topic/a", "client")
		for range 2 {
			sender.Publish("/topic/a", "x")
		}
		expectBodies(t, c, "x", "x")
		sender.Publish("/topic/a", "x")
		c.ExpectError("unacknowledged 2")
		w.observer.ExpectEnd(t, stomp.ReasonPolicy)
		sender.ExpectNothing()
	})
}

// A topic's messages can be acknowledged too: cumulatively or one by one.
func TestAckOfTopics(t *testing.T) {
	for _, version := range versions {
		for _, mode := range []string{"client", "client-individual"} {
			if version == "1.0" && mode != "client" {
				continue
			}
			t.Run(version+" "+mode, func(t *testing.T) {
				bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 3}}, func(t *testing.T, w *world) {
					c := w.client(t, "accept-version:"+version)
					for _, d := range []string{"/topic/a", "/topic/w/*", "/user/queue/a"} {
						consume(c, d, d, mode)
					}
					user := "/user/" + w.Sessions()[0].ID() + "/queue/a"
					for _, d := range []string{"/topic/a", "/topic/w/x", user, user + "!"} {
						if d == user+"!" { // the same, to one session
							d = "/user/" + w.Sessions()[0].ID() + ";session=" + w.Sessions()[0].ID() + "/queue/a"
						}
						for range 5 { // more than the limit in the end
							for range 3 {
								c.Publish(d, "x")
							}
							got := expectBodies(t, c, "x", "x", "x")
							if mode == "client" {
								got = got[2:]
							}
							for _, f := range got {
								settle(c, frame.Ack, f)
							}
							c.ExpectNothing()
						}
					}
				})
			})
		}
	}
}

// STOMP 1.0, 1.1 and 1.2, "ACK" and "NACK": what is not an acknowledgement of
// a message that waits for one is an error.
func TestAckRefused(t *testing.T) {
	for _, tt := range []struct {
		name, version, mode string
		raw                 string // %a ack or message-id of the message
		about               string
	}{
		{"no id", "1.2", "client", "ACK\nmessage-id:%a\nsubscription:1\n\n\x00", "id is missing"},
		{"no message-id", "1.1", "client", "ACK\nsubscription:1\n\n\x00", "message-id is missing"},
		{"no message-id in 1.0", "1.0", "client", "ACK\nsubscription:1\n\n\x00", "message-id is missing"},
		{"no subscription", "1.1", "client", "ACK\nmessage-id:%a\n\n\x00", "subscription is missing"},
		{"NACK without subscription", "1.1", "client", "NACK\nmessage-id:%a\n\n\x00", "subscription is missing"},
		{"NACK in 1.0", "1.0", "client", "NACK\nmessage-id:%a\n\n\x00", "1.0"},
		{"other subscription", "1.1", "client", "ACK\nmessage-id:%a\nsubscription:2\n\n\x00", "no message"},
		{"unknown message", "1.2", "client", "ACK\nid:zzzzzz\n\n\x00", "no message"},
		{"no message's id", "1.2", "client", "ACK\nid:-/-\n\n\x00", "-/-"},
		{"unknown message, NACK", "1.2", "client", "NACK\nid:zzzzzz\n\n\x00", "no message"},
		{"twice", "1.2", "client-individual", "ACK\nid:%a\n\n\x00ACK\nid:%a\n\n\x00", "no message"},
		{"NACK after ACK", "1.2", "client", "ACK\nid:%a\n\n\x00NACK\nid:%a\n\n\x00", "no message"},
		{"after UNSUBSCRIBE", "1.2", "client", "UNSUBSCRIBE\nid:1\n\n\x00ACK\nid:%a\n\n\x00", "no message"},
		{"auto", "1.2", "auto", "ACK\nid:%m\n\n\x00", "no message"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t, "accept-version:"+tt.version)
				consume(c, "1", "/topic/a", tt.mode)
				c.Publish("/topic/a", "x")
				c.Raw(withMessageID(tt.raw, expectBodies(t, c, "x")[0]))
				c.ExpectError(tt.about)
				w.observer.ExpectEnd(t, stomp.ReasonProtocolError)
			})
		})
	}
}

func withMessageID(raw string, f *frame.Frame) string {
	id := f.Header.Get(frame.HdrMessageID)
	ack := f.Header.Get(frame.HdrAck)
	if ack == "" {
		ack = id
	}
	return strings.NewReplacer("%a", ack, "%m", id).Replace(raw)
}

// Nobody can acknowledge what was given to somebody else.
func TestAckOfOthers(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, thief := w.client(t), w.client(t)
		consume(c, "1", "/queue/a", "client")
		consume(thief, "1", "/queue/b", "client")
		c.Publish("/queue/a", "x")
		settle(thief, frame.Ack, expectBodies(t, c, "x")[0])
		thief.ExpectError("no message")
		c.Send(frame.Disconnect, "")
		c.ExpectClose(1000)
		expectLeft(t, w, "x")
	})
}

// STOMP 1.2, "SUBSCRIBE ack Header": three values.
func TestAckModesRefused(t *testing.T) {
	for _, tt := range []struct{ version, ack string }{
		{"1.0", "client-individual"}, // came with 1.1
		{"1.1", "Client"}, {"1.2", "never"}, {"1.2", "client_individual"},
	} {
		t.Run(tt.version+" "+tt.ack, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t, "accept-version:"+tt.version)
				c.Send(frame.Subscribe, "", "id:1", "destination:/topic/a", "ack:"+tt.ack)
				c.ExpectError("ack")
			})
		})
	}
}

// ACK of 1.0 has no subscription; if there is one, it counts.
func TestAckOf10(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t, "accept-version:1.0")
		c.Send(frame.Subscribe, "", "destination:/queue/a", "ack:client", "receipt:s")
		c.Expect(frame.Receipt)
		for _, b := range []string{"1", "2"} {
			c.Publish("/queue/a", b)
		}
		got := expectBodies(t, c, "1", "2")
		for _, f := range got {
			if _, ok := f.Header.Lookup(frame.HdrSubscription); ok {
				t.Errorf("subscription without an id: %s", stomptest.Show(f))
			}
			c.Send(frame.Ack, "", "message-id:"+f.Header.Get(frame.HdrMessageID))
		}
		c.ExpectNothing()
		c.Send(frame.Unsubscribe, "", "destination:/queue/a")
		c.ExpectNothing()
		expectLeft(t, w)
	})
}
