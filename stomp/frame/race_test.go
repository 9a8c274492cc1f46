//go:build race

package frame

// Under the race detector a sync.Pool drops things at random, and allocations cannot be asserted.
const raceEnabled = true
