package stomp

import (
	"slices"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// burst is what a client has sent to one topic in a row, while more of it was there
// to be read. It is given to the subscribers together: a publish takes the lock of
// each of them, which is in the cache of whoever wrote to it last, and with 64
// messages under way that was a fifth of what a delivery costs. Whoever sends one
// message and waits has none.
type burst struct {
	destination string
	all         []*publication
	size        int // bytes
}

// What a burst has at most, so that the first of it does not wait for long.
const (
	maxBurst      = 64
	maxBurstBytes = 64 << 10
)

// gathers says whether a frame may be part of a burst: only what is not answered,
// and what nobody looks at meanwhile, who might take his time.
func (s *Session) gathers(f *frame.Frame) bool {
	return f.Command == frame.Send && len(s.endpoint.Policy().Interceptors) == 0 &&
		!slices.ContainsFunc(f.Header, func(h frame.Field) bool { return h.Name == frame.HdrReceipt || h.Name == frame.HdrTransaction })
}

// interrupts says whether a burst ends before a frame.
func (s *Session) interrupts(f *frame.Frame) bool {
	return s.burst != nil && (!s.gathers(f) || f.Header.Get(frame.HdrDestination) != s.burst.destination)
}

// publish gives p, which came in f, to the subscribers of a topic, with what
// follows if something does.
func (s *Session) publish(destination string, f *frame.Frame, p *publication) {
	if s.burst != nil && s.burst.destination != destination { // an interceptor's, of a policy that has just come
		s.Settle()
	}
	if s.burst == nil {
		if t, ok := s.transport.(AheadTransport); !ok || p.size >= maxBurstBytes || !t.Ahead() || !s.gathers(f) {
			s.broker.publish(destination, p)
			return
		}
		s.burst = &burst{destination: destination}
	}
	b := s.burst
	b.all = append(b.all, p.keep())
	if b.size += p.size; len(b.all) >= maxBurst || b.size >= maxBurstBytes {
		s.Settle()
	}
}

// Settle implements [Receiver]: it publishes the burst.
func (s *Session) Settle() {
	if b := s.burst; b != nil {
		s.burst = nil
		s.broker.publish(b.destination, b.all...)
	}
}
