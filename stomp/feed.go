package stomp

import (
	"sync"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Feed is a stream of messages that every subscriber reads at its own pace:
// nothing is queued for it, it is woken and takes the next message when its
// socket has room. So a feed makes nobody a slow consumer, and its memory does
// not grow with its readers. A reader that falls behind the kept past is told
// so once ([FeedConfig.Reset]) and goes on from now.
type Feed struct {
	config FeedConfig

	mu      sync.RWMutex
	log     []feedEntry
	first   uint64 // number of log[0]
	bytes   int    // of the bodies in log
	total   uint64 // bytes ever appended
	seq     uint64 // of the last entry
	readers []*reader

	charged int // bytes, as the budget has it; guarded by that
	place   int // in the budget; guarded by that
}

type feedEntry struct {
	*publication
	seq uint64
}

// FeedConfig configures a [Feed].
type FeedConfig struct {
	// Keep is how many bytes of the past are kept. Default: 4 MiB.
	Keep int
	// Budget bounds what this feed and others keep together. Default: nothing
	// but Keep does.
	Budget *FeedBudget
	// Header is that of every message, such as content-type.
	Header frame.Header
	// Reset makes the body for a reader that fell behind: what it did not
	// see ends with the entry that was appended with seq. It must not block.
	Reset func(seq uint64) []byte
}

// reader is a subscription's place in a feed.
type reader struct {
	sub         *Subscription
	feed        *Feed
	destination string // of the messages
	index       int    // in Feed.readers

	snapshot *Snapshot
	page     int
	number   uint64 // of the next entry
}

// Snapshot stands for the past of a feed: pages that a new reader gets first.
// It is shared by all who read it.
type Snapshot struct {
	pages []*publication
	next  uint64 // the entry that follows
	total uint64 // Feed.total when it was made
	size  int
}

// NewFeed returns an empty feed. Any broker's sessions may read it.
func NewFeed(config FeedConfig) *Feed {
	orInt(&config.Keep, 4<<20)
	return &Feed{config: config}
}

// Append adds a message and wakes the readers. Seq is the caller's number for
// it, for Reset. The body must not change afterwards. From any goroutine, but
// entries have the order of the calls.
func (f *Feed) Append(seq uint64, body []byte) {
	f.mu.Lock()
	f.log = append(f.log, feedEntry{newPublication(f.config.Header, body), seq})
	f.bytes += len(body)
	f.total += uint64(len(body))
	f.seq = seq
	keep := f.config.Keep
	if len(f.readers) == 0 {
		keep = min(keep, unreadKeep)
	}
	f.drop(keep, 1)
	f.mu.Unlock()
	if f.config.Budget != nil {
		f.config.Budget.enforce()
	}

	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, r := range f.readers {
		r.sub.session.wake()
	}
}

// unreadKeep is how many bytes are kept while nobody reads: somebody may be
// about to, with a snapshot.
const unreadKeep = 16 << 10

// drop forgets the past but for so many bytes, or entries if they are larger.
// With f.mu held.
func (f *Feed) drop(keep, entries int) {
	drop := 0
	for f.bytes > keep && drop < len(f.log)-entries {
		f.bytes -= len(f.log[drop].body)
		drop++
	}
	clear(f.log[:drop])
	f.log = f.log[drop:] // append moves what is left when the room is used up
	f.first += uint64(drop)
	if f.config.Budget != nil {
		f.config.Budget.charge(f)
	}
}

// Forget drops the past but for so many bytes: readers that are further behind
// are told so.
func (f *Feed) Forget(keep int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(keep, 0)
}

// Readers is how many subscriptions read the feed.
func (f *Feed) Readers() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.readers)
}

// NewSnapshot makes a snapshot that stands for all entries appended so far.
// The caller keeps others from appending meanwhile.
func (f *Feed) NewSnapshot(bodies [][]byte) *Snapshot {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s := &Snapshot{next: f.first + uint64(len(f.log)), total: f.total}
	for _, body := range bodies {
		s.pages = append(s.pages, newPublication(f.config.Header, body))
		s.size += len(body)
	}
	return s
}

// Since is how many bytes were appended after the snapshot was made; ok is
// false if they are no longer all there, so that the snapshot is of no use.
func (f *Feed) Since(s *Snapshot) (bytes uint64, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.total - s.total, s.next >= f.first
}

// Size is the bytes of all pages.
func (s *Snapshot) Size() int { return s.size }

func (f *Feed) add(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.snapshot != nil {
		r.number = r.snapshot.next
		r.sub.session.wake()
	} else {
		r.number = f.first + uint64(len(f.log))
	}
	r.index = len(f.readers)
	f.readers = append(f.readers, r)
}

func (f *Feed) remove(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.readers) - 1
	f.readers[r.index] = f.readers[last]
	f.readers[r.index].index = r.index
	f.readers[last] = nil
	f.readers = f.readers[:last]
}

// next is the next message, nil if all was read. With the session's mu held.
func (r *reader) next() *Message {
	f, b, v := r.feed, r.sub.session.broker, r.sub.variant()
	v.ack = false // there is nothing to acknowledge, even if a pattern reaches topics too
	if r.snapshot != nil && r.page < len(r.snapshot.pages) {
		r.page++
		return r.snapshot.pages[r.page-1].shared(v, r.destination, b.nextMessageID)
	}
	r.snapshot = nil // it may be large
	f.mu.RLock()
	defer f.mu.RUnlock()
	end := f.first + uint64(len(f.log))
	switch {
	case r.number == end:
		return nil
	case r.number < f.first:
		r.number = end
		b.stats.resets.Add(1)
		p := newPublication(f.config.Header, f.config.Reset(f.seq))
		return p.encode(v, r.destination, b.nextMessageID())
	}
	p := f.log[r.number-f.first]
	r.number++
	return p.shared(v, r.destination, b.nextMessageID)
}
