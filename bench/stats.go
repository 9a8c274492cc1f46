//go:build linux

package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// spread is what several measurements of the same found.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// spreadOf panics without values.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1]}
}

// percentile is the least value that at least p percent of the values are not
// above. It sorts them. Of none it is 0.
func percentile[T cmp.Ordered](values []T, p float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	slices.Sort(values)
	rank := int(math.Ceil(p * float64(len(values)) / 100)) // in this order: 28 % of 25 are 7 exactly
	return values[min(max(rank, 1), len(values))-1]
}

// ms is in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
