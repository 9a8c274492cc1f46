package presence

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Circuit is what is known of a receiver: how often in a row it has failed, and
// when it may be tried again. From the fifth failure on it is open, and whoever
// shares it tries one after the other. The zero value is closed; its methods may
// be called from any goroutine.
type Circuit struct {
	mu       sync.Mutex
	failures int
	next     time.Time
	probing  bool          // somebody tries
	changed  chan struct{} // closed when there is something new to know
}

const (
	// openAfter is from how many failures in a row on a circuit is open.
	openAfter = 5
	// The time before the next try is doubled with each failure, from the first
	// to the most, half of it by chance: those who failed together do not come
	// back together.
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 30 * time.Second
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = time.Hour
)

// backoff is how long to wait after so many failures in a row.
func backoff(failures int) time.Duration {
	d := min(maxBackoff, firstBackoff<<min(failures-1, 16))
	return d/2 + rand.N(d/2+1) //nolint:gosec // nobody gains by guessing it
}

// enter says how long to wait before the receiver may be tried; whoever is told
// 0 must leave again. It may be earlier when changed is closed.
func (c *Circuit) enter() (wait time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	if c.failures > 0 {
		if wait := time.Until(c.next); wait > 0 {
			return wait, c.changed
		}
	}
	if c.failures >= openAfter && c.probing {
		return maxBackoff, c.changed
	}
	c.probing = true
	return 0, nil
}

// leave ends a try that says nothing about the receiver.
func (c *Circuit) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell()
}

// ok ends a try that the receiver has answered; closed says that it had failed
// for long before.
func (c *Circuit) ok() (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	closed = c.failures >= openAfter
	c.failures = 0
	c.tell()
	return closed
}

// failed ends a try that failed; opened says that this one was too much.
func (c *Circuit) failed(after time.Duration) (opened bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures++
	c.next = time.Now().Add(max(backoff(c.failures), min(after, maxRetryAfter)))
	c.tell()
	return c.failures == openAfter
}

// hasten lets the receiver be tried now.
func (c *Circuit) hasten() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = time.Time{}
	c.tell()
}

// tell has everybody look again. With c.mu held.
func (c *Circuit) tell() {
	c.probing = false
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// state is [StateOK], [StateRetrying] or [StateOpen].
func (c *Circuit) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failures == 0:
		return StateOK
	case c.failures < openAfter:
		return StateRetrying
	default:
		return StateOpen
	}
}
