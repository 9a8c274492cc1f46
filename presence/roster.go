package presence

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// feedKeeps is how many bytes of announcements are kept for those who read
// slowly. A roster leaves most of them to whoever is given it.
const feedKeeps = 4 << 20

// feedKeepsOfMany is the same for a scope that there may be many of.
const feedKeepsOfMany = 1 << 20

// feedsKeep is what the feeds of all scopes keep together.
const feedsKeep = 64 << 20

// reusePerSession is how old a roster may get, for each session in it, before a
// new one is made: about a hundred times what it costs to make one.
const reusePerSession = 100 * time.Microsecond

// roster is a snapshot, and what decides how long it is of use.
type roster struct {
	*stomp.Snapshot
	made     time.Time
	sessions int
}

// usable says whether a roster may be given to one more newcomer, with the
// changes since: while these are less than half as long, and it is not old. So
// 10,000 newcomers in a row cost a few encodings of the roster, not 10,000, and
// nobody is told as news what happened long before he came.
func (r *roster) usable(feed *stomp.Feed) bool {
	if r == nil || time.Since(r.made) > time.Duration(r.sessions)*reusePerSession {
		return false
	}
	since, ok := feed.Since(r.Snapshot)
	return ok && since <= uint64(min(r.Size()/2, feedKeeps/4))
}

// subscribe returns a roster, and the feed that goes on right after it.
func (s *scope) subscribe() (*stomp.Feed, *stomp.Snapshot) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	if s.snapshot.usable(s.feed) {
		return s.feed, s.snapshot.Snapshot
	}
	// in one moment: what the roster holds, and which changes come before it
	r := s.registry
	r.mu.Lock()
	changes, overflow := s.takePending()
	seq := r.told
	views := make([]*View, 0, s.known)
	for m := s.roster.next; m != &s.roster; m = m.next {
		views = append(views, m.view)
	}
	r.mu.Unlock()

	s.publish(changes, overflow)
	snapshot := s.feed.NewSnapshot(rosterPages(r.stream, seq, views))
	s.snapshot = &roster{snapshot, time.Now(), len(views)}
	return s.feed, snapshot
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
	b := body{open: head(false), end: "]}"} // the longer of both
	for _, v := range views {
		if full := b.add(newWireSession(v)); full != nil {
			pages = append(pages, append([]byte(head(true)), full[len(b.open):]...))
		}
	}
	return append(pages, b.take())
}
