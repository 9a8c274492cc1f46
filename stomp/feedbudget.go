package stomp

import (
	"container/heap"
	"sync"
)

// FeedBudget bounds what several feeds keep together, however many there are.
// When it is used up, the one that keeps most forgets the older half: who has not
// read that yet is told so as by [FeedConfig.Reset].
type FeedBudget struct {
	limit int

	mu    sync.Mutex // after Feed.mu
	kept  int
	feeds feedHeap // those that keep something
}

// NewFeedBudget returns a budget of so many bytes of bodies, to be shared by
// feeds each of which keeps less.
func NewFeedBudget(bytes int) *FeedBudget { return &FeedBudget{limit: bytes} }

// Kept is how many bytes the feeds keep.
func (b *FeedBudget) Kept() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept
}

// charge says what f keeps now. With f.mu held.
func (b *FeedBudget) charge(f *Feed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	in := f.charged > 0
	b.kept += f.bytes - f.charged
	f.charged = f.bytes
	switch {
	case in && f.bytes > 0:
		heap.Fix(&b.feeds, f.place)
	case in:
		heap.Remove(&b.feeds, f.place)
	case f.bytes > 0:
		heap.Push(&b.feeds, f)
	}
}

// largest is the feed that is to forget, and how much it keeps; nil if all is
// within the budget.
func (b *FeedBudget) largest() (*Feed, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept <= b.limit {
		return nil, 0
	}
	return b.feeds[0], b.feeds[0].charged
}

// enforce makes feeds forget until the rest is within the budget. No feed may be
// locked.
func (b *FeedBudget) enforce() {
	for f, kept := b.largest(); f != nil; f, kept = b.largest() {
		f.Forget(kept / 2) // once, even if others do the same now
	}
}

// feedHeap implements [heap.Interface]: the largest is first.
type feedHeap []*Feed

func (h feedHeap) Len() int           { return len(h) }
func (h feedHeap) Less(i, j int) bool { return h[i].charged > h[j].charged }

func (h feedHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *feedHeap) Push(x any) {
	f := x.(*Feed)
	f.place = len(*h)
	*h = append(*h, f)
}

func (h *feedHeap) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
