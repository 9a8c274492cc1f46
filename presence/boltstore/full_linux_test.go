package boltstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func init() { children["full"] = fullChild }

// fullChild fills a disk of 1 MiB that only it sees.
func fullChild(path string) error {
	dir := filepath.Dir(path)
	// nothing goes back to the other namespace
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return fillUp(path, func() error { return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m") })
}

// A disk that is full: what is in the file stays.
func TestDiskFull(t *testing.T) {
	c := child(t, "full", path(t))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	}
	out, err := run(t, c)
	if err != nil && (out == "" || strings.HasPrefix(out, "private mounts:") || strings.HasPrefix(out, "mount:")) {
		// TestFileLimit shows the same everywhere
		if os.Getenv("CI") != "" { // where it must be seen
			t.Fatalf("mounting a small disk: %v: %s", err, out)
		}
		t.Skipf("this system does not let the test mount a small disk: %v: %s", err, out)
	}
	if err != nil || !strings.Contains(out, syscall.ENOSPC.Error()) {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(out)
}
