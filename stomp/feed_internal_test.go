package stomp

import (
	"runtime"
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
