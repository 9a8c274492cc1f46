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
	readers []*Subscription
}

type feedEntry struct {
	*publication
	seq uint64
}

// FeedConfig configures a [Feed].
type FeedConfig struct {
	// Keep is how many bytes of the past are kept. Default: 4 MiB.
	Keep int
	// Header is that of every message, such as content-type.
	Header frame.Header
	// Reset makes the body for a reader that fell behind: what it did not
	// see ends with the entry that was appended with seq. It must not block.
	Reset func(seq uint64) []byte
}

// cursor is how far a subscription has read.
type cursor struct {
	snapshot *Snapshot
	page     int
	next     uint64
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
	f.log = append(f.log, feedEntry{&publication{header: f.config.Header, body: body}, seq})
	f.bytes += len(body)
	f.total += uint64(len(body))
	f.seq = seq
	drop := 0
	for f.bytes > f.config.Keep && drop < len(f.log)-1 {
		f.bytes -= len(f.log[drop].body)
		drop++
	}
	if drop > 0 {
		f.log = append(f.log[:0:0], f.log[drop:]...)
		f.first += uint64(drop)
	}
	f.mu.Unlock()

	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, sub := range f.readers {
		sub.session.wake()
	}
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
		s.pages = append(s.pages, &publication{header: f.config.Header, body: body})
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

func (f *Feed) add(sub *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := sub.cursor.snapshot; s != nil {
		sub.cursor.next = s.next
		sub.session.wake()
	} else {
		sub.cursor.next = f.first + uint64(len(f.log))
	}
	sub.index = len(f.readers)
	f.readers = append(f.readers, sub)
}

func (f *Feed) remove(sub *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.readers) - 1
	f.readers[sub.index] = f.readers[last]
	f.readers[sub.index].index = sub.index
	f.readers[last] = nil
	f.readers = f.readers[:last]
}

// next is the next message for sub, nil if it has read all. With the
// session's mu held.
func (f *Feed) next(sub *Subscription) *Message {
	c, b := &sub.cursor, sub.session.broker
	if c.snapshot != nil {
		p := c.snapshot.pages[c.page]
		if c.page++; c.page == len(c.snapshot.pages) {
			c.snapshot = nil
		}
		return p.shared(sub.variant(), b.nextMessageID)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	end := f.first + uint64(len(f.log))
	switch {
	case c.next == end:
		return nil
	case c.next < f.first:
		c.next = end
		b.stats.resets.Add(1)
		p := publication{header: f.config.Header, body: f.config.Reset(f.seq)}
		return p.encode(sub.variant(), b.nextMessageID())
	}
	p := f.log[c.next-f.first]
	c.next++
	return p.shared(sub.variant(), b.nextMessageID)
}

// pull takes the next message of each feed that s reads, for the writer.
func (s *Session) pull() []*Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.feeds == 0 {
		return nil
	}
	var batch []*Message
	for _, sub := range s.subs {
		if sub.feed == nil {
			continue
		}
		if m := sub.feed.next(sub); m != nil {
			if batch == nil {
				batch = *queues.Get().(*[]*Message)
			}
			batch = append(batch, m)
		}
	}
	return batch
}
