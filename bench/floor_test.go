//go:build linux

package main

import (
	"errors"
	"slices"
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

// "to N" is obeyed from there on: what was ordered before went to all.
func TestFloorWritesToSome(t *testing.T) {
	const connections = 3
	f := new(floorServer)
	ends := make([]int, connections)
	for i := range ends {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		f.conns = append(f.conns, fds[0])
		ends[i] = fds[1]
	}
	for _, orders := range []string{"100\nto 2\n10\n10\n", "to 1\n5\n", "to 3\n7\n"} {
		if err := f.obey(orders); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [connections][]int{{100, 20, 5, 7}, {100, 20, 7}, {100, 7}} {
		var got []int
		buf := make([]byte, 1<<10)
		for {
			n, err := unix.Read(ends[i], buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		if !slices.Equal(got, want) {
			t.Errorf("connection %d got writes of %d bytes, want %d", i, got, want)
		}
	}
	if err := f.obey("to 4\n"); err == nil {
		t.Error("it writes to more connections than it has")
	}
}
