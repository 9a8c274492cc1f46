package stomp

import (
	"slices"
	"sync/atomic"
	"time"
)

// stats are counted where things happen, with one atomic addition each, and
// read when somebody asks.
type stats struct {
	framesIn, framesOut atomic.Uint64
	bytesIn, bytesOut   atomic.Uint64
	dropped             atomic.Uint64
	resets              atomic.Uint64
	subscriptions       atomic.Int64
	connects            atomic.Uint64
	ends                [numReasons]atomic.Uint64
	detection           [numDetection + 1]atomic.Uint64
	detectionSum        atomic.Int64 // nanoseconds
}

const numDetection = 11

var detectionBounds = [numDetection]float64{0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 21, 30, 60}

// DetectionBounds are the upper bounds of Stats.Detection, in seconds.
func DetectionBounds() []float64 { return slices.Clone(detectionBounds[:]) }

// Stats is what a broker has counted since it was made.
type Stats struct {
	FramesIn, FramesOut uint64
	BytesIn, BytesOut   uint64 // of STOMP, without the transport's framing
	// Dropped is how many messages were queued, or were to be, for sessions
	// that ended before they were written.
	Dropped uint64
	// Resets is how often a reader of a feed was too far behind.
	Resets        uint64
	Subscriptions int
	Connects      uint64
	// Ends is how many connected sessions ended, by Reason.
	Ends map[Reason]uint64
	// Detection is a histogram of the silence before the end, from the last
	// byte received until the session was left: one count for each of
	// [DetectionBounds], not cumulative, and one for what is above the last.
	Detection    [numDetection + 1]uint64
	DetectionSum time.Duration
}

func (s *stats) ended(e End) {
	s.ends[e.Reason].Add(1)
	i := 0
	for i < numDetection && e.Silence.Seconds() > detectionBounds[i] {
		i++
	}
	s.detection[i].Add(1)
	s.detectionSum.Add(int64(e.Silence))
}

// Stats reads the counters. From any goroutine.
func (b *Broker) Stats() Stats {
	s := &b.stats
	r := Stats{
		FramesIn: s.framesIn.Load(), FramesOut: s.framesOut.Load(),
		BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		Dropped: s.dropped.Load(), Resets: s.resets.Load(),
		Subscriptions: int(s.subscriptions.Load()),
		Connects:      s.connects.Load(),
		Ends:          make(map[Reason]uint64, numReasons),
		DetectionSum:  time.Duration(s.detectionSum.Load()),
	}
	for _, reason := range Reasons() {
		r.Ends[reason] = s.ends[reason].Load()
	}
	for i := range s.detection {
		r.Detection[i] = s.detection[i].Load()
	}
	return r
}

// countOut is called by the writer after a batch was written. An empty one, of
// which the transport has written something of its own, a pong, is no sign of life
// to STOMP.
func (s *Session) countOut(batch []*Message) {
	if len(batch) == 0 {
		return
	}
	n, frames := 0, 0
	for _, m := range batch {
		n += len(m.Data)
		if len(m.Data) > 1 {
			frames++
		}
	}
	s.broker.stats.bytesOut.Add(uint64(n))
	s.broker.stats.framesOut.Add(uint64(frames))
	s.beat.lastOut.Store(stamp())
}
