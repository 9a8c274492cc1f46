//go:build linux

package main

import "testing"

func TestThisMachine(t *testing.T) {
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.Processors < 1 || m.MemoryMiB < 1 || m.Kernel == "" || m.Go == "" {
		t.Errorf("something is missing: %+v", m)
	}
	if m.Call < 1 || m.Fault <= m.Call { // a fault is no less than entering the kernel and coming back
		t.Errorf("a system call takes %d ns, a page fault %d", m.Call, m.Fault)
	}
}
