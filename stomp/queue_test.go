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

// Each message goes to one consumer, and each consumer gets as many.
func TestQueueIsFair(t *testing.T) {
	for _, consumers := range []int{1, 2, 3, 7} {
		t.Run(fmt.Sprint(consumers), func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				sender := w.client(t)
				all := make([]*stomptest.Client, consumers)
				for i := range all {
					all[i] = w.client(t)
					consume(all[i], "1", "/queue/a", "auto")
				}
				const each = 10
				for i := range each * consumers {
					sender.Publish("/queue/a", fmt.Sprint(i))
				}
				var seen []string
				for i, c := range all {
					got := bodiesOf(t, c)
					if len(got) != each {
						t.Errorf("consumer %d got %d of %d messages", i, len(got), each*consumers)
					}
					seen = append(seen, got...)
				}
				slices.Sort(seen)
				if n := len(slices.Compact(seen)); n != each*consumers {
					t.Errorf("%d of %d messages reached anybody", n, each*consumers)
				}
			})
		})
	}
}

// Two subscriptions of one session are two consumers.
func TestQueueTwoSubscriptionsOfASession(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		consume(c, "1", "/queue/a", "auto")
		consume(c, "2", "/queue/a", "auto")
		for range 4 {
			c.Publish("/queue/a", "x")
		}
		got := make(map[string]int)
		for _, f := range c.Sync() {
			got[f.Header.Get(frame.HdrSubscription)]++
		}
		if got["1"] != 2 || got["2"] != 2 {
			t.Errorf("messages by subscription %v", got)
		}
	})
}

// What is sent while nobody consumes is held, in order, for one consumer.
func TestQueueHolds(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		sender := w.client(t)
		for i := range 5 {
			sender.Publish("/queue/a", fmt.Sprint(i), fmt.Sprintf("n:%d", i))
		}
		sender.ExpectNothing()
		first := w.client(t)
		consume2(first, "1", "/queue/a")
		for i, f := range expectBodies(t, first, "0", "1", "2", "3", "4") {
			if f.Header.Get("n") != fmt.Sprint(i) || f.Header.Get(frame.HdrDestination) != "/queue/a" {
				t.Errorf("message %d: %s", i, stomptest.Show(f))
			}
			if _, ok := f.Header.Lookup("redelivered"); ok {
				t.Errorf("message %d was not delivered before: %s", i, stomptest.Show(f))
			}
		}
		second := w.client(t)
		consume(second, "1", "/queue/a", "auto")
		second.ExpectNothing()
		first.Expect(frame.Receipt)
		first.ExpectNothing()
	})
}

// consume2 subscribes to a queue that has a backlog, which may come before the
// RECEIPT.
func consume2(c *stomptest.Client, id, destination string) {
	c.Send(frame.Subscribe, "", "id:"+id, "destination:"+destination, "receipt:r")
}

// The sender's own headers never make a first delivery look like another.
func TestQueueRedeliveredIsTheServers(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		consume(c, "1", "/queue/a", "auto")
		c.Publish("/queue/a", "x", "redelivered:true")
		if f := expectBodies(t, c, "x")[0]; f.Header.Get("redelivered") != "" {
			t.Errorf("spoofed: %s", stomptest.Show(f))
		}
	})
}

// What the queue keeps does not share memory with what the transport reads
// next (the pipe clears its buffers).
func TestQueueKeepsItsOwnCopy(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		sender, reader := w.client(t), w.client(t)
		for range 3 {
			sender.Publish("/queue/a", body(1000), "x:"+body(100))
		}
		sender.ExpectNothing()
		consume2(reader, "1", "/queue/a")
		for _, f := range expectBodies(t, reader, body(1000), body(1000), body(1000)) {
			if f.Header.Get("x") != body(100) {
				t.Errorf("header changed: %s", stomptest.Show(f))
			}
		}
	})
}

