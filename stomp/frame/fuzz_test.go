package frame

import (
	"strings"
	"testing"
	"unicode/utf8"
)

var fuzzLimits = []*Limits{nil, tight, {Frame: 16}}

// FuzzDecoder demands that a stream means the same wherever it is cut, and that what comes out is within the limits.
func FuzzDecoder(f *testing.F) {
	for _, v := range vectors {
		for i := range fuzzLimits {
			f.Add([]byte(v.wire), uint8(v.version), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, version, limits uint8) {
		if len(wire) > 1<<9 {
			t.Skip("every cut of it takes too long")
		}
		v, l := Version(version%4), fuzzLimits[int(limits)%len(fuzzLimits)]
		whole := decode(v, l, wire)
		checkFrames(t, whole, l)
		if got := decode(v, l, bytewise(wire)...); !got.equal(whole) {
			t.Fatalf("byte by byte:\n got %v\nwhole %v", got, whole)
		}
		for cut := range wire {
			if got := decode(v, l, wire[:cut], wire[cut:]); !got.equal(whole) {
				t.Fatalf("cut at %d:\n got %v\nwhole %v", cut, got, whole)
			}
		}
	})
}

func checkFrames(t *testing.T, r result, l *Limits) {
	if l == nil {
		l = &noLimits
	}
	for _, f := range r.frames {
		if len(f.Command) == 0 || len(f.Command) > l.command() || len(f.Header) > l.headers() || len(f.Body) > l.frame() {
			t.Fatalf("over the limits: %+v", f)
		}
		for _, field := range f.Header {
			text := field.Name + field.Value
			if field.Name == "" || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				t.Fatalf("header that cannot be: %q", field)
			}
		}
	}
	if strings.ContainsFunc(r.err, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Fatalf("error that cannot go into a header: %q", r.err)
	}
}

// FuzzRoundTrip demands that a frame is read as it was written, and that no name, value or body changes another.
func FuzzRoundTrip(f *testing.F) {
	commands := []string{Connect, Stomp, Connected, Send, Message, Error, Receipt}
	for _, v := range vectors {
		for _, frame := range v.frames {
			first, last := Field{"x", ""}, Field{"x", ""}
			if n := len(frame.Header); n > 0 {
				first, last = frame.Header[0], frame.Header[n-1]
			}
			f.Add(uint8(v.version), uint8(len(frame.Body)), first.Name, first.Value, last.Name, last.Value, frame.Body)
		}
	}
	limits := &Limits{HeaderLine: 1 << 24, Frame: 1 << 26}
	f.Fuzz(func(t *testing.T, version, command uint8, name1, value1, name2, value2 string, body []byte) {
		v := Version(version % 4)
		in := &Frame{Command: commands[int(command)%len(commands)], Body: body}
		want := &Frame{Command: in.Command, Body: body}
		for _, field := range []Field{{name1, value1}, {name2, value2}} {
			field.Name = strings.ToValidUTF8(field.Name, "?")
			field.Value = strings.ToValidUTF8(field.Value, "?")
			in.Header = append(in.Header, field)
			if field.Name != "" && field.Name != HdrContentLength {
				want.Header = append(want.Header, survives(v, in.Command, field))
			}
		}
		wire := Append(nil, v, in)
		r := decode(v, limits, wire)
		if r.err != "" || len(r.frames) != 1 || r.partial {
			t.Fatalf("%q: %v", wire, r)
		}
		out := r.frames[0]
		if n, ok := out.Header.Lookup(HdrContentLength); ok != (len(body) > 0 || in.Command == Message || in.Command == Error) {
			t.Fatalf("%q: content-length %q", wire, n)
		} else if ok {
			out.Header = out.Header[:len(out.Header)-1]
		}
		if !sameFrame(out, want) {
			t.Fatalf("%q:\n got %q\nwant %q", wire, out, want)
		}
		if again := Append(nil, v, out); string(again) != string(wire) {
			t.Fatalf("written again:\n got %q\nwant %q", again, wire)
		}
	})
}

// survives is what is left of a field where not all of it can be escaped.
func survives(v Version, command string, f Field) Field {
	f.Name = strings.ReplaceAll(f.Name, "\x00", " ")
	f.Value = strings.ReplaceAll(f.Value, "\x00", " ")
	if v.escapes(command) {
		return f
	}
	return Field{
		Name:  strings.NewReplacer("\r", " ", "\n", " ", ":", " ").Replace(f.Name),
		Value: strings.NewReplacer("\r", " ", "\n", " ").Replace(f.Value),
	}
}
