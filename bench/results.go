//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"text/tabwriter"
)

// results is what a run found, as bench/results.json has it.
type results struct {
	Machine machine `json:"machine"`
	Rows    []row   `json:"rows"`
}

// row is one thing that was measured several times: of the product, and in turn
// of what it is compared with, if there is something.
type row struct {
	Mode string `json:"mode"`
	Name string `json:"name"`
	Unit string `json:"unit"`

	Product []float64 `json:"product"`
	Base    []float64 `json:"base,omitempty"`
	To      string    `json:"to,omitempty"` // what base is

	Value   spread  `json:"value"`
	Ratio   *spread `json:"ratio,omitempty"`
	Target  float64 `json:"target,omitempty"`   // of the median: of the ratio, if there is one, or the value
	OfValue bool    `json:"of_value,omitempty"` // the target is of the value although there is a ratio
	Size    int     `json:"size,omitempty"`     // what a series grows by
}

// verdict compares with the target: "" without one.
func (r row) verdict() string {
	median := r.Value.Median
	if r.Ratio != nil && !r.OfValue {
		median = r.Ratio.Median
	}
	switch {
	case r.Target == 0:
		return ""
	case median <= r.Target:
		return "met"
	default:
		return "not met"
	}
}

// pair adds what was measured in turn.
func (r *row) pair(product, base float64) {
	r.Product, r.Base = append(r.Product, product), append(r.Base, base)
}

// clear takes the rows of a mode out.
func (rs *results) clear(mode string) {
	rs.Rows = slices.DeleteFunc(rs.Rows, func(r row) bool { return r.Mode == mode })
}

// only says whether all rows are of a mode.
func (rs *results) only(mode string) bool {
	return !slices.ContainsFunc(rs.Rows, func(r row) bool { return r.Mode != mode })
}

// add computes the spreads of r, and puts it in the place of one with its name.
func (rs *results) add(r row) row {
	r.Value = spreadOf(r.Product)
	if r.Base != nil {
		ratios := make([]float64, len(r.Base))
		for i := range ratios {
			ratios[i] = r.Product[i] / r.Base[i]
		}
		s := spreadOf(ratios)
		r.Ratio = &s
	}
	at := slices.IndexFunc(rs.Rows, func(old row) bool { return old.Mode == r.Mode && old.Name == r.Name })
	if at < 0 {
		rs.Rows = append(rs.Rows, r)
	} else {
		rs.Rows[at] = r
	}
	return r
}

// print writes the rows of a mode as a table.
func (rs *results) print(w io.Writer, mode string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tproduct\t\tcompared with\t\tratio: min\tmedian\tmax\ttarget\t\n", mode)
	for _, r := range rs.Rows {
		if r.Mode != mode {
			continue
		}
		base, ratio, target := "\t", "\t\t", ""
		if r.Ratio != nil {
			base = fmt.Sprintf("%s\t%s", r.To, number(spreadOf(r.Base).Median))
			ratio = times(r.Ratio.Min) + "\t" + times(r.Ratio.Median) + "\t" + times(r.Ratio.Max)
		}
		if r.Target > 0 {
			target = number(r.Target)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, number(r.Value.Median), r.Unit, base, ratio, target, r.verdict())
	}
	_ = t.Flush()
	fmt.Fprintln(w)
}

// number has three digits that count, at least.
func number(x float64) string {
	switch {
	case x < 10:
		return fmt.Sprintf("%.3g", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

// times is a ratio: with two decimals, or two digits that count.
func times(x float64) string {
	if x < 0.1 {
		return fmt.Sprintf("%.2g", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// load reads results; there may be none yet.
func load(path string) (*results, error) {
	rs := new(results)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return rs, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, rs); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rs, nil
}

func (rs *results) save(path string) error {
	text, err := json.MarshalIndent(rs, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}