// The backlog is bounded by count, by bytes and by the bytes of all queues;
// beyond, the oldest is dropped and counted, or the SEND is refused.
func TestQueueBacklogBounds(t *testing.T) {
	const size = 1000 // of a body; some hundred bytes more are counted for each
	for _, tt := range []struct {
		name   string
		config stomp.QueueConfig
		other  int // messages in another queue
		kept   int // of 10
		limit  string
	}{
		{"count", stomp.QueueConfig{Backlog: 3}, 5, 3, "backlog"},
		{"bytes", stomp.QueueConfig{BacklogBytes: 4 * 1300}, 2, 4, "backlog_bytes"},
		{"total", stomp.QueueConfig{TotalBytes: 6 * 1300}, 2, 4, "total_bytes"},
	} {
		t.Run("drop "+tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				w.SetQueues(tt.config)
				sender := w.client(t)
				for range min(tt.other, tt.kept) {
					sender.Publish("/queue/other", body(size))
				}
				sender.ExpectNothing()
				before := w.Stats().Dropped
				var kept []string
				for i := range 10 {
					text := fmt.Sprintf("%d%s", i, body(size))
					sender.Publish("/queue/a", text)
					if i >= 10-tt.kept {
						kept = append(kept, text)
					}
				}
				sender.ExpectNothing()
				if dropped := w.Stats().Dropped - before; dropped != uint64(10-tt.kept) {
					t.Errorf("%d counted as dropped, want %d", dropped, 10-tt.kept)
				}
				reader := w.client(t)
				consume2(reader, "1", "/queue/a")
				expectBodies(t, reader, kept...)
				reader.Expect(frame.Receipt)
				reader.ExpectNothing()
			})
		})
		t.Run("refuse "+tt.name, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				tt.config.Refuse = true
				w.SetQueues(tt.config)
				sender := w.client(t)
				for range min(tt.other, tt.kept) {
					sender.Publish("/queue/other", body(size))
				}
				for range tt.kept {
					sender.Publish("/queue/a", body(size))
				}
				sender.ExpectNothing()
				before := w.Stats().Dropped
				sender.Publish("/queue/a", body(size), "receipt:77")
				f, closing := sender.ExpectError("limit exceeded: ")
				if !strings.Contains(f.Header.Get(frame.HdrMessage), ": "+tt.limit+" ") || closing.Code != 1008 || f.Header.Get(frame.HdrReceiptID) != "77" {
					t.Errorf("%v after %s, want the limit %s named", closing, stomptest.Show(f), tt.limit)
				}
				if w.Stats().Dropped != before {
					t.Error("something was dropped")
				}
				reader := w.client(t)
				consume2(reader, "1", "/queue/a")
				for range tt.kept {
					expectBodies(t, reader, body(size))
				}
			})
		})
	}
}

// A message that no backlog can hold is refused; those that are held stay.
func TestQueueMessageLargerThanTheBacklog(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refuse ", refuse), func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				w.SetQueues(stomp.QueueConfig{BacklogBytes: 5000, Refuse: refuse})
				sender := w.client(t)
				sender.Publish("/queue/a", "1")
				sender.Publish("/queue/a", "2")
				sender.Publish("/queue/a", body(6000))
				sender.ExpectError("backlog_bytes")
				reader := w.client(t)
				consume2(reader, "1", "/queue/a")
				wantBodiesAndReceipt(t, reader, "1", "2")
			})
		})
	}
}

func wantBodiesAndReceipt(t *testing.T, c *stomptest.Client, want ...string) {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, f := range c.Sync() {
		if f.Command == frame.Message {
			got = append(got, string(f.Body))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A consumer whose outbox is half full is not given more until it drained; who
// reads gets it meanwhile. Nobody becomes a slow consumer by a queue.
func TestQueueAtTheReadersPace(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 10_000}}, func(t *testing.T, w *world) {
		sender := w.client(t)
		slow, pipe, _ := w.connect(t)
		consume(slow, "1", "/queue/a", "auto")
		synctest.Wait()
		pipe.Freeze()
		const n = 100
		for i := range n {
			sender.Publish("/queue/a", fmt.Sprintf("%03d%s", i, body(1000)))
		}
		sender.ExpectNothing()
		fast := w.client(t)
		consume2(fast, "1", "/queue/a")
		taken := 0
		synctest.Wait()
		for _, f := range fast.Sync() {
			if f.Command == frame.Message {
				taken++
			}
		}
		if taken < n-10 || taken == n {
			t.Errorf("who reads got %d of %d", taken, n)
		}
		fast.Send(frame.Disconnect, "")
		fast.ExpectClose(1000)
		for i := range n {
			sender.Publish("/queue/a", fmt.Sprintf("%03d%s", n+i, body(1000)))
		}
		sender.ExpectNothing()
		pipe.Thaw()
		got := bodiesOf(t, slow)
		if len(got) != 2*n-taken {
			t.Errorf("who thawed got %d, want %d", len(got), 2*n-taken)
		}
		if !slices.IsSorted(got) {
			t.Error("not in order")
		}
		if w.Stats().Dropped != 0 {
			t.Errorf("%d dropped", w.Stats().Dropped)
		}
	})
}

