package frame

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// flood sends the same bytes until the Decoder has enough, and reports how many bytes it took and what it said.
func flood(t *testing.T, d *Decoder, piece string) (int, error) {
	t.Helper()
	for n := 0; n < 64<<20; n += len(piece) {
		if err := d.Decode([]byte(piece), accept); err != nil {
			if d.partial != nil {
				t.Error("the buffer is kept after the error")
			}
			return n + len(piece), err
		}
		if held := held(d); held > 2*defaultFrame {
			t.Fatalf("holds %d bytes after %d", held, n)
		}
	}
	t.Fatalf("took 64 MiB of %.20q", piece)
	return 0, nil
}

func held(d *Decoder) int {
	if d.partial == nil {
		return 0
	}
	return cap(d.partial.bytes)
}

func wantLimit(t *testing.T, err error, name string) {
	t.Helper()
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Limit != name {
		t.Errorf("got %v, want a LimitError of %s", err, name)
	}
}

// Attack: things that never end. Each stops at its own limit, long before the memory is full.
func TestEndless(t *testing.T) {
	for _, tt := range []struct {
		name, start, piece, limit string
		most                      int
	}{
		{"command", "", "A", "command_line", 64},
		{"header line", "SEND\n", "aaaaaaaa", "header_line", 4 << 10},
		{"value", "SEND\na:", "\\n", "header_line", 4 << 10},
		{"header lines", "SEND\n", "a:b\n", "headers", 1 << 10},
		{"carriage returns", "SEND\na:", "\r", "header_line", 4 << 10},
		{"large headers", "SEND\n", strings.Repeat("a", 1024) + ":b\n", "frame_size", 80 << 10},
		{"body", "SEND\n\n", strings.Repeat("x", 100), "frame_size", 80 << 10},
		{"named value", "SEND\nclient-data:", "xxxxxxxx", "client_data", 8 << 10},
		{"named values", "SEND\n", "client-data:" + strings.Repeat("x", 2000) + "\n", "frame_size", 80 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			d.SetLimits(&Limits{Named: map[string]int{"client-data": 4096}})
			if err := d.Decode([]byte(tt.start), accept); err != nil {
				t.Fatal(err)
			}
			taken, err := flood(t, &d, tt.piece)
			wantLimit(t, err, tt.limit)
			if taken > tt.most {
				t.Errorf("took %d bytes, want at most %d", taken, tt.most)
			}
		})
	}
}

// Attack: a content-length that asks for all memory there is. It is refused when the head is read; one that the limits
// allow costs what came of the body, and no more.
func TestHugeContentLength(t *testing.T) {
	for _, length := range []string{"65536", "2147483648", "9223372036854775807", strings.Repeat("9", 1000)} {
		var d Decoder
		wantLimit(t, d.Decode([]byte("SEND\ncontent-length:"+length+"\n\n"), accept), "frame_size")
	}
	var d Decoder
	d.SetLimits(&Limits{Frame: 1 << 27})
	if err := d.Decode([]byte("SEND\ncontent-length:100000000\n\nabc"), accept); err != nil {
		t.Fatal(err)
	}
	if held(&d) > 512 {
		t.Errorf("holds %d bytes for a few that came", held(&d))
	}
}

// Attack: an operator who raised every limit to the largest number, and a client who uses it. Nothing overflows.
func TestLimitsBeyondAllNumbers(t *testing.T) {
	const most = int(^uint(0) >> 1)
	limits := &Limits{Command: most, HeaderLine: most, Headers: most, Frame: most, Named: map[string]int{"n": most}}
	wire := []byte("SEND\nn:1\na:2\ncontent-length:" + strings.Repeat("9", 30) + "\n\nx")
	whole := decode(V12, limits, wire)
	if got := decode(V12, limits, bytewise(wire)...); !got.equal(whole) || whole.err == "" {
		t.Errorf("byte by byte %v, whole %v", got, whole)
	}
}

// Attack: a frame of megabytes, a byte at a time. Were what came before looked at or copied again for each byte, it would
// take minutes.
func TestByteAtATime(t *testing.T) {
	const size = 2 << 20
	limits := &Limits{HeaderLine: 2 * size, Frame: 2 * size, Named: map[string]int{"client-data": 2 * size}}
	for _, head := range []string{"SEND\na:", "SEND\n", "SEND\nclient-data:", "SEND\n\n", "SEND\ncontent-length:2097152\n\n"} {
		var d Decoder
		d.SetLimits(limits)
		if err := d.Decode([]byte(head), accept); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for i := range size {
			if err := d.Decode([]byte{'x'}, accept); err != nil {
				t.Fatal(err)
			}
			if i%1024 == 0 && time.Since(start) > 20*time.Second {
				t.Fatalf("%q: %d bytes took %v", head, i, time.Since(start))
			}
		}
	}
}

// Attack: slowloris. Many connections begin a frame and stop; before that, large frames of others have filled the pools
// with large buffers. What they hold follows what they sent.
func TestHalfFramesHoldLittle(t *testing.T) {
	large := []byte("SEND\n\n" + strings.Repeat("x", 60000) + "\x00")
	for range 100 {
		var d Decoder
		for _, piece := range [][]byte{large[:30000], large[30000:]} {
			if err := d.Decode(piece, accept); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 1000 {
		var d Decoder
		if err := d.Decode([]byte("SEND\ndestination:/topic/"), accept); err != nil {
			t.Fatal(err)
		}
		if held(&d) > 512 {
			t.Fatalf("holds %d bytes for a few that came", held(&d))
		}
	}
}

// Attack: the same, with whole frames after it. An idle Decoder holds nothing but itself.
func TestIdleHoldsNothing(t *testing.T) {
	var d Decoder
	err := d.Decode([]byte("SEND\n\nabc"), accept)
	if err != nil || d.partial == nil {
		t.Fatalf("partial %v, %v", d.partial != nil, err)
	}
	if err := d.Decode([]byte("\x00\n\n"), accept); err != nil || d.partial != nil || held(&d) > 0 {
		t.Fatalf("holds %d bytes, partial %v, %v", held(&d), d.partial != nil, err)
	}
}

// Attack: one read with the end of a frame and a great many small ones after it. They are not copied into the buffer of
// the first.
func TestWhatFollowsAFrameIsNotBuffered(t *testing.T) {
	var d Decoder
	if err := d.Decode([]byte("SEN"), accept); err != nil {
		t.Fatal(err)
	}
	frames := 0
	err := d.Decode(append([]byte("D\n\n\x00"), bytes.Repeat([]byte("SEND\n\n\x00"), 1<<16)...), func(*Frame) error {
		frames++
		if held(&d) > 0 {
			t.Fatalf("holds %d bytes", held(&d))
		}
		return nil
	})
	if err != nil || frames != 1+1<<16 {
		t.Fatalf("%d frames, %v", frames, err)
	}
}
