//go:build linux

package main

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// What a floor writes is what the load reads, however it is cut.
func TestDeframerReadsWhatFloorsWrite(t *testing.T) {
	sizes := []int{3, 127, 130, 237, 4096, served(1<<16 - 1), served(1 << 16), 100_000}
	var stream []byte
	for _, size := range sizes {
		before := len(stream)
		if stream = appendServed(stream, size); len(stream)-before != size {
			t.Fatalf("a message of %d bytes has %d", size, len(stream)-before)
		}
	}
	for range 50 {
		var d deframer
		var got []int
		for p := stream; len(p) > 0; {
			n := 1 + rand.IntN(min(len(p), 1+rand.IntN(70_000)))
			if err := d.feed(p[:n], func(opcode byte, payload []byte) error {
				if opcode != opText || strings.Trim(string(payload), "x") != "" {
					return fmt.Errorf("opcode %d, %.20q", opcode, payload)
				}
				got = append(got, served(len(payload)))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
		if !slices.Equal(got, sizes) {
			t.Fatalf("%d, want %d", got, sizes)
		}
		if d.pending != nil {
			t.Error("it keeps a buffer")
		}
	}
}

func TestDeframerRefuses(t *testing.T) {
	for name, p := range map[string]string{
		"a fragment":       "\x01\x01x",
		"a masked frame":   "\x81\x81\x00\x00\x00\x00x",
		"a frame too long": "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if err := new(deframer).feed([]byte(p), func(byte, []byte) error { return nil }); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestDeframerInflates(t *testing.T) {
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(chat)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	payload := bytes.TrimSuffix(deflated.Bytes(), []byte{0, 0, 0xff, 0xff})
	stream := append([]byte{0x80 | 0x40 | opText, byte(len(payload))}, payload...)
	stream = append(stream, 0x80|opText, 2, 'h', 'i')
	var d deframer
	var got []string
	if err := d.feed(stream, func(_ byte, payload []byte) error {
		text, err := d.inflated(payload)
		got = append(got, string(text))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{chat, "hi"}) {
		t.Errorf("%q", got)
	}
}

func TestFramesOfPayloads(t *testing.T) {
	for _, test := range []struct {
		kind    kind
		payload string
		want    int
	}{
		{raw, "\n", 0},
		{raw, "MESSAGE\n\n\x00", 1},
		{sockJS, "o", 0},
		{sockJS, "h", 0},
		{sockJS, `a["\n"]`, 0},
		{sockJS, `a["MESSAGE\nbody"]`, 1},
		{sockJS, `a["MESSAGE\nx","\n","MESSAGE\ny"]`, 2},
	} {
		if got := (&conn{kind: test.kind}).in([]byte(test.payload)); got != test.want {
			t.Errorf("%q has %d, not %d", test.payload, got, test.want)
		}
	}
}

func TestParseMemory(t *testing.T) {
	status := "Name:\tcaddy\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
	if got, err := parseMemory([]byte(status), "VmRSS"); err != nil || got != 1<<20 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseMemory([]byte(status), "VmSwap"); err == nil {
		t.Error("what is not there is found")
	}
}

func TestParseBenchmark(t *testing.T) {
	output := "cpu: any\nBenchmarkMatch/topics/100-2   \t 5 \t 380.9 ns/op\t 578 B/op\nBenchmarkMatch/topics/100000-2 \t 5\t637 ns/op\t579 B/op\n" +
		"BenchmarkMatchless 5 1 ns/op\nBenchmarkMatch/topics/100-2 5 390 ns/op\nPASS\n"
	for _, test := range []struct {
		name, unit string
		want       []float64
	}{
		{"BenchmarkMatch/topics/100", "ns/op", []float64{380.9, 390}},
		{"BenchmarkMatch/topics/100000", "ns/op", []float64{637}},
		{"BenchmarkMatch/topics/100000", "B/op", []float64{579}},
		{"BenchmarkMatchless", "ns/op", []float64{1}},
	} {
		if got, err := parseBenchmark(output, test.name, test.unit); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s %s: %v, %v", test.name, test.unit, got, err)
		}
	}
	for _, name := range []string{"BenchmarkMatch", "BenchmarkMatch/topics/1000"} {
		if got, err := parseBenchmark(output, name, "ns/op"); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A session of SockJS that the server has ended is no client that waits: it fails
// the measurement.
func TestEndOfSockJS(t *testing.T) {
	const end = `c[1002,"Connection interrupted"]`
	frames := []string{"h", `a["MESSAGE\n\nc\n"]`, end}
	for of, stream := range map[kind]func(frame string) string{
		sockJS:    func(frame string) string { return fmt.Sprintf("\x81%c%s", len(frame), frame) },
		streaming: func(frame string) string { return fmt.Sprintf("%x\r\n%s\n\r\n", len(frame)+1, frame) },
	} {
		c := &conn{kind: of}
		c.messages.chunks = of == streaming
		for _, frame := range frames {
			err := c.received([]byte(stream(frame)))
			if ended := err != nil && strings.Contains(err.Error(), end); ended != (frame == end) {
				t.Errorf("%v: %s: %v", of, frame, err)
			}
		}
		if c.got != 1 {
			t.Errorf("%v: %d messages", of, c.got)
		}
	}
}
