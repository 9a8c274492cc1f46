package frame

import (
	"bytes"
	"strings"
	"testing"
)

// usual is what a browser with stompjs sends.
var usual = []byte("SEND\ndestination:/topic/chat.room.42\ncontent-type:application/json\ncontent-length:60\n\n" +
	`{"from":"mina","text":"hello, is anybody here?","n":1234567}` + "\x00")

// escapedSend is the same with a value that is not itself on the wire.
var escapedSend = bytes.Replace(usual, []byte("\ncontent-type"), []byte("\nx-time:10\\c22\\c33\ncontent-type"), 1)

func accept(*Frame) error { return nil }

func TestDecodeAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations differ under the race detector")
	}
	for _, tt := range []struct {
		name   string
		pieces [][]byte
		most   float64
	}{
		{"usual SEND", [][]byte{usual}, 1},
		{"SEND in two pieces", [][]byte{usual[:50], usual[50:]}, 1},
		{"SEND byte by byte", bytewise(usual), 1},
		{"SEND with an escape", [][]byte{escapedSend}, 2},
		{"no header", [][]byte{[]byte("DISCONNECT\n\n\x00")}, 0},
		{"heart-beat", [][]byte{[]byte("\n")}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			d.SetVersion(V12)
			got := testing.AllocsPerRun(1000, func() {
				for _, piece := range tt.pieces {
					if err := d.Decode(piece, accept); err != nil {
						t.Fatal(err)
					}
				}
			})
			if got > tt.most {
				t.Errorf("%v allocations, want at most %v", got, tt.most)
			}
		})
	}
}

var message = Frame{
	Command: Message,
	Header: h(HdrSubscription, "sub-0", HdrMessageID, "7f3k-42", HdrDestination, "/topic/chat.room.42",
		HdrContentType, "application/json;charset=utf-8"),
	Body: []byte(`{"from":"mina","text":"hello, is anybody here?","n":1234567}`),
}

func TestAppendAllocs(t *testing.T) {
	dst := make([]byte, 0, 1024)
	for _, v := range []Version{V10, V11, V12} {
		if got := testing.AllocsPerRun(1000, func() { dst = Append(dst[:0], v, &message) }); got > 0 {
			t.Errorf("version %s: %v allocations, want none", v, got)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	large := []byte("SEND\ndestination:/topic/a\ncontent-length:60000\n\n" + strings.Repeat("x", 60000) + "\x00")
	for _, bm := range []struct {
		name   string
		pieces [][]byte
	}{
		{"usual", [][]byte{usual}},
		{"escape", [][]byte{escapedSend}},
		{"two_pieces", [][]byte{usual[:50], usual[50:]}},
		{"byte_by_byte", bytewise(usual)},
		{"ten_at_once", [][]byte{bytes.Repeat(usual, 10)}},
		{"60kB_whole", [][]byte{large}},
		{"60kB_in_512", func() (pieces [][]byte) {
			for p := large; len(p) > 0; p = p[min(len(p), 512):] {
				pieces = append(pieces, p[:min(len(p), 512)])
			}
			return pieces
		}()},
		{"heart-beat", [][]byte{{'\n'}}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var d Decoder
			d.SetVersion(V12)
			size := 0
			for _, piece := range bm.pieces {
				size += len(piece)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for _, piece := range bm.pieces {
					if err := d.Decode(piece, accept); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	dst := make([]byte, 0, 1024)
	for _, v := range []Version{V10, V11, V12} {
		b.Run(v.String(), func(b *testing.B) {
			b.SetBytes(int64(len(Append(nil, v, &message))))
			b.ReportAllocs()
			for b.Loop() {
				dst = Append(dst[:0], v, &message)
			}
		})
	}
}
