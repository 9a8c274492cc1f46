//go:build linux

package main

import (
	"slices"
	"testing"
)

func TestGrown(t *testing.T) {
	c := costs{
		{inFlight: 1, readers: 1000}:   {10, 20},
		{inFlight: 1, readers: 16000}:  {15, 20},
		{inFlight: 64, readers: 1000}:  {2, 2},
		{inFlight: 64, readers: 16000}: {3, 4},
	}
	for inFlight, want := range map[int][]float64{1: {1.5, 1}, 64: {1.5, 2}} {
		for range 2 { // what was measured stays as it is
			if got := c.grown(inFlight, 1000, 16000); !slices.Equal(got, want) {
				t.Errorf("%d in flight: %v, want %v", inFlight, got, want)
			}
		}
	}
}
