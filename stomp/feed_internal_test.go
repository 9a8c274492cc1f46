package stomp

import (
	"runtime"
	"sync"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

type feedMount struct{ feed *Feed }

func (feedMount) Send(*Session, *frame.Frame) error { return nil }
func (m feedMount) Subscribe(*Session) (*Feed, *Snapshot, error) {
	return m.feed, nil, nil
}

// Keep bounds what is kept, in bytes; the last entry is always there.
func TestFeedKeep(t *testing.T) {
	f := NewFeed(FeedConfig{Keep: 1000})
	for i := range 100 {
		f.Append(uint64(i), make([]byte, 90))
		if f.bytes > 1000 || len(f.log) > 11 || f.log[len(f.log)-1].seq != uint64(i) {
			t.Fatalf("entry %d: %d bytes in %d entries are kept", i, f.bytes, len(f.log))
		}
	}
	f.Append(100, make([]byte, 5000))
	if len(f.log) != 1 || f.bytes != 5000 || f.first != 100 {
		t.Errorf("%d bytes in %d entries from %d are kept", f.bytes, len(f.log), f.first)
	}
	f.Append(101, make([]byte, 10))
	if len(f.log) != 1 || f.bytes != 10 || f.first != 101 {
		t.Errorf("%d bytes in %d entries from %d are kept", f.bytes, len(f.log), f.first)
	}
}

func TestFeedSince(t *testing.T) {
	f := NewFeed(FeedConfig{Keep: 1000})
	f.Append(1, make([]byte, 100))
	s := f.NewSnapshot([][]byte{make([]byte, 30), make([]byte, 20)})
	if s.Size() != 50 {
		t.Errorf("size %d", s.Size())
	}
	for i := range 10 {
		if n, ok := f.Since(s); n != uint64(100*i) || !ok {
			t.Errorf("%d bytes since, %v", n, ok)
		}
		f.Append(2, make([]byte, 100))
	}
	if n, ok := f.Since(s); n != 1000 || !ok {
		t.Errorf("%d bytes since, %v: all of it is still there", n, ok)
	}
	f.Append(3, make([]byte, 100))
	if _, ok := f.Since(s); ok {
		t.Error("the snapshot has a gap behind it")
	}
}

// A steady trickle of small entries into a full feed: what an Append costs
// must not depend on how much is kept.
func BenchmarkFeedAppendWhenFull(b *testing.B) {
	f := NewFeed(FeedConfig{})
	body := make([]byte, 200)
	for range (4 << 20) / len(body) {
		f.Append(1, body)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Append(1, body)
	}
}

// The same, as a bound: an entry is worth a few hundred bytes of garbage, not
// a copy of all that is kept.
func TestFeedAppendWhenFullIsCheap(t *testing.T) {
	f := NewFeed(FeedConfig{})
	body := make([]byte, 200)
	const n = 50_000 // more than twice what is kept
	for range n {
		f.Append(1, body)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f.Append(1, body)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 1024 {
		t.Errorf("an entry of 200 bytes costs %d bytes", each)
	}
}

// Feeds that share a budget keep no more together, whatever each may keep; those
// that keep most forget first.
func TestFeedBudget(t *testing.T) {
	b := NewFeedBudget(1000)
	feeds := make([]*Feed, 20)
	sum := func() (n int) {
		for _, f := range feeds {
			n += f.bytes
		}
		return n
	}
	for i := range feeds {
		feeds[i] = NewFeed(FeedConfig{Keep: 400, Budget: b})
	}
	for round := range 50 {
		for i, f := range feeds {
			f.Append(uint64(round), make([]byte, 90+i))
			if sum() > 1000 || sum() != b.Kept() {
				t.Fatalf("round %d, feed %d: %d bytes are kept, the budget says %d", round, i, sum(), b.Kept())
			}
		}
	}
	feeds[0].Append(50, make([]byte, 300))
	feeds[1].Append(50, make([]byte, 400))
	feeds[2].Append(50, make([]byte, 100))
	if feeds[2].bytes < 100 || feeds[1].bytes != 0 {
		t.Errorf("the largest keeps %d bytes, the last %d", feeds[1].bytes, feeds[2].bytes)
	}
	for _, f := range feeds {
		f.Forget(0)
		f.Forget(0)
	}
	if b.Kept() != 0 || len(b.feeds) != 0 {
		t.Errorf("%d bytes of %d feeds are left", b.Kept(), len(b.feeds))
	}
}

func TestFeedBudgetConcurrently(t *testing.T) {
	b := NewFeedBudget(10_000)
	feeds := make([]*Feed, 8)
	var all sync.WaitGroup
	for i := range feeds {
		f := NewFeed(FeedConfig{Keep: 4000, Budget: b})
		feeds[i] = f
		for range 2 {
			all.Go(func() {
				for n := range 1000 {
					f.Append(uint64(n), make([]byte, 100+n%50))
				}
			})
		}
	}
	all.Wait()
	n := 0
	for _, f := range feeds {
		n += f.bytes
	}
	if n > 10_000 || n != b.Kept() {
		t.Errorf("%d bytes are kept, the budget says %d", n, b.Kept())
	}
}
