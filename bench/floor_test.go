//go:build linux

package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What a floor is told to write arrives: messages that are ordered one by one in
// one write, those of one line in one each.
func TestFloorObeys(t *testing.T) {
	for _, test := range []struct {
		orders string
		want   []int // bytes of each write(2)
	}{
		{"237\n", []int{237}},
		{"237\n237\n237\n", []int{711}},
		{"100 200 300\n", []int{100, 200, 300}},
		{"60000\n60000\n", []int{60000, 60000}},
	} {
		// a socket pair that keeps the boundaries of writes
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		f := floorServer{conns: fds[:1]}
		if err := f.obey(test.orders); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<20)
		for _, want := range test.want {
			n, err := unix.Read(fds[1], buf)
			if err != nil || n != want {
				t.Errorf("%q: a write of %d bytes (%v), want %d", test.orders, n, err, want)
			}
		}
	}
	if err := new(floorServer).obey("nonsense\n"); err == nil {
		t.Error("nonsense is obeyed")
	}
}
