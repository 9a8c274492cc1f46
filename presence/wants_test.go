package presence

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the configurations that followed each other, an event is wanted by
// the types of the one in which it happened, and a store keeps just that. What is
// remembered is no more than there were configurations since the cursor.
func TestWants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w wants
		var events []*Event
		var wanted []bool
		position, cursor, since := uint64(0), uint64(0), 0 // configurations since cursor
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"event", "event", "configuration", "told", "kept"}).Draw(t, "what") {
			case "event":
				position += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
				e := &Event{Position: position, Type: rapid.SampledFrom(allEvents).Draw(t, "type")}
				events, wanted = append(events, e), append(wanted, w.now().has(e.Type))
			case "configuration":
				w.change(typeSet(rapid.IntRange(0, 255).Draw(t, "types")), position)
				since++
			case "told":
				if n := rapid.IntRange(0, len(events)).Draw(t, "events"); n > 0 {
					cursor, events, wanted = events[n-1].Position, events[n:], wanted[n:]
				}
				if w.forget(cursor); cursor == position {
					since = 0
				}
			case "kept":
				if len(w) > 0 {
					w.forget(cursor)
					w = wantsOf(*decoded[[]Wanted](encoded(w.kept())), 0)
				}
			}
			n := 0
			for i, e := range events {
				if w.has(e) != wanted[i] {
					t.Fatalf("%v of %s at %d is %v", w, e.Type, e.Position, !wanted[i])
				}
				if wanted[i] {
					n++
				}
			}
			if w.count(events) != n {
				t.Fatalf("%v wants %d of them, want %d", w, w.count(events), n)
			}
			if len(w) > since+2 {
				t.Fatalf("after %d configurations it remembers %v", since, w)
			}
		}
	})
}

// Configurations that come again and again while nothing happens, or that say the
// same, are not remembered.
func TestWantsAreFew(t *testing.T) {
	var w wants
	for n := range 100 {
		w.change(typesOf(Joined, []Type{Left, Updated}[n%2]), 7)
	}
	for n := range uint64(100) {
		w.change(typesOf(Joined, Updated), 7+n)
	}
	if want := (wants{{7, 0}, {endless, typesOf(Joined, Updated)}}); !reflect.DeepEqual(w, want) {
		t.Errorf("%v, want %v", w, want)
	}
	w.forget(7)
	if want := ([]Wanted{{0, []Type{Joined, Updated}}}); !reflect.DeepEqual(w.kept(), want) {
		t.Errorf("kept %v, want %v", w.kept(), want)
	}
}
