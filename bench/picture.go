//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
)

// pictures is what clients were told of who is there. All are told much the
// same, so that each body is kept once, and each picture made once.
type pictures struct {
	seed   maphash.Seed
	bodies map[uint64]*presenceBody
}

// presenceBody is a page of a roster, or changes.
type presenceBody struct {
	roster  bool
	more    bool
	seq     uint64
	entries []entry
	reset   bool
}

type entry struct {
	Seq       uint64 `json:"seq"`
	Type      string `json:"type"`
	SessionID string `json:"sessionId"`
}

// watcher is a client that is told.
type watcher struct {
	*conn
	all   *pictures
	got   []uint64 // bodies, by hash
	sizes []int    // of the WebSocket messages
	told  int      // sessions and changes
	reset bool     // it knows that it was told too little
}

func newPictures() *pictures {
	return &pictures{seed: maphash.MakeSeed(), bodies: make(map[uint64]*presenceBody)}
}

// watch takes note of what c is told from now on.
func (p *pictures) watch(c *conn) *watcher {
	w := &watcher{conn: c, all: p}
	c.message = w.received
	return w
}

func (w *watcher) received(_ *conn, text []byte) error {
	_, body, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || !bytes.HasPrefix(text, []byte("MESSAGE\n")) {
		return fmt.Errorf("not a MESSAGE: %.200q", text)
	}
	h := maphash.Bytes(w.all.seed, body)
	b, err := w.all.body(h, bytes.TrimSuffix(body, []byte{0}))
	if err != nil {
		return err
	}
	w.got, w.sizes = append(w.got, h), append(w.sizes, served(len(text)))
	w.told += len(b.entries)
	w.reset = w.reset || b.reset
	return nil
}

// body returns what a body says that has this hash.
func (p *pictures) body(h uint64, text []byte) (*presenceBody, error) {
	if b := p.bodies[h]; b != nil {
		return b, nil
	}
	b := new(presenceBody)
	p.bodies[h] = b
	if bytes.HasPrefix(text, []byte("[")) {
		if err := json.Unmarshal(text, &b.entries); err != nil {
			return nil, fmt.Errorf("%w in %.200q", err, text)
		}
		b.reset = slices.ContainsFunc(b.entries, func(e entry) bool { return e.Type == "reset" })
		return b, nil
	}
	var page struct {
		Seq      uint64  `json:"seq"`
		More     bool    `json:"more"`
		Sessions []entry `json:"sessions"`
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return nil, fmt.Errorf("%w in %.200q", err, text)
	}
	b.roster, b.more, b.seq, b.entries = true, page.More, page.Seq, page.Sessions
	return b, nil
}

// forget makes told and got begin anew.
func (w *watcher) forget() { w.got, w.sizes, w.told = w.got[:0], w.sizes[:0], 0 }

// check compares what watchers were told since they were made to forget with
// what happened: these changes, each once, in order. It returns how many of them
// know that they have to ask again.
func (p *pictures) check(watchers []*watcher, kind string, sessions []*conn) (resets int, err error) {
	happened := make(map[string]bool, len(sessions))
	for _, c := range sessions {
		happened[c.id] = true
	}
	known := make(map[string]error)
	for _, w := range watchers {
		if w.reset {
			resets++
			continue
		}
		key := fmt.Sprint(w.got)
		err, ok := known[key]
		if !ok {
			err = p.changes(w.got, kind, happened)
			known[key] = err
		}
		if err != nil {
			return resets, fmt.Errorf("what %s was told: %w", w.id, err)
		}
	}
	return resets, nil
}

// changes follows what somebody was told.
func (p *pictures) changes(got []uint64, kind string, happened map[string]bool) error {
	told := make(map[string]bool, len(happened))
	var seq uint64
	for _, h := range got {
		for _, e := range p.bodies[h].entries {
			switch {
			case p.bodies[h].roster:
				e.Type = kind
			case e.Seq <= seq:
				return fmt.Errorf("change %d comes after %d", e.Seq, seq)
			default:
				seq = e.Seq
			}
			if e.Type != kind || !happened[e.SessionID] || told[e.SessionID] {
				return fmt.Errorf("%s %q comes unexpected, or twice", e.SessionID, e.Type)
			}
			told[e.SessionID] = true
		}
	}
	if len(told) != len(happened) {
		return fmt.Errorf("%d of %d are missing", len(happened)-len(told), len(happened))
	}
	return nil
}
