//go:build linux

package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{2, 1}, spread{1, 1.5, 2}},
		{[]float64{9, 1, 5}, spread{1, 5, 9}},
		{[]float64{4, 3, 2, 1}, spread{1, 2.5, 4}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("%v: %v, want %v", test.values, got, test.want)
		}
	}
	values := []float64{3, 1, 2}
	spreadOf(values)
	if !slices.Equal(values, []float64{3, 1, 2}) {
		t.Error("it changes what it was given")
	}
}

func TestPercentile(t *testing.T) {
	if got := percentile([]time.Duration(nil), 99); got != 0 {
		t.Errorf("of none: %v", got)
	}
	if got := percentile([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25}, 28); got != 7 {
		t.Errorf("p28 of 1 to 25: %d", got)
	}
	for range 200 {
		values := make([]int, 1+rand.IntN(300))
		for i := range values {
			values[i] = rand.IntN(50)
		}
		p := 1 + rand.IntN(100)
		got := percentile(slices.Clone(values), float64(p))
		notAbove, below := 0, 0
		for _, v := range values {
			if v <= got {
				notAbove++
			}
			if v < got {
				below++
			}
		}
		if 100*notAbove < p*len(values) || 100*below >= p*len(values) {
			t.Errorf("p%d of %v is not %d", p, values, got)
		}
	}
}

func TestRowsAndVerdicts(t *testing.T) {
	rs := new(results)
	r := row{Mode: "m", Name: "n", Target: 1.5, Product: []float64{3, 8, 5}, Base: []float64{2, 4, 5}}
	got := rs.add(r)
	if want := (spread{1, 1.5, 2}); *got.Ratio != want {
		t.Errorf("the ratio is %v, want %v", *got.Ratio, want)
	}
	for _, test := range []struct {
		row  row
		want string
	}{
		{r, "met"},
		{row{Product: []float64{2}, Base: []float64{1}, Target: 1.9}, "not met"},
		{row{Product: []float64{2}, Base: []float64{1}, Target: 2, OfValue: true}, "met"},
		{row{Product: []float64{3}, Base: []float64{3}, Target: 2, OfValue: true}, "not met"},
		{row{Product: []float64{3}, Target: 2}, "not met"},
		{row{Product: []float64{3}}, ""},
	} {
		test.row.Mode, test.row.Name = "m", "n"
		if got := rs.add(test.row).verdict(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.row, got, test.want)
		}
	}
	if len(rs.Rows) != 1 {
		t.Errorf("%d rows of one name", len(rs.Rows))
	}
	rs.clear("m")
	if len(rs.Rows) != 0 {
		t.Error("there are rows left")
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.1234: "0.123", 0.1: "0.1", 1: "1", 1.5: "1.5", 9.994: "9.99", 12.34: "12.3", 99.94: "99.9", 100: "100", 2345.6: "2346",
	} {
		if got := number(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
	if got := number(math.Pi); got != "3.14" {
		t.Error(got)
	}
}

func TestTimes(t *testing.T) {
	for x, want := range map[float64]string{0.00371: "0.0037", 0.099: "0.099", 0.1: "0.10", 1.255: "1.25", 13.28: "13.28"} {
		if got := times(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
}

func TestBounds(t *testing.T) {
	good := row{Mode: "m", Name: "fine", Unit: "us", Product: []float64{9, 5.9}, Base: []float64{1, 1}, Target: 2}
	for _, test := range []struct {
		name string
		row  row
		ok   bool
	}{
		{"one good pair is enough", good, true},
		{"far above in each pair", row{Name: "bad", Product: []float64{9, 6.1}, Base: []float64{1, 1}, Target: 2}, false},
		{"without a target", row{Name: "any", Product: []float64{100}, Base: []float64{1}}, true},
		{"no allocations", row{Name: "a", Unit: "/delivery", Product: []float64{1, 0.1}}, true},
		{"allocations", row{Name: "a", Unit: "/delivery", Product: []float64{1, 1.1}}, false},
	} {
		rs := new(results)
		rs.add(test.row)
		if err := rs.bounds(); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
