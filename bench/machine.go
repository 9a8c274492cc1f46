//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where results come from.
type machine struct {
	Processors int    `json:"processors"`
	Model      string `json:"model"`
	MemoryMiB  int    `json:"memory_mib"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
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
	return m, nil
}

func (m machine) String() string {
	return fmt.Sprintf("%d processors (%s), %d MiB, Linux %s, Go %s", m.Processors, m.Model, m.MemoryMiB, m.Kernel, m.Go)
}
