package sockjs

import (
	"errors"
	"slices"
	"testing"
)

// SockJS 0.3, "Protocol WebSocket": what clients send, and what browsers of
// all ages have been seen to.
func TestDecodePayload(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
		ok   bool
	}{
		{``, nil, true},
		{`[]`, nil, true},
		{`["x"]`, []string{"x"}, true},
		{`["a","b",""]`, []string{"a", "b", ""}, true},
		{" [ \"a\" ,\n\"b\" ] ", []string{"a", "b"}, true},
		{`"one"`, []string{"one"}, true},
		{`""`, []string{""}, true},
		{`["\u0000\n\"\ud83d\ude00"]`, []string{"\x00\n\"\U0001F600"}, true},
		{`["\ud800"]`, []string{"\ufffd"}, true},
		{"[\"\xff\"]", []string{"\ufffd"}, true},
		{`["x"`, nil, false},
		{`"x`, nil, false},
		{`x`, nil, false},
		{`null`, nil, false},
		{`1`, nil, false},
		{`true`, nil, false},
		{`{}`, nil, false},
		{`[1]`, nil, false},
		{`[["x"]]`, nil, false},
		{`["x",]`, nil, false},
		{`["x"]["y"]`, nil, false},
		{`["x"] y`, nil, false},
		{"[\"\n\"]", nil, false},
	} {
		got, err := decodePayload([]byte(tt.in))
		if !slices.Equal(got, tt.want) || (err == nil) != tt.ok || err != nil && !errors.Is(err, errBrokenJSON) {
			t.Errorf("%q: %q, %v", tt.in, got, err)
		}
	}
}
