package stomp

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// clocked is a transport that notes how long each message took to come to it.
type clocked struct {
	discard
	latencies *latencies
}

type latencies struct {
	mu   sync.Mutex
	sent time.Time // of the message under way
	all  []time.Duration
	left sync.WaitGroup
}

func (c clocked) Write(batch []*Message) error {
	now := time.Now()
	for _, m := range batch {
		if m.Data[0] == 'M' {
			c.latencies.mu.Lock()
			c.latencies.all = append(c.latencies.all, now.Sub(c.latencies.sent))
			c.latencies.mu.Unlock()
			c.latencies.left.Done()
		}
	}
	return nil
}

// latency is the 99th percentile of what a message takes to those who read, of
// 1,000 receivers.
func latency(b *testing.B, stalled int) time.Duration {
	const receivers, messages = 1000, 200
	br := NewBroker(Config{})
	e := br.Endpoint("/", DefaultPolicy())
	sender := open(b, e, discard{})
	l := new(latencies)
	released := make(chan struct{})
	defer close(released)
	for i := range receivers {
		var tr Transport = clocked{latencies: l}
		if i < stalled {
			tr = &stalls{stuck{released: released}, 2} // CONNECTED, RECEIPT
		}
		say(b, open(b, e, tr), "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00")
	}
	for range messages {
		l.left.Add(receivers - stalled)
		l.mu.Lock()
		l.sent = time.Now()
		l.mu.Unlock()
		say(b, sender, "SEND\ndestination:/topic/a\n\n%0200d\x00", 0)
		l.left.Wait()
	}
	if ended := br.Stats().Ends[ReasonSlowConsumer]; ended != 0 {
		b.Fatalf("%d receivers were ended: they are to stay, stalled", ended)
	}
	slices.Sort(l.all)
	return l.all[len(l.all)*99/100]
}

// stalls is stuck after the first messages.
type stalls struct {
	stuck
	after int
}

func (s *stalls) Write(batch []*Message) error {
	if s.after > 0 {
		s.after -= len(batch)
		return nil
	}
	return s.stuck.Write(batch)
}

// 1,000 receivers of which 10 % do not read: what the others see of it, as the
// ratio of the 99th percentiles of latency. The runs take turns, so that
// whatever else the machine does strikes both.
func BenchmarkStalledReaders(b *testing.B) {
	var with, without []time.Duration
	for b.Loop() {
		for range 5 {
			without = append(without, latency(b, 0))
			with = append(with, latency(b, 100))
		}
	}
	median := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] }
	b.ReportMetric(float64(median(without).Microseconds()), "p99-µs-all-reading")
	b.ReportMetric(float64(median(with).Microseconds()), "p99-µs-10%-stalled")
	b.ReportMetric(float64(median(with))/float64(median(without)), "ratio")
}
