//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where results come from.
type machine struct {
	Processors int    `json:"processors"`
	Model      string `json:"model"`
	MemoryMiB  int    `json:"memory_mib"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`

	// What the least system call and a page that is touched for the first time
	// cost, in ns: machines differ in these, above all virtual ones.
	Call  int `json:"system_call_ns"`
	Fault int `json:"page_fault_ns"`
}

func thisMachine() (machine, error) {
	m := machine{Processors: runtime.NumCPU(), Go: strings.TrimPrefix(runtime.Version(), "go")}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, err
	}
	m.Kernel, _, _ = strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, err
	}
	//nolint:unconvert // of 32 bits on some machines
	m.MemoryMiB = int(uint64(info.Totalram) * uint64(info.Unit) >> 20)
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	for line := range bytes.Lines(cpu) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == "model name" {
			m.Model = strings.TrimSpace(value)
		}
	}
	m.Call = callCost()
	m.Fault, err = faultCost()
	return m, err
}

// callCost is the least of several measurements, like faultCost.
func callCost() int {
	const calls = 10_000
	return leastOf(func() time.Duration {
		began := time.Now()
		for range calls {
			_, _, _ = unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		}
		return time.Since(began) / calls
	})
}

func faultCost() (int, error) {
	const pages = 1000
	size := os.Getpagesize()
	var failed error
	cost := leastOf(func() time.Duration {
		p, err := unix.Mmap(-1, 0, pages*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err == nil {
			err = unix.Madvise(p, unix.MADV_NOHUGEPAGE)
		}
		began := time.Now()
		for i := 0; i < len(p); i += size {
			p[i] = 1
		}
		took := time.Since(began) / pages
		failed = errors.Join(failed, err, unix.Munmap(p))
		return took
	})
	return cost, failed
}

// leastOf is in ns.
func leastOf(measure func() time.Duration) int {
	least := measure()
	for range 4 {
		least = min(least, measure())
	}
	return int(least)
}

func (m machine) String() string {
	return fmt.Sprintf("%d processors (%s), %d MiB, Linux %s, Go %s; a system call takes %s us at least, a page fault %s us",
		m.Processors, m.Model, m.MemoryMiB, m.Kernel, m.Go, number(float64(m.Call)/1e3), number(float64(m.Fault)/1e3))
}