// A large message behind a small one that is still being written waits for
// room; it does not make its healthy consumer a slow one.
func TestQueueLargeBehindSmall(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 20_000}}, func(t *testing.T, w *world) {
		sender := w.client(t)
		reader, pipe, _ := w.connect(t)
		consume(reader, "1", "/queue/a", "client")
		synctest.Wait()
		pipe.Freeze()
		sender.Publish("/queue/a", body(5000))
		sender.Publish("/queue/a", body(18_000))
		sender.ExpectNothing()
		synctest.Wait()
		pipe.Thaw()
		wantBodies(t, "the consumer", reader, body(5000), body(18_000))
	})
}

// A queue with neither messages nor consumers is not kept.
func TestQueueGoesWhenItIsEmpty(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		for i := range 100 {
			d := fmt.Sprintf("/queue/%d", i)
			c.Publish(d, "x")
			consume2(c, "1", d)
			expectBodies(t, c, "x")
			c.Expect(frame.Receipt)
			c.Send(frame.Unsubscribe, "", "id:1")
		}
		c.ExpectNothing()
		if queues, bytes := stomp.QueuesHeld(w.Broker); queues != 0 || bytes != 0 {
			t.Errorf("%d queues and %d bytes are left", queues, bytes)
		}
	})
}

// A consumer that cannot carry a message is no reason to lose it, nor to owe
// an acknowledgement for what it never saw.
func TestQueueBinaryForTextOnly(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 1}}, func(t *testing.T, w *world) {
		text := textOnly(t, w)
		consume(text, "1", "/queue/a", "client-individual")
		sender := w.client(t)
		sender.Publish("/queue/a", "\xff\xfe")
		sender.Publish("/queue/a", "text")
		wantBodies(t, "the text-only consumer", text, "text")
	})
}

// Attack: somebody fills queues that nobody reads until all together are full.
// Where the oldest is to be dropped, something is, and counted: nobody else's
// SEND is refused for it.
func TestQueueTotalFilledByOthers(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		w.SetQueues(stomp.QueueConfig{TotalBytes: 10_000})
		hostile, sender := w.client(t), w.client(t)
		for i := range 20 {
			hostile.Publish(fmt.Sprintf("/queue/junk/%d", i), body(1000))
			synctest.Wait()
		}
		sender.Publish("/queue/a", body(1500), "receipt:1")
		sender.Expect(frame.Receipt, "receipt-id:1")
		if w.Stats().Dropped == 0 {
			t.Error("nothing was counted as dropped")
		}
		if _, bytes := stomp.QueuesHeld(w.Broker); bytes > 10_000 {
			t.Errorf("%d bytes are held", bytes)
		}
	})
}

// What waits for the only consumer that can carry it is not overtaken, on the
// way to that consumer, by what came later.
func TestQueueOrderBesideTextOnly(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 20_000}}, func(t *testing.T, w *world) {
		sender := w.client(t)
		c, pipe, _ := w.connect(t)
		consume(c, "1", "/queue/a", "auto")
		synctest.Wait()
		pipe.Freeze()
		sender.Publish("/queue/a", "0"+body(5000))
		sender.ExpectNothing()
		consume(textOnly(t, w), "1", "/queue/a", "auto")
		sender.Publish("/queue/a", "1"+strings.Repeat("\xff", 18_000)) // no room for it yet
		for i := range 6 {
			sender.Publish("/queue/a", fmt.Sprintf("%d%s", i+2, body(500)))
		}
		sender.ExpectNothing()
		pipe.Thaw()
		if got := bodiesOf(t, c); !slices.IsSorted(got) || len(got) < 2 {
			t.Errorf("%d messages, the first %.1q, the second %.1q: not in order", len(got), got[0], got[min(1, len(got)-1)])
		}
	})
}
