//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// micros are Go benchmarks whose figures stand for something that no load on
// sockets shows: what it is, and the target.
var micros = []struct {
	name, about string
	target      float64
}{
	{"to_nobody/publish", "a publish to a destination that nobody listens to", 300},
	{"to_nobody_among_100,000_patterns/publish", "the same among 100,000 patterns", 300},
	{"to_nobody/SEND", "the same from a frame", 0},
	{"1_match_among_100,000/publish", "one match among 100,000 subscriptions", 1000},
	{"1_match_among_100,000_patterns/publish", "one match among 100,000 patterns", 1000},
}

// micro runs the benchmarks of the packages, long enough that memory is used
// again. The least of several runs counts.
func (b *bench) micro() error {
	test := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkPublish$/(nobody|1_match)", "-benchtime", "100000x", "-count", "3",
		"github.com/caddy-stomp/caddy-stomp/stomp")
	test.Stderr = os.Stderr
	out, err := test.Output()
	if err != nil {
		return fmt.Errorf("the Go benchmarks: %w: %s", err, out)
	}
	for _, m := range micros {
		values, err := parseBenchmark(string(out), "BenchmarkPublish/"+m.name, "cpu-ns/op")
		if err != nil {
			return err
		}
		b.results.add(row{Mode: "micro", Name: m.about, Unit: "ns CPU", Product: []float64{slices.Min(values)}, Target: m.target})
	}
	return nil
}

// parseBenchmark finds the figures of a benchmark in the output of go test -bench.
func parseBenchmark(output, name, unit string) ([]float64, error) {
	var values []float64
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !isBenchmark(fields[0], name) {
			continue
		}
		for i, field := range fields {
			if field != unit || i < 2 {
				continue
			}
			value, err := strconv.ParseFloat(fields[i-1], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			values = append(values, value)
		}
	}
	if values == nil {
		return nil, fmt.Errorf("no %s of %s in the output of the Go benchmarks", unit, name)
	}
	return values, nil
}

// isBenchmark says whether a line begins with that name: "-<processors>" is added
// to it if there are several.
func isBenchmark(field, name string) bool {
	rest, ok := strings.CutPrefix(field, name)
	return ok && (rest == "" || rest[0] == '-' && strings.Trim(rest[1:], "0123456789") == "")
}
