//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// server is what is measured.
type server interface {
	cpu() (time.Duration, error)
	memory(name string) (int, error)
}

// process is a server of one process.
type process struct {
	*exec.Cmd
	dir string // of its files
}

// running is what was started and has not been stopped.
var running struct {
	sync.Mutex
	all []*process
}

// run starts it. It ends with the thread that calls this.
func (p *process) run() error {
	running.Lock()
	defer running.Unlock()
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		return err
	}
	running.all = append(running.all, p)
	return nil
}

// stop ends the process and removes its files.
func (p *process) stop() {
	running.Lock()
	defer running.Unlock()
	running.all = slices.DeleteFunc(running.all, func(other *process) bool { return other == p })
	_ = p.Process.Kill()
	_ = p.Wait()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// stopAll stops what is running: first what was started last, as it may need the
// others. Nothing can be started or stopped after it.
func stopAll() {
	running.Lock()
	for _, p := range slices.Backward(running.all) {
		_ = p.Process.Kill()
	}
	for _, p := range running.all {
		if p.dir != "" {
			_ = p.Wait()
			_ = os.RemoveAll(p.dir)
		}
	}
}

// cpu is the time that the process has used, in user mode and in the kernel:
// what /proc/<pid>/stat has in ticks of 10 ms, in nanoseconds
// (clock_getcpuclockid(3)).
func (p *process) cpu() (time.Duration, error) { return cpuOf(p.Process.Pid) }

func cpuOf(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: the whole process, threads that ended included
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &ts); err != nil {
		return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is a line of /proc/<pid>/status in bytes: VmRSS, VmHWM.
func (p *process) memory(name string) (int, error) { return memoryOf(p.Process.Pid, name) }

func memoryOf(pid int, name string) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseMemory(status, name)
}

// kernelMemory is what the kernel keeps that it cannot give up: sockets, among
// other things.
func kernelMemory() (int, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return parseMemory(info, "SUnreclaim")
}

// parseMemory finds a line of a file in /proc.
func parseMemory(status []byte, name string) (int, error) {
	for line := range bytes.Lines(status) {
		key, value, _ := strings.Cut(string(line), ":")
		if key != name {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		return n << 10, err
	}
	return 0, fmt.Errorf("no %s in what /proc says", name)
}

// raiseLimit lets the process and its children open as many files as may be
// without asking anybody.
func raiseLimit() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) // Go's own raise is not for children
}

// own is a process of this program.
func own(args ...string) (*process, io.WriteCloser, io.Reader, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	p := &process{Cmd: exec.Command(self, args...)}
	p.Stderr = os.Stderr
	in, err := p.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return p, in, out, p.run()
}
