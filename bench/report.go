//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// report writes the tables of the document, between its markers, and the plots
// beside it. What was compared with peers is a file of its own, of which it
// writes the table and the machine alone.
func (rs *results) report(document string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	sections := make(map[string]string)
	if rs.only("compare") {
		sections["compare-machine"] = rs.Machine.String() + "\n"
	} else {
		sections["machine"] = rs.Machine.String() + "\n"
		sections["capacity"] = rs.capacity()
	}
	for _, r := range rs.Rows {
		if sections[r.Mode] == "" {
			sections[r.Mode] = rs.table(r.Mode)
		}
	}
	for name, section := range sections {
		if text, err = between(text, name, section); err != nil {
			return fmt.Errorf("%s: %w", document, err)
		}
	}
	for name, plot := range map[string]func() string{"fan-out.svg": rs.fanOutPlot, "growth.svg": rs.growthPlot} {
		svg := plot()
		if svg == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(document), name), []byte(svg), 0o644); err != nil { //nolint:gosec // a document
			return err
		}
	}
	return os.WriteFile(document, text, 0o644) //nolint:gosec // a document
}

// between replaces what is between <!-- bench:<name> --> and the next
// <!-- /bench -->.
func between(text []byte, name, section string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte("<!-- bench:"+name+" -->\n"))
	if !ok {
		return nil, fmt.Errorf("no <!-- bench:%s -->", name)
	}
	_, after, ok := bytes.Cut(rest, []byte("<!-- /bench -->"))
	if !ok {
		return nil, fmt.Errorf("no <!-- /bench --> after <!-- bench:%s -->", name)
	}
	return fmt.Appendf(nil, "%s<!-- bench:%s -->\n%s<!-- /bench -->%s", before, name, section, after), nil
}

// table is the rows of a mode in Markdown.
func (rs *results) table(mode string) string {
	b := new(strings.Builder)
	b.WriteString("| | Caddy | compared with | ratio (min-max) | target | |\n|---|---:|---:|---:|---:|---|\n")
	for _, r := range rs.Rows {
		if r.Mode != mode {
			continue
		}
		base, ratio, target := "", "", ""
		if r.Ratio != nil {
			base = r.To + " " + number(spreadOf(r.Base).Median)
			ratio = fmt.Sprintf("%s (%s-%s)", times(r.Ratio.Median), times(r.Ratio.Min), times(r.Ratio.Max))
		}
		if r.Target > 0 {
			target = number(r.Target)
			if r.Ratio != nil && !r.OfValue {
				target += " x"
			}
		}
		fmt.Fprintf(b, "| %s | %s %s | %s | %s | %s | %s |\n", r.Name, number(r.Value.Median), r.Unit, base, ratio, target, r.verdict())
	}
	return b.String()
}

// capacity is what machines hold, from what a session takes.
func (rs *results) capacity() string {
	find := func(name string) float64 {
		for _, r := range rs.Rows {
			if r.Name == name {
				return r.Value.Median
			}
		}
		return 0
	}
	kernel := find(socketMemory)
	b := new(strings.Builder)
	b.WriteString("| memory | idle sessions, plain | under TLS 1.3 |\n|---:|---:|---:|\n")
	for _, gib := range []float64{1, 4, 24} {
		fmt.Fprintf(b, "| %g GiB |", gib)
		for _, name := range []string{plainMemory, tlsMemory} {
			most := 0.75 * gib * (1 << 20) / (find(name) + kernel)
			fmt.Fprintf(b, " %s |", humanize.Comma(int64(most)/1000*1000))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// fanOutPlot is bars: the ratios of fan-out, and what they should be.
func (rs *results) fanOutPlot() string {
	var bars []bar
	for _, r := range rs.Rows {
		if r.Mode == "fan-out" && r.Ratio != nil && strings.HasSuffix(r.Name, "in flight") {
			bars = append(bars, bar{label: r.Name + " / " + r.To, spread: *r.Ratio, target: r.Target})
		}
	}
	if bars == nil {
		return ""
	}
	return barChart("CPU time per delivered message, as a multiple (mark: target)", bars)
}

// growthPlot is lines: what a message costs by the number of its readers.
func (rs *results) growthPlot() string {
	lines := make([]line, 0, 2*len(growthLoads))
	for _, inFlight := range growthLoads {
		suffix := fmt.Sprintf("%d in flight", inFlight)
		ours, its := line{label: "Caddy, " + suffix}, line{label: "floor, " + suffix, base: true}
		for _, r := range rs.Rows {
			if r.Mode == "growth" && r.Size > 0 && strings.HasPrefix(r.Name, suffix) {
				ours.points = append(ours.points, point{float64(r.Size), r.Value.Median * float64(r.Size) / 1e3})
				its.points = append(its.points, point{float64(r.Size), spreadOf(r.Base).Median * float64(r.Size) / 1e3})
			}
		}
		lines = append(lines, ours, its)
	}
	if slices.ContainsFunc(lines, func(l line) bool { return len(l.points) == 0 }) {
		return ""
	}
	return lineChart("CPU time of a message by the number of its readers", "readers", "ms", lines)
}
