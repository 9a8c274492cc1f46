package presence

import "slices"

// Wanted are the types of events that an announcer is told of, from where the
// Wanted before ends.
type Wanted struct {
	// Until is the position up to which that holds, 0 from the last one on.
	Until uint64 `json:"until,omitempty"`
	Types []Type `json:"types"`
}

// wants are what an announcer is told of: what a configuration says counts from
// the position on that it came in force at, also for events that waited for
// their commit then. The last one has no end. They are guarded by outbox.mu.
type wants []want

type want struct {
	until uint64
	types typeSet
}

// endless is the end of what has none.
const endless = ^uint64(0)

// has says whether an event is wanted.
func (w wants) has(e *Event) bool {
	i := slices.IndexFunc(w, func(one want) bool { return e.Position <= one.until })
	return i >= 0 && w[i].types.has(e.Type)
}

// count is how many of events are wanted.
func (w wants) count(events []*Event) (n int) {
	for _, e := range events {
		if w.has(e) {
			n++
		}
	}
	return n
}

// now is what is wanted of what happens now.
func (w wants) now() typeSet {
	if len(w) == 0 {
		return 0
	}
	return w[len(w)-1].types
}

// change has other types wanted after a position.
func (w *wants) change(types typeSet, after uint64) {
	switch n := len(*w); {
	case n == 0:
		*w = wants{{after, 0}, {endless, types}}
	case w.now() == types:
	case n > 1 && (*w)[n-2].until == after: // nothing has happened meanwhile
		(*w)[n-1].types = types
	default:
		(*w)[n-1].until = after
		*w = append(*w, want{endless, types})
	}
}

// forget forgets what was wanted up to a position.
func (w *wants) forget(position uint64) {
	*w = slices.DeleteFunc(*w, func(one want) bool { return one.until <= position })
}

// kept is what a store keeps.
func (w wants) kept() []Wanted {
	all := make([]Wanted, 0, len(w))
	for _, one := range w {
		if one.until == endless {
			one.until = 0
		}
		all = append(all, Wanted{one.until, one.types.list()})
	}
	return all
}

// wantsOf is what a store has kept; otherwise, if it has not, what else is known.
func wantsOf(kept []Wanted, otherwise typeSet) (w wants) {
	if len(kept) == 0 {
		return wants{{endless, otherwise}}
	}
	for _, one := range kept {
		if one.Until == 0 {
			one.Until = endless
		}
		w = append(w, want{one.Until, typesOf(one.Types...)})
	}
	return w
}
