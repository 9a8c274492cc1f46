package frame

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// result is all that can be seen of a stream.
type result struct {
	frames  []*Frame
	err     string
	partial bool
}

// decode feeds the pieces to a new Decoder, which follows the version of CONNECT as a session makes it.
func decode(v Version, limits *Limits, pieces ...[]byte) result {
	var d Decoder
	d.SetVersion(v)
	d.SetLimits(limits)
	var r result
	for _, piece := range pieces {
		// A copy that is overwritten afterwards shows whatever the Decoder keeps of it.
		piece = slices.Clone(piece)
		err := d.Decode(piece, func(f *Frame) error {
			r.frames = append(r.frames, f.Clone())
			if v, ok := ParseVersion(f.Header.Get(HdrAcceptVersion)); ok && f.Command == Connect {
				d.SetVersion(v)
			}
			return nil
		})
		clear(piece)
		if err != nil {
			r.err = err.Error()
		}
	}
	r.partial = d.partial != nil
	return r
}

// bytewise cuts a stream everywhere.
func bytewise(wire []byte) [][]byte {
	return slices.Collect(slices.Chunk(wire, 1))
}

func (v *vector) want() result {
	r := result{err: v.err, partial: v.partial}
	for i := range v.frames {
		r.frames = append(r.frames, &v.frames[i])
	}
	return r
}

func (r result) equal(other result) bool {
	return r.err == other.err && r.partial == other.partial && slices.EqualFunc(r.frames, other.frames, sameFrame)
}

func sameFrame(a, b *Frame) bool {
	return a.Command == b.Command && slices.Equal(a.Header, b.Header) && string(a.Body) == string(b.Body)
}

func (r result) String() string {
	var b strings.Builder
	for _, f := range r.frames {
		b.Write(Append(nil, V12, f))
	}
	return fmt.Sprintf("%q partial %v error %q", b.String(), r.partial, r.err)
}

func TestDecoderVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			wire := []byte(v.wire)
			if got := decode(v.version, v.limits, wire); !got.equal(v.want()) {
				t.Fatalf("whole:\n got %v\nwant %v", got, v.want())
			}
			if got := decode(v.version, v.limits, bytewise(wire)...); !got.equal(v.want()) {
				t.Fatalf("byte by byte:\n got %v\nwant %v", got, v.want())
			}
			for cut := range wire {
				if got := decode(v.version, v.limits, wire[:cut], wire[cut:]); !got.equal(v.want()) {
					t.Fatalf("cut at %d:\n got %v\nwant %v", cut, got, v.want())
				}
			}
		})
	}
}

func TestDecoderErrorIsSticky(t *testing.T) {
	count := func(n *int) func(*Frame) error {
		return func(*Frame) error { *n++; return nil }
	}
	t.Run("syntax", func(t *testing.T) {
		var d Decoder
		var n int
		first := d.Decode([]byte("ABORT\n\n\x00x\n"), count(&n))
		if _, ok := errors.AsType[*SyntaxError](first); !ok {
			t.Fatalf("got %v, want a SyntaxError", first)
		}
		if second := d.Decode([]byte("ABORT\n\n\x00"), count(&n)); second != first || n != 1 {
			t.Fatalf("got %v after %d frames, want %v after 1", second, n, first)
		}
	})
	t.Run("limit", func(t *testing.T) {
		var d Decoder
		var n int
		first := d.Decode([]byte("ABORT\n\n\x00"+strings.Repeat("A", 33)), count(&n))
		var limit *LimitError
		if !errors.As(first, &limit) || *limit != (LimitError{Limit: "command_line", Max: 32}) {
			t.Fatalf("got %v, want command_line", first)
		}
		if second := d.Decode([]byte("\n\n\x00"), count(&n)); second != first || n != 1 {
			t.Fatalf("got %v after %d frames, want %v after 1", second, n, first)
		}
	})
	t.Run("emit", func(t *testing.T) {
		var d Decoder
		var n int
		stop := func(*Frame) error { n++; return io.EOF }
		for range 2 {
			if err := d.Decode([]byte("ABORT\n\n\x00ABORT\n\n\x00"), stop); err != io.EOF || n != 1 {
				t.Fatalf("got %v after %d frames, want io.EOF after 1", err, n)
			}
		}
	})
}

