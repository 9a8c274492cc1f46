//go:build race

package websocket

// Under the race detector a sync.Pool drops things at random, and allocations cannot be asserted.
const raceEnabled = true
