//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	for _, test := range []struct {
		stat, state string
		parent      int
	}{
		{"7 (beam.smp) S 3 7 7 0 -1 4194304 1 0\n", "S", 3},
		{"8 (a) R 1 (b) Z 42 8 8\n", "Z", 42},
		{"9 (two words\n) D 1 9 9", "D", 1},
	} {
		state, parent, err := parseStat(test.stat)
		if state != test.state || parent != test.parent || err != nil {
			t.Errorf("%q: %q, %d, %v", test.stat, state, parent, err)
		}
	}
	for _, bad := range []string{"", "7 (sh)", "7 (sh) S", "7 (sh) S x 1", "7 sh"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q is fine", bad)
		}
	}
}

func TestWithDescendants(t *testing.T) {
	parents := map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 5: 4, 6: 3, 7: 6, 8: 1}
	for _, test := range []struct{ of, want []int }{
		{[]int{2}, []int{2, 4, 5}},
		{[]int{3, 2}, []int{2, 3, 4, 5, 6, 7}},
		{[]int{4, 2}, []int{2, 4, 5}}, // one descends from the other
		{[]int{8}, []int{8}},
		{[]int{9}, []int{9}},
		{nil, nil},
	} {
		got := withDescendants(slices.Clone(test.of), parents)
		if slices.Sort(got); !slices.Equal(got, test.want) {
			t.Errorf("of %v: %v, want %v", test.of, got, test.want)
		}
	}
}

// All processes of a server count, whoever started them.
func TestFamily(t *testing.T) {
	const used = `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo $$; `
	p := &process{Cmd: exec.Command("sh", "-c", `sh -c '`+used+`read done'; :`)} // the shell waits
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	defer in.Close() // ends the child
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(line, &child); err != nil {
		t.Fatal(err)
	}
	f := family{p}
	pids, err := f.pids()
	if err != nil || !slices.Contains(pids, child) || !slices.Contains(pids, p.Process.Pid) || len(pids) != 2 {
		t.Errorf("the family of %d is %v (%v), not also %d", p.Process.Pid, pids, err, child)
	}
	parent, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	its, err := cpuOf(child)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := f.cpu(); err != nil || its == 0 || all < parent+its {
		t.Errorf("the family used %v (%v), its members %v and %v", all, err, parent, its)
	}
	rss, err := p.memory("VmRSS")
	if err != nil {
		t.Fatal(err)
	}
	if all, err := f.memory("VmRSS"); err != nil || all <= rss {
		t.Errorf("the family has %d bytes (%v), its first member %d", all, err, rss)
	}
}
