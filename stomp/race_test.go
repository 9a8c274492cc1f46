//go:build race

package stomp

// Under the race detector a sync.Pool drops things at random, and allocations cannot be asserted.
const raceEnabled = true
