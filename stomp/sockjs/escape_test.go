package sockjs

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEncodeArray(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `a[""]`},
		{"\n", `a["\n"]`},
		{"plain", `a["plain"]`},
		{`"\/`, `a["\"\\/"]`},
		{"\x00\x01\b\t\r\x1f\x7f", `a["\u0000\u0001\u0008\u0009\u000d\u001f` + "\x7f" + `"]`},
		{"RECEIPT\nreceipt-id:1\n\n\x00", `a["RECEIPT\nreceipt-id:1\n\n\u0000"]`},
		{"\u00e9\u2603\U0001F600", "a[\"\u00e9\u2603\U0001F600\"]"},
		{"\u200b\u200c\u200f\u2010", "a[\"\u200b\\u200c\\u200f\u2010\"]"},
		{"\u2027\u2028\u2029\u202f\u2030", "a[\"\u2027\\u2028\\u2029\\u202f\u2030\"]"},
		{"\u205f\u2060\u206f\u2070", "a[\"\u205f\\u2060\\u206f\u2070\"]"},
		{"\uffef\ufff0\ufffd\uffff", "a[\"\uffef\\ufff0\\ufffd\\uffff\"]"},
		{"\ufeff<&>", "a[\"\ufeff<&>\"]"},
		{"a\xffb\xc3", `a["a\ufffdb\ufffd"]`},
	} {
		if got := string(encodeArray([]byte(tt.in))); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.in, got, tt.want)
		}
	}
}

// Every character survives the way through JSON.
func TestEveryRune(t *testing.T) {
	var all strings.Builder
	for r := range utf8.MaxRune + 1 {
		if utf8.ValidRune(r) {
			all.WriteRune(r)
		}
	}
	if got := decodeArray(t, encodeArray([]byte(all.String()))); got != all.String() {
		t.Error("characters were lost")
	}
}

// decodeArray is what a client's JSON parser makes of an array frame.
func decodeArray(t *testing.T, frame []byte) string {
	t.Helper()
	if !utf8.Valid(frame) || frame[0] != 'a' {
		t.Fatalf("frame %q", frame)
	}
	var messages []string
	if err := json.Unmarshal(frame[1:], &messages); err != nil || len(messages) != 1 {
		t.Fatalf("frame %q: %d messages, %v", frame, len(messages), err)
	}
	return messages[0]
}

func BenchmarkEncodeArray(b *testing.B) {
	message := []byte("MESSAGE\nsubscription:sub-0\nmessage-id:abc\ndestination:/topic/presence\ncontent-type:application/json\n\n" +
		strings.Repeat(`[{"stream":"b2k9","seq":42,"type":"left"}]`, 10) + "\x00")
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		encodeArray(message)
	}
}
