package frame

import (
	"strings"
	"testing"
)

func TestAppendVectors(t *testing.T) {
	for _, v := range vectors {
		if v.lenient || v.err != "" || v.partial {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			var got []byte
			for i := range v.frames {
				got = Append(got, v.version, &v.frames[i])
			}
			if string(got) != v.wire {
				t.Errorf("\n got %q\nwant %q", got, v.wire)
			}
		})
	}
}

func TestAppendContentLength(t *testing.T) {
	lie := h(HdrContentLength, "99", "a", "b", HdrContentLength, "98")
	for _, tt := range []struct {
		frame Frame
		want  string
	}{
		{Frame{Command: Send, Header: lie}, "SEND\na:b\n\n\x00"},
		{Frame{Command: Send, Header: lie, Body: []byte("x")}, "SEND\na:b\ncontent-length:1\n\nx\x00"},
		{Frame{Command: Receipt, Header: lie}, "RECEIPT\na:b\n\n\x00"},
		{Frame{Command: Message, Header: lie}, "MESSAGE\na:b\ncontent-length:0\n\n\x00"},
		{Frame{Command: Error}, "ERROR\ncontent-length:0\n\n\x00"},
		{Frame{Command: Error, Body: []byte("\x00")}, "ERROR\ncontent-length:1\n\n\x00\x00"},
	} {
		if got := Append(nil, V12, &tt.frame); string(got) != tt.want {
			t.Errorf("\n got %q\nwant %q", got, tt.want)
		}
	}
}

// Whatever is in a name or value, it can neither add a line nor end the frame, in any version.
func TestAppendFieldInjection(t *testing.T) {
	const name, value = "n:\r\n\x00\\", "v:\r\n\x00\\"
	for _, tt := range []struct {
		version Version
		want    string
	}{
		{0, "n    \\:v:   \\\n"},
		{V10, "n    \\:v:   \\\n"},
		{V11, "n\\c\r\\n \\\\:v\\c\r\\n \\\\\n"},
		{V12, "n\\c\\r\\n \\\\:v\\c\\r\\n \\\\\n"},
	} {
		if got := AppendField(nil, tt.version, name, value); string(got) != tt.want {
			t.Errorf("version %q:\n got %q\nwant %q", tt.version, got, tt.want)
		}
	}
	for _, command := range []string{Connect, Stomp, Connected} {
		f := Frame{Command: command, Header: h(name, value)}
		if got, want := string(Append(nil, V12, &f)), command+"\nn    \\:v:   \\\n\n\x00"; got != want {
			t.Errorf("%s:\n got %q\nwant %q", command, got, want)
		}
	}
	if got := AppendField([]byte("x"), V12, "", "value"); string(got) != "x" {
		t.Errorf("empty name: got %q", got)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	dst := []byte("before")
	f := Frame{Command: Send, Header: h("a", "b"), Body: []byte("body")}
	if got := string(Append(dst, V12, &f)); !strings.HasPrefix(got, "beforeSEND\n") {
		t.Errorf("got %q", got)
	}
}
