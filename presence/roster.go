package presence

import (
	"encoding/json"
	"strconv"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// minReuse is how many bytes of changes may follow a roster, however small it
// is, before a new one is made.
const minReuse = maxBody

// subscribe returns a roster, and the feed that goes on right after it. A
// roster that was made before is used again, with the changes since, until
// these are half as long as it: so 10,000 newcomers in a row cost a few
// encodings of the roster, not 10,000.
func (r *Registry) subscribe() (*stomp.Feed, *stomp.Snapshot) {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	if s := r.snapshot; s != nil {
		if since, ok := r.feed.Since(s); ok && since <= uint64(max(minReuse, s.Size()/2)) {
			return r.feed, s
		}
	}
	// in one moment: what the roster holds, and which changes come before it
	r.mu.Lock()
	changes, overflow := r.takePending()
	seq := r.seq
	views := make([]*View, 0, r.known)
	for e := r.roster.next; e != &r.roster; e = e.next {
		views = append(views, e.view)
	}
	r.mu.Unlock()

	r.publish(changes, overflow)
	r.snapshot = r.feed.NewSnapshot(rosterPages(r.stream, seq, views))
	return r.feed, r.snapshot
}

// rosterPages encodes a roster; there is always a page, and only the last says
// that there are no more.
func rosterPages(stream string, seq uint64, views []*View) [][]byte {
	name, _ := json.Marshal(stream) // a string always can be
	head := func(more bool) string {
		return `{"stream":` + string(name) + `,"seq":` + strconv.FormatUint(seq, 10) +
			`,"more":` + strconv.FormatBool(more) + `,"sessions":[`
	}
	var pages [][]byte
	b := body{open: head(true), end: "]}"}
	for _, v := range views {
		if full := b.add(newWireSession(v)); full != nil {
			pages = append(pages, full)
		}
	}
	last := b.take()
	return append(pages, append([]byte(head(false)), last[len(b.open):]...))
}
