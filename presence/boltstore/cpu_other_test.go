//go:build !unix

package boltstore_test

import (
	"testing"
	"time"
)

var begin = time.Now()

// processorTime is the time that has passed, where the other is not to be had.
func processorTime(testing.TB) time.Duration { return time.Since(begin) }
