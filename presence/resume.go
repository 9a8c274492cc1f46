package presence

import (
	"slices"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Who comes back in time must not find that his session has been left while the
// server was still about to let him in. So the end of its time is put off while
// a CONNECT has a hold of it, and comes when the last one is refused. However
// many try, and however often, it is not put off beyond comingBackTakes.

// comingBackTakes is how long a session is kept at most after its time is over,
// for those who came before: longer than a [stomp.Policy]'s Admit takes that
// asks handlers of events, which is 5 seconds, with some time to spare.
const comingBackTakes = 10 * time.Second

// comeback is what goes on while somebody is about to be a session's next
// connection.
type comeback struct {
	holds    int      // CONNECT frames with a right to it that wait for being admitted
	resuming bool     // one was, and will be the connection
	putOff   []func() // alarms that have rung meanwhile
}

// comeback begins one, unless there is one. With r.mu held.
func (e *entry) comeback() *comeback {
	if e.back == nil {
		e.back = new(comeback)
	}
	return e.back
}

// Hold implements [stomp.Resumer].
func (r *Registry) Hold(hs *stomp.Handshake, connect *frame.Frame) (release func()) {
	t, ok := r.tokenOf(hs, connect)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entitled(t, hs)
	if e == nil {
		return nil
	}
	b := e.comeback()
	b.holds++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		b.holds--
		r.catchUp(e, b)
	}
}

// Resume implements [stomp.Resumer]: only a token that the server made for
// that user, and that was not used yet, is a right to a session's id.
func (r *Registry) Resume(hs *stomp.Handshake, connect *frame.Frame) (id string, done func()) {
	t, ok := r.tokenOf(hs, connect)
	if !ok {
		return "", nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entitled(t, hs)
	if e == nil || e.back != nil && e.back.resuming {
		return "", nil
	}
	b := e.comeback()
	b.resuming = true
	if t.epoch > e.view.Epoch {
		view := *e.view
		view.Epoch = t.epoch
		e.view = &view
	}
	return e.view.SessionID, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		b.resuming = false // if it was refused; the next may try
		r.catchUp(e, b)
	}
}

// Reserved implements [stomp.Resumer].
func (r *Registry) Reserved(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[id] != nil
}

// tokenOf is the resume token of a CONNECT frame, if the server has made it for
// that user.
func (r *Registry) tokenOf(hs *stomp.Handshake, connect *frame.Frame) (resumeToken, bool) {
	given, ok := connect.Header.Lookup(ResumeTokenHeader)
	if !ok {
		return resumeToken{}, false
	}
	return parseToken(r.key, given, hs.User)
}

// entitled is the session that a token is a right to, nil if it is used up or
// its session is gone. With r.mu held.
func (r *Registry) entitled(t resumeToken, hs *stomp.Handshake) *entry {
	e := r.entries[t.session]
	// after a crash the epoch may be ahead of what was kept
	if e == nil || e.kicked || t.epoch < e.view.Epoch || t.born != e.view.ConnectedAt.UnixMilli() || r.closed || r.keeping {
		return nil
	}
	scope := r.settings.Load().announce.values(&View{SessionID: t.session, User: hs.User, Attributes: hs.Attributes})
	if !slices.Equal(scope, e.scope.values) {
		return nil // it would be somewhere else
	}
	return e
}

// catchUp does what was put off for somebody who has not come back after all,
// unless somebody else is about to. With r.mu held.
func (r *Registry) catchUp(e *entry, b *comeback) {
	if b.holds > 0 || b.resuming || e.back != b {
		return
	}
	e.back = nil
	for _, ring := range b.putOff {
		ring()
	}
}