func TestDecoderLimitsTakeEffectWithTheNextFrame(t *testing.T) {
	var d Decoder
	if err := d.Decode([]byte("SEND\na:b"), accept); err != nil {
		t.Fatal(err)
	}
	d.SetLimits(tight)
	if err := d.Decode([]byte(strings.Repeat("c", 100)+"\n\n\x00"), accept); err != nil {
		t.Fatalf("the limits of a frame changed within it: %v", err)
	}
	var limit *LimitError
	if err := d.Decode([]byte("SEND\na:"+strings.Repeat("c", 100)), accept); !errors.As(err, &limit) {
		t.Fatalf("got %v, want a LimitError", err)
	}
}

func TestDecoderVersionTakesEffectWithTheNextFrame(t *testing.T) {
	var d Decoder
	d.SetVersion(V12)
	var got []Field
	emit := func(f *Frame) error { got = append(got, f.Header...); return nil }
	if err := d.Decode([]byte("SEND\r\na:b\r\n"), emit); err != nil {
		t.Fatal(err)
	}
	d.SetVersion(V11)
	if err := d.Decode([]byte("c:\\r\r\n\r\n\x00SEND\na:b\r\n\n\x00"), emit); err != nil {
		t.Fatal(err)
	}
	if want := []Field{{"a", "b"}, {"c", "\r"}, {"a", "b\r"}}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// Strings may be kept, and Frame.Clone keeps the rest, whatever happens to the bytes.
func TestFrameClone(t *testing.T) {
	for _, cut := range []int{0, 7} {
		wire := []byte("SEND\nname:value\n\nbody\x00")
		var d Decoder
		var kept *Frame
		emit := func(f *Frame) error { kept = f.Clone(); return nil }
		for _, piece := range [][]byte{wire[:cut], wire[cut:]} {
			if err := d.Decode(piece, emit); err != nil {
				t.Fatal(err)
			}
		}
		clear(wire)
		if err := d.Decode([]byte("SE"), nil); err != nil {
			t.Fatal(err)
		}
		if err := d.Decode([]byte("ND\nxxxx:xxxxx\n\nxxxx\x00"), accept); err != nil {
			t.Fatal(err)
		}
		want := &Frame{Command: Send, Header: h("name", "value"), Body: []byte("body")}
		if !reflect.DeepEqual(kept, want) {
			t.Fatalf("cut at %d: got %v, want %v", cut, kept, want)
		}
	}
}

// An append to a Body must not overwrite what follows it in the buffer.
func TestBodyHasNoRoom(t *testing.T) {
	var d Decoder
	var got []string
	err := d.Decode([]byte("SEND\n\nab\x00SEND\n\ncd\x00"), func(f *Frame) error {
		got = append(got, string(f.Body))
		f.Body = append(f.Body, "xxxxx"...)
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"ab", "cd"}) {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestHeader(t *testing.T) {
	header := h("a", "1", "b", "", "a", "2")
	if got := header.Get("a"); got != "1" {
		t.Errorf("Get(a) = %q, want the first", got)
	}
	if value, ok := header.Lookup("b"); value != "" || !ok {
		t.Errorf("Lookup(b) = %q, %v", value, ok)
	}
	if value, ok := header.Lookup("c"); value != "" || ok {
		t.Errorf("Lookup(c) = %q, %v", value, ok)
	}
	clone := header.Clone()
	clone[0].Value = "3"
	if header.Get("a") != "1" {
		t.Error("Clone shares its fields")
	}
	if Header(nil).Clone() != nil || Header(nil).Get("a") != "" {
		t.Error("nil Header")
	}
}

func TestVersion(t *testing.T) {
	for _, v := range []Version{V10, V11, V12} {
		if got, ok := ParseVersion(v.String()); got != v || !ok {
			t.Errorf("ParseVersion(%q) = %d, %v", v, got, ok)
		}
	}
	for _, s := range []string{"", "1", "1.3", "1.2 ", "v1.2"} {
		if v, ok := ParseVersion(s); v != 0 || ok {
			t.Errorf("ParseVersion(%q) = %d, %v", s, v, ok)
		}
	}
	if s := Version(0).String(); s != "" {
		t.Errorf("zero version is %q", s)
	}
}

func TestDefaultLimits(t *testing.T) {
	l := DefaultLimits()
	if noLimits.command() != l.Command || noLimits.headerLine() != l.HeaderLine ||
		noLimits.headers() != l.Headers || noLimits.frame() != l.Frame {
		t.Errorf("zero Limits are not %+v", l)
	}
}

// One is embedded in every session, most of which are idle.
func TestDecoderIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Decoder{}); size > 48 {
		t.Errorf("Decoder has %d bytes", size)
	}
}
