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
// sockets shows: the package, the benchmark, the unit, what it is, its target.
var micros = []struct {
	pkg, name, unit, about string
	target                 float64
}{
	{"stomp", "BenchmarkPublishToNobody", "ns/op", "SEND to a destination that nobody listens to", 300},
	{"stomp", "BenchmarkMatch/topics/100", "ns/op", "one match among 100 topics", 0},
	{"stomp", "BenchmarkMatch/topics/100000", "ns/op", "one match among 100,000 topics", 1000},
	{"stomp", "BenchmarkMatch/patterns/100", "ns/op", "one match among 100 patterns", 0},
	{"stomp", "BenchmarkMatch/patterns/100000", "ns/op", "one match among 100,000 patterns", 1000},
}

// micro runs the benchmarks of the packages. The least of all runs counts: they
// measure time, of which others on the machine can only take some away.
func (b *bench) micro() error {
	values := make(map[string][]float64)
	for range b.pairs {
		test := exec.Command("go", "test", "-run", "^$", "-bench", "^Benchmark(PublishToNobody|Match)$", "-benchtime", "200ms",
			"github.com/caddy-stomp/caddy-stomp/stomp")
		test.Stderr = os.Stderr
		out, err := test.Output()
		if err != nil {
			return fmt.Errorf("the Go benchmarks: %w: %s", err, out)
		}
		for _, m := range micros {
			value, err := parseBenchmark(string(out), m.name, m.unit)
			if err != nil {
				return err
			}
			values[m.about] = append(values[m.about], value)
		}
	}
	for _, m := range micros {
		b.results.add(row{Mode: "micro", Name: m.about, Unit: "ns", Product: []float64{slices.Min(values[m.about])}, Target: m.target})
	}
	return nil
}

// parseBenchmark finds a figure in the output of go test -bench.
func parseBenchmark(output, name, unit string) (float64, error) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.TrimRight(strings.TrimPrefix(fields[0], name), "-0123456789") != "" || !strings.HasPrefix(fields[0]+"-", name+"-") {
			continue
		}
		for i, field := range fields {
			if field == unit && i > 1 {
				return strconv.ParseFloat(fields[i-1], 64)
			}
		}
	}
	return 0, fmt.Errorf("no %s of %s in the output of the Go benchmarks", unit, name)
}
