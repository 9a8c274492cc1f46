//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// family is a server of several processes: these, and all that come from them.
type family []*process

// cpu is the time that those who are there have used.
func (f family) cpu() (sum time.Duration, err error) {
	pids, err := f.pids()
	if err != nil {
		return 0, err
	}
	for i, pid := range pids {
		used, err := cpuOf(pid)
		if err != nil && i < len(f) { // another may have ended meanwhile
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// memory is the sum of a line of /proc/<pid>/status, in bytes. What they share
// counts for each.
func (f family) memory(name string) (sum int, err error) {
	pids, err := f.pids()
	if err != nil {
		return 0, err
	}
	for i, pid := range pids {
		size, err := memoryOf(pid, name)
		if err != nil && i < len(f) {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}

// pids is the family now; these come first.
func (f family) pids() ([]int, error) {
	parents, err := parents()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range f {
		pids = append(pids, p.Process.Pid)
	}
	return withDescendants(pids, parents), nil
}

// withDescendants appends the descendants of pids, each once.
func withDescendants(pids []int, parents map[int]int) []int {
	for i := 0; i < len(pids); i++ {
		for pid, parent := range parents {
			if parent == pids[i] && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// parents is the parent of each process that runs; of what has ended but was not
// waited for there is nothing to know.
func parents() (map[int]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := make(map[int]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		state, parent, err := parseStat(string(stat))
		if err != nil {
			return nil, err
		}
		if state != "Z" {
			all[pid] = parent
		}
	}
	return all, nil
}

// parseStat finds state and parent in /proc/<pid>/stat. The name before them is
// in parentheses, and may be anything.
func parseStat(stat string) (state string, parent int, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("no parent in %q", stat)
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}
