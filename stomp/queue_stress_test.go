package stomp_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// Consumers of all kinds come, refuse and go while others send: in the end
// each message was consumed once. What somebody may have had before says so,
// and what nobody had comes to each subscription in the order of its sender.
func TestQueueLosesNothing(t *testing.T) {
	const senders, each, consumers = 4, 150, 6
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: stomp.Limits{Unacknowledged: 8, Pending: 4000}}, func(t *testing.T, w *world) {
				w.SetQueues(stomp.QueueConfig{Backlog: senders * each})
				l := &consumed{t: t, times: make(map[string]int), left: senders * each, done: make(chan struct{})}
				var all sync.WaitGroup
				for i := range senders {
					c := w.client(t)
					all.Go(func() {
						for n := range each {
							c.Publish("/queue/a", fmt.Sprintf("%d-%d", i, n))
						}
						c.Sync()
					})
				}
				for i := range consumers {
					r := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // repeatable
					all.Go(func() {
						for !l.finished() {
							l.consume(w, r)
						}
					})
				}
				all.Wait()
				synctest.Wait()
				for body, n := range l.times {
					if n != 1 {
						t.Errorf("%s was consumed %d times", body, n)
					}
				}
				if queues, bytes := stomp.QueuesHeld(w.Broker); queues != 0 || bytes != 0 {
					t.Errorf("%d queues and %d bytes are left", queues, bytes)
				}
			})
		})
	}
}

// consumed is what was consumed so far.
type consumed struct {
	t     *testing.T
	mu    sync.Mutex
	times map[string]int
	fresh map[string]bool
	left  int
	done  chan struct{}
}

func (l *consumed) finished() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *consumed) add(f *frame.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times[string(f.Body)]++
	if l.left--; l.left == 0 {
		close(l.done)
	}
}

// consume is a consumer that comes, takes some messages and goes.
func (l *consumed) consume(w *world, r *rand.Rand) {
	c := w.client(l.t, "accept-version:"+versions[1+r.IntN(2)])
	mode := []string{"auto", "client", "client-individual"}[r.IntN(3)]
	c.Send(frame.Subscribe, "", "id:1", "destination:/queue/a", "ack:"+mode)
	last := make(map[string]int) // by sender
	var owed []*frame.Frame
	for range r.IntN(5) {
		for _, f := range c.Sync() {
			l.inOrder(f, last)
			if mode == "auto" {
				l.add(f)
			} else {
				owed = append(owed, f)
			}
		}
		owed = l.settle(c, r, mode, owed)
	}
	switch {
	case mode == "auto": // what it is given it has consumed, so that it listens to the end
		c.Send(frame.Unsubscribe, "", "id:1")
		for _, f := range c.Sync() {
			l.inOrder(f, last)
			l.add(f)
		}
	case r.IntN(3) == 0:
		c.Send(frame.Unsubscribe, "", "id:1")
		c.Sync()
	case r.IntN(2) == 0:
		c.Abort()
		return
	}
	c.Send(frame.Disconnect, "")
}

// settle acknowledges or refuses some of what is owed, and returns the rest.
func (l *consumed) settle(c *stomptest.Client, r *rand.Rand, mode string, owed []*frame.Frame) []*frame.Frame {
	if len(owed) == 0 {
		return nil
	}
	i := r.IntN(len(owed))
	settled := owed[i : i+1]
	if mode == "client" {
		settled = owed[:i+1]
	}
	command := frame.Ack
	if r.IntN(3) == 0 {
		command = frame.Nack
	}
	settle(c, command, owed[i], "receipt:settled")
	var more []*frame.Frame
	for f := c.Receive(); f.Command != frame.Receipt; f = c.Receive() {
		more = append(more, f)
	}
	if command == frame.Ack {
		for _, f := range settled {
			l.add(f)
		}
	}
	var rest []*frame.Frame
	if mode != "client" {
		rest = append(rest, owed[:i]...)
	}
	return append(append(rest, owed[i+1:]...), more...)
}

func (l *consumed) inOrder(f *frame.Frame, last map[string]int) {
	if f.Header.Get("redelivered") == "true" {
		return
	}
	var sender, n int
	_, _ = fmt.Sscanf(string(f.Body), "%d-%d", &sender, &n)
	key := fmt.Sprint(sender)
	if before, ok := last[key]; ok && n < before {
		l.t.Errorf("%s came after %s-%d", f.Body, key, before)
	}
	last[key] = n
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fresh == nil {
		l.fresh = make(map[string]bool)
	}
	if l.fresh[string(f.Body)] {
		l.t.Errorf("%s came twice and does not say so", f.Body)
	}
	l.fresh[string(f.Body)] = true
}
