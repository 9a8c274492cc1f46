//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// example has all kinds of rows, and those that plots need.
func example() *results {
	rs := new(results)
	rs.add(row{
		Mode: "fan-out", Name: "plain, 1 in flight", Unit: "us CPU/delivery", To: "floor", Target: 1.3,
		Product: []float64{12, 11, 13}, Base: []float64{10, 10, 10},
	})
	rs.add(row{Mode: "idle", Name: plainMemory, Unit: "KiB", Product: []float64{14}})
	rs.add(row{Mode: "idle", Name: tlsMemory, Unit: "KiB", Product: []float64{30}})
	rs.add(row{Mode: "idle", Name: socketMemory, Unit: "KiB", Product: []float64{2}})
	rs.add(row{Mode: "idle", Name: "TLS", Unit: "KiB", Product: []float64{19}, Target: 20})
	for _, size := range []int{1000, 2000} {
		for _, name := range []string{"1 in flight, x", "64 in flight, x"} {
			rs.Rows = append(rs.Rows, row{Mode: "growth", Name: name, Size: size, Value: spread{1, 1, 1}, Base: []float64{0.5}})
		}
	}
	rs.add(row{Mode: "growth", Name: "1 in flight, one of 2000 to one of 1000", Unit: "x", Product: []float64{1.1}, Base: []float64{1}})
	return rs
}

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	document := "# Prose\n<!-- bench:machine -->\nold\n<!-- /bench -->\nmore\n<!-- bench:fan-out -->\n<!-- /bench -->\n" +
		"<!-- bench:idle -->\n<!-- /bench -->\n<!-- bench:growth -->\n<!-- /bench -->\n" +
		"<!-- bench:capacity -->\n<!-- /bench -->\nend\n"
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := example().report(path); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"# Prose\n", "\nmore\n", "\nend\n",
			"| plain, 1 in flight | 12.0 us CPU/delivery | floor 10.0 | 1.20 (1.10-1.30) | 1.3 x | met |\n",
			"| 1 GiB | 49,000 | 24,000 |\n",
			"| TLS | 19.0 KiB |  |  | 20.0 | met |\n",
		} {
			if strings.Count(string(got), want) != 1 {
				t.Errorf("not once %q in %s", want, got)
			}
		}
		if strings.Contains(string(got), "old") {
			t.Error("what was between the markers is still there")
		}
	}
	for _, plot := range []string{"fan-out.svg", "growth.svg"} {
		wellFormed(t, filepath.Join(filepath.Dir(path), plot))
	}
	growth, err := os.ReadFile(filepath.Join(filepath.Dir(path), "growth.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, points := range regexp.MustCompile(`points="([^"]*)"`).FindAllSubmatch(growth, -1) {
		if len(bytes.Fields(points[1])) != 2 { // of 1000 and of 2000 readers
			t.Errorf("a line of the plot has the points %s", points[1])
		}
	}
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "NaN") || strings.Contains(string(text), "Inf") {
		t.Errorf("%s: not all of it is numbers: %s", path, text)
	}
	d := xml.NewDecoder(strings.NewReader(string(text)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

func TestReportNeedsMarkers(t *testing.T) {
	for _, document := range []string{"", "<!-- bench:machine -->\n"} {
		path := filepath.Join(t.TempDir(), "performance.md")
		if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := example().report(path); err == nil {
			t.Errorf("%q is enough", document)
		}
	}
}

// What was compared with peers leaves the rest as it is.
func TestReportOfPeers(t *testing.T) {
	rs := new(results)
	rs.Machine.Model = "another"
	rs.add(row{Mode: "compare", Name: "fan-out", Unit: "us", To: "peer 1.0", Product: []float64{0.2, 0.2, 0.3}, Base: []float64{60, 40, 60}})
	path := filepath.Join(t.TempDir(), "performance.md")
	const rest = "<!-- bench:machine -->\nthis\n<!-- /bench -->\n<!-- bench:capacity -->\nmuch\n<!-- /bench -->\n"
	document := rest + "<!-- bench:compare-machine -->\n<!-- /bench -->\n<!-- bench:compare -->\nold\n<!-- /bench -->\n"
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rs.report(path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{rest, "(another)", "\n| fan-out | 0.2 us | peer 1.0 60.0 | 0.005 (0.0033-0.005) |  |  |\n"} {
		if strings.Count(string(got), want) != 1 {
			t.Errorf("not once %q in %s", want, got)
		}
	}
}

// The document is what the files of results say.
func TestDocumentIsOfResults(t *testing.T) {
	for _, file := range []string{"results.json", "compare/results.json"} {
		rs, err := load(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(rs.Rows) == 0 {
			t.Fatalf("there are no results in %s", file)
		}
		document, err := os.ReadFile("../docs/performance.md")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "performance.md")
		if err := os.WriteFile(path, document, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := rs.report(path); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(document) {
			t.Errorf("docs/performance.md is not what %[1]s says: go run ./bench report -json bench/%[1]s", file)
		}
	}
}
