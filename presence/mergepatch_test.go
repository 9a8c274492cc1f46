package presence

import (
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// RFC 7396 appendix A, in its order.
var mergePatchVectors = []struct{ original, patch, result string }{
	{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
	{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
	{`{"a":"b"}`, `{"a":null}`, `{}`},
	{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
	{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
	{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
	{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
	{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
	{`["a","b"]`, `["c","d"]`, `["c","d"]`},
	{`{"a":"b"}`, `["c"]`, `["c"]`},
	{`{"a":"foo"}`, `null`, `null`},
	{`{"a":"foo"}`, `"bar"`, `"bar"`},
	{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
	{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
	{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
}

func TestMergePatchVectors(t *testing.T) {
	for _, tt := range mergePatchVectors {
		wantJSON(t, mergePatch([]byte(tt.original), []byte(tt.patch)), tt.result)
	}
}

func TestMergePatch(t *testing.T) {
	for _, tt := range []struct{ name, original, patch, result string }{
		{"into nothing", "", `{"a":1,"b":null}`, `{"a":1}`},
		{"a string into nothing", "", `"a"`, `"a"`},
		{"into a string", `"Mina"`, `{"a":1}`, `{"a":1}`},
		{"nothing", `{"a":1}`, `{}`, `{"a":1}`},
		{"null in an array stays", `{}`, `{"a":[null,{"b":null}]}`, `{"a":[null,{"b":null}]}`},
		{"numbers as they were written", `{"a":1.0}`, `{"b":12345678901234567890}`, `{"a":1.0,"b":12345678901234567890}`},
		{"HTML characters", `{"a":"<"}`, `{"<b>":"&"}`, `{"<b>":"&","a":"<"}`},
		{"an empty name", `{"":1}`, `{"":null}`, `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(mergePatch([]byte(tt.original), []byte(tt.patch))); got != tt.result {
				t.Errorf("got %s, want %s", got, tt.result)
			}
		})
	}
}

func TestRegisterMergePatch(t *testing.T) {
	for _, tt := range []struct{ name, before, contentType, patch, want string }{
		{"merges", `{"name":"Mina","typing":true}`, patchType, `{"typing":null,"color":"red"}`, `{"color":"red","name":"Mina"}`},
		{"the first time", "", patchType, `{"name":"Mina","typing":null}`, `{"name":"Mina"}`},
		{"replaces what is no object", `"Mina"`, patchType, `{"name":"Mina"}`, `{"name":"Mina"}`},
		{"null removes all", `{"name":"Mina"}`, patchType, `null`, `null`},
		{"plain JSON replaces", `{"name":"Mina"}`, "application/json", `{"color":"red"}`, `{"color":"red"}`},
		// RFC 9110 section 8.3.1: a media type has parameters, and its case
		// does not matter
		{"with a parameter", `{"name":"Mina"}`, patchType + ";charset=utf-8", `{"color":"red"}`, `{"color":"red","name":"Mina"}`},
		{"in another case", `{"name":"Mina"}`, "Application/Merge-Patch+JSON", `{"color":"red"}`, `{"color":"red","name":"Mina"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				c := s.connect(t, "mina-0001")
				if tt.before != "" {
					c.register(`{"clientData":` + tt.before + `}`)
				}
				if err := c.register(`{"clientData":`+tt.patch+`}`, frame.HdrContentType, tt.contentType); err != nil {
					t.Fatal(err)
				}
				if got := s.clientData("mina-0001"); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestRegisterMergedResultAtTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		const limit = 100
		s.setClientDataLimit(limit)
		c := s.connect(t, "mina-0001")
		patch := func(name string, size int) error {
			return c.register(`{"clientData":{"`+name+`":"`+strings.Repeat("x", size)+`"}}`, frame.HdrContentType, patchType)
		}
		if err := patch("a", 50); err != nil { // 58 bytes
			t.Fatal(err)
		}
		if err := patch("b", limit-58-7); err != nil {
			t.Errorf("at the limit: %v", err)
		}
		if got := len(s.clientData("mina-0001")); got != limit {
			t.Errorf("client data has %d bytes, want %d", got, limit)
		}
		patch("b", limit-58-6)
		settle()
		if got := c.refusal(t); got != "limit exceeded: client_data 100" {
			t.Errorf("one byte more: ERROR says %q", got)
		}
		if told := s.told.of("mina-0001"); told[len(told)-1].Reason != stomp.ReasonPolicy {
			t.Errorf("ended with %s", told[len(told)-1].Reason)
		}
	})
}

// Attack: objects in objects, as deep as they fit. What a patch costs must be
// proportional to its size, as it is applied with the registry locked.
func TestMergePatchDepth(t *testing.T) {
	nested := func(size int) []byte {
		depth := size / len(`{"a":}`)
		return []byte(strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat(`}`, depth))
	}
	allocated := func(size int) uint64 {
		document := nested(size)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		mergePatch(document, document)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := allocated(512), allocated(4096)
	if large > 16*small {
		t.Errorf("8 times the size allocates %d times as much: %d bytes for 4 KiB", large/small, large)
	}
}

func wantJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Errorf("%v: %s", err, got)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
