package caddymodule

import (
	"net/netip"
	"sync"
	"time"
)

// failures counts failed attempts by address: a token bucket each. Nil counts
// nothing.
type failures struct {
	burst, perSecond float64
	now              func() time.Time

	mu      sync.Mutex
	buckets map[netip.Prefix]bucket
}

// bucket is a token bucket: what was left in it, and when.
type bucket struct {
	tokens float64
	at     time.Time
}

const (
	defaultFailedBurst     = 10
	defaultFailedPerSecond = 1

	// mostBuckets bounds the memory that addresses can use: some 10 MB.
	mostBuckets = 100_000
	// triedBuckets is how many are looked at to make room for one.
	triedBuckets = 32
)

func newFailures(c *FailedAttempts) *failures {
	f := &failures{burst: defaultFailedBurst, perSecond: defaultFailedPerSecond, now: time.Now, buckets: make(map[netip.Prefix]bucket)}
	if c == nil {
		return f
	}
	if c.Burst < 0 {
		return nil
	}
	if c.Burst > 0 {
		f.burst = float64(c.Burst)
	}
	if c.PerSecond > 0 {
		f.perSecond = c.PerSecond
	}
	return f
}

// exhausted says whether the address must not try now.
func (f *failures) exhausted(address string) bool {
	key, ok := addressKey(address)
	if f == nil || !ok {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, known := f.buckets[key]
	return known && f.filled(b) < 1
}

// count takes a token from the address.
func (f *failures) count(address string) {
	key, ok := addressKey(address)
	if f == nil || !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	tokens := f.burst
	if b, known := f.buckets[key]; known {
		tokens = f.filled(b)
	} else if len(f.buckets) >= mostBuckets {
		f.makeRoom()
	}
	f.buckets[key] = bucket{max(0, tokens-1), f.now()}
}

func (f *failures) filled(b bucket) float64 {
	return min(f.burst, b.tokens+f.now().Sub(b.at).Seconds()*f.perSecond)
}

// makeRoom forgets the bucket that is fullest of a few.
func (f *failures) makeRoom() {
	var fullest netip.Prefix
	most, tried := -1.0, 0
	for key, b := range f.buckets {
		if tokens := f.filled(b); tokens > most {
			fullest, most = key, tokens
		}
		if tried++; tried == triedBuckets {
			break
		}
	}
	delete(f.buckets, fullest)
}

// addressKey is the address, or its network of 64 bits, which one client of
// IPv6 has for itself.
func addressKey(address string) (netip.Prefix, bool) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, false
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	return prefix, err == nil
}
