//go:build linux

package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// style is for light and dark pages: the plots have no background.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.dim { fill: #57606a }
.axis { stroke: #d0d7de; stroke-width: 1 }
.ours { stroke: #0969da; fill: #0969da }
.base { stroke: #8c959f; fill: #8c959f }
.whisker { stroke: #24292f; stroke-width: 1.5 }
.target { stroke: #cf222e; stroke-width: 2 }
polyline { fill: none !important; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.dim { fill: #9198a1 }
.axis { stroke: #3d444d }
.ours { stroke: #4493f8; fill: #4493f8 }
.base { stroke: #9198a1; fill: #9198a1 }
.whisker { stroke: #e6edf3 }
.target { stroke: #f85149 }
}
</style>
`

type svg struct{ strings.Builder }

func newSVG(width, height int, title string) *svg {
	s := new(svg)
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`+"\n", width, height)
	fmt.Fprintf(s, "<title>%s</title>\n%s", html.EscapeString(title), style)
	s.text(10, 22, "title", "start", title)
	return s
}

func (s *svg) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(text))
}

func (s *svg) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(s, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

func (s *svg) end() string { return s.String() + "</svg>\n" }

// bar is a ratio, and what its median should be at most (0: nobody says).
type bar struct {
	label  string
	spread spread
	target float64
}

// barChart is horizontal bars as long as the medians, a whisker from the least
// to the most, and a mark for the target.
func barChart(title string, bars []bar) string {
	const left, width, row = 285.0, 360.0, 30.0
	most := 1.0
	for _, b := range bars {
		most = max(most, b.spread.Max, b.target)
	}
	s := newSVG(720, int(row)*len(bars)+70, title)
	x := func(v float64) float64 { return left + v/most*width }
	bottom := 40 + row*float64(len(bars))
	for v := 0.0; v <= most; v += math.Ceil(most / 8) {
		s.line(x(v), 38, x(v), bottom, "axis")
		s.text(x(v), bottom+18, "dim", "middle", fmt.Sprintf("%g", v))
	}
	for i, b := range bars {
		y := 40 + row*float64(i)
		s.text(left-8, y+19, "", "end", b.label)
		fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="16" class="ours"/>`+"\n", left, y+6, x(b.spread.Median)-left)
		s.line(x(b.spread.Min), y+14, x(b.spread.Max), y+14, "whisker")
		if b.target > 0 {
			s.line(x(b.target), y+2, x(b.target), y+26, "target")
		}
		s.text(x(max(b.spread.Max, b.target))+6, y+19, "dim", "start", fmt.Sprintf("%.2f", b.spread.Median))
	}
	return s.end()
}

type point struct{ x, y float64 }

type line struct {
	label  string
	base   bool // what others are compared with
	points []point
}

// byLast is the order of the lines at their ends.
func byLast(a, b line) int {
	return cmp.Compare(a.points[len(a.points)-1].y, b.points[len(b.points)-1].y)
}

// lineChart has logarithmic axes: what doubles with the readers is a straight
// line at 45 degrees.
func lineChart(title, xName, yName string, lines []line) string {
	const left, top, width, height = 70.0, 44.0, 480.0, 300.0
	from, to := lines[0].points[0], lines[0].points[0]
	for _, l := range lines {
		for _, p := range l.points {
			from, to = point{min(from.x, p.x), min(from.y, p.y)}, point{max(to.x, p.x), max(to.y, p.y)}
		}
	}
	from.y, to.y = math.Pow(10, math.Floor(math.Log10(from.y))), math.Pow(10, math.Ceil(math.Log10(to.y)))
	x := func(v float64) float64 { return left + math.Log(v/from.x)/math.Log(to.x/from.x)*width }
	y := func(v float64) float64 { return top + height - math.Log(v/from.y)/math.Log(to.y/from.y)*height }
	s := newSVG(720, int(top+height)+50, title)
	for v := from.y; v <= to.y*1.01; v *= 10 {
		s.line(left, y(v), left+width, y(v), "axis")
		s.text(left-6, y(v)+4, "dim", "end", fmt.Sprintf("%g %s", v, yName))
	}
	for v := from.x; v <= to.x*1.01; v *= 2 {
		s.line(x(v), top, x(v), top+height, "axis")
		s.text(x(v), top+height+18, "dim", "middle", fmt.Sprintf("%g", v))
	}
	s.text(left+width/2, top+height+38, "dim", "middle", xName)
	free := math.Inf(1) // above it there is no label yet: they come from the bottom
	for _, l := range slices.SortedFunc(slices.Values(lines), byLast) {
		class := "ours"
		if l.base {
			class = "base"
		}
		s.WriteString(`<polyline class="` + class + `" points="`)
		for _, p := range l.points {
			fmt.Fprintf(s, "%.1f,%.1f ", x(p.x), y(p.y))
		}
		s.WriteString(`"/>` + "\n")
		last := l.points[len(l.points)-1]
		free = min(free-15, y(last.y)+4)
		s.text(left+width+8, free, "", "start", l.label)
	}
	return s.end()
}
