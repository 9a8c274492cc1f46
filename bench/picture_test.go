//go:build linux

package main

import "testing"

func TestPictures(t *testing.T) {
	const (
		one  = `[{"seq":1,"type":"left","sessionId":"a"}]`
		two  = `[{"seq":2,"type":"left","sessionId":"b"}]`
		both = `[{"seq":1,"type":"left","sessionId":"a"},{"seq":2,"type":"left","sessionId":"b"}]`
		page = `{"seq":7,"more":false,"sessions":[{"sessionId":"a"},{"sessionId":"b"}]}`
	)
	victims := []*conn{{id: "a"}, {id: "b"}}
	for _, test := range []struct {
		name   string
		bodies []string
		ok     bool
		resets int
	}{
		{"one by one", []string{one, two}, true, 0},
		{"together", []string{both}, true, 0},
		{"a roster", []string{page}, true, 0},
		{"one is missing", []string{one}, false, 0},
		{"nothing", nil, false, 0},
		{"twice", []string{one, two, two}, false, 0},
		{"the wrong order", []string{two, one}, false, 0},
		{"somebody else", []string{both, `[{"seq":3,"type":"left","sessionId":"c"}]`}, false, 0},
		{"something else", []string{one, `[{"seq":2,"type":"joined","sessionId":"b"}]`}, false, 0},
		{"it knows that it does not know", []string{`[{"seq":9,"type":"reset"}]`}, true, 1},
	} {
		p := newPictures()
		w := p.watch(&conn{id: "w"})
		for _, body := range test.bodies {
			if err := w.received(w.conn, []byte("MESSAGE\nsubscription:p\n\n"+body+"\x00")); err != nil {
				t.Fatal(err)
			}
		}
		resets, err := p.check([]*watcher{w}, "left", victims)
		if (err == nil) != test.ok || resets != test.resets {
			t.Errorf("%s: %d resets, %v", test.name, resets, err)
		}
		w.forget()
		if _, err := p.check([]*watcher{w}, "left", nil); err != nil && !w.reset {
			t.Errorf("%s: forgotten, %v", test.name, err)
		}
	}
	w := newPictures().watch(new(conn))
	if err := w.received(w.conn, []byte("ERROR\n\nslow consumer\x00")); err == nil {
		t.Error("an ERROR is no error")
	}
}
