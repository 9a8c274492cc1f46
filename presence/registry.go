package presence

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Registry maps session ids to what is known about the sessions of a broker.
// It implements [stomp.Observer], [stomp.Resumer], [stomp.SubscriptionObserver]
// and [stomp.Mounts]. All methods may be called from any goroutine.
type Registry struct {
	stream string
	key    []byte // of resume tokens
	logger *slog.Logger

	updateEvery time.Duration // updateInterval, but in tests
	feeds       *stomp.FeedBudget

	settings  atomic.Pointer[compiled]
	announced atomic.Uint64

	mu       sync.Mutex // guards what follows, the entries and the scopes
	listener Listener   // nil for none
	broker   *stomp.Broker
	entries  map[string]*entry
	scopes   map[scopeKey]*scope
	sweepAt  int
	seq      uint64 // of the last change
	told     uint64 // of the last change that was told
	known    int    // sessions that are announced
	counts   counts
	waiting  map[waiter]int // unreachable sessions
	silent   bool           // nothing is announced to peers any more
	keeping  bool           // the process ends, and those who are connected are kept
	ending   bool           // nothing more will be told
	closed   bool
	journal  *journal
	position uint64 // of the last event
	outbox   outbox // has a lock of its own
	alarms   alarms

	wills, logs errands
}

// entry is what the registry holds for a session.
type entry struct {
	view      *View
	session   *stomp.Session // its connection; nil while it is unreachable
	address   string         // of its last connection, as it is counted; empty: not
	scope     *scope
	member    *member // of scope's roster; nil: not announced
	rooms     map[string]*stay
	will      *Will
	lost      *Loss       // while it is unreachable
	back      *comeback   // somebody is about to be its next connection; nil: nobody
	kicked    bool        // it does not come back
	expires   *alarm      // it is left then
	wills     *alarm      // its will is carried out then
	forgets   *alarm      // it leaves the rooms then that it has not subscribed to
	updatedAt int64       // unix nanoseconds; when Updated was last announced
	updates   *time.Timer // an Updated that waits
}

// Config configures a [Registry].
type Config struct {
	Settings
	// Listener is told what happens. Default: nobody.
	Listener Listener
	// Logger. Default: slog.Default().
	Logger *slog.Logger
	// Rand is where the name of the stream and the key of resume tokens come
	// from. Default: crypto/rand.
	Rand io.Reader
}

// NewRegistry returns an empty registry in memory, with a stream of its own.
func NewRegistry(c Config) (*Registry, error) {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	r := &Registry{
		updateEvery: updateInterval, logger: c.Logger, listener: c.Listener, sweepAt: sweepFrom,
		entries: make(map[string]*entry), scopes: make(map[scopeKey]*scope), journal: newJournal(nil),
		waiting: make(map[waiter]int), feeds: stomp.NewFeedBudget(feedsKeep),
	}
	if err := r.Configure(c.Settings); err != nil {
		return nil, err
	}
	var raw [streamBytes + keyBytes]byte
	if _, err := io.ReadFull(c.Rand, raw[:]); err != nil {
		return nil, err
	}
	r.stream = base64.RawURLEncoding.EncodeToString(raw[:streamBytes])
	r.outbox.logger = c.Logger
	r.key = raw[streamBytes:]
	return r, nil
}

const (
	streamBytes = 6
	keyBytes    = 32
)

// Bind tells the registry which broker it observes. It must be called before
// the broker has sessions.
func (r *Registry) Bind(b *stomp.Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broker = b
}

// Configure puts settings in force. Sessions that are connected stay in the
// scope that their announce destination put them in.
func (r *Registry) Configure(s Settings) error {
	c, err := s.compile()
	if err != nil {
		return err
	}
	r.settings.Store(c)
	return nil
}

// Stream names the sequence of changes: seq of different streams have nothing
// to do with each other.
func (r *Registry) Stream() string { return r.stream }

// SetListener puts a listener in force; nil for none. When it returns, the one
// before is told nothing any more.
func (r *Registry) SetListener(l Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener = l
}

// SetLogger puts another logger in force.
func (r *Registry) SetLogger(l *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logger = l
	r.outbox.setLogger(l)
}

// Silence stops announcements to peers, for a broker that is about to end all
// sessions. The listener is told on.
func (r *Registry) Silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
}

// Announced is how many changes were announced to peers.
func (r *Registry) Announced() uint64 { return r.announced.Load() }

// Known is how many sessions are announced.
func (r *Registry) Known() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

// Get returns what is known about a session, nil if there is none with that id.
func (r *Registry) Get(sessionID string) *View {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[sessionID]; e != nil {
		return e.view
	}
	return nil
}

// ErrUnknownSession is returned for a session that the registry has not.
var ErrUnknownSession = errors.New("no such session")

// updateInterval is the shortest time between two announcements of a session's
// client data; the last one wins.
const updateInterval = time.Second

// Register sets the client data of a connected session: compact JSON, which
// must not change afterwards. The first time makes the session known. It
// returns when that is in the store, if there is one, or when that has failed.
// A session whose id has another connection by now gets [ErrUnknownSession].
func (r *Registry) Register(s *stomp.Session, data json.RawMessage) error {
	r.mu.Lock()
	e := r.entries[s.ID()]
	if e == nil || e.session != s {
		r.mu.Unlock()
		return ErrUnknownSession
	}
	r.counts.registrations++
	view := *e.view
	view.ClientData = data
	e.view = &view
	if e.member == nil {
		r.join(e)
	} else {
		r.update(e)
	}
	committed := r.touch(e)
	r.mu.Unlock()
	if committed != nil {
		<-committed
	}
	return nil
}

// update announces that the client data has changed, now or when the last time
// is long enough ago. With r.mu held.
func (r *Registry) update(e *entry) {
	now := time.Now()
	wait := r.updateEvery - time.Duration(now.UnixNano()-e.updatedAt)
	if e.updatedAt == 0 || wait <= 0 || wait > r.updateEvery { // the clock was set back
		e.forgetUpdate() // whose time may have come just now
		e.updatedAt = now.UnixNano()
		r.changeAll(e, Change{Type: Updated, At: now})
		return
	}
	if e.updates == nil {
		e.updates = time.AfterFunc(wait, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if e.updates != nil {
				e.updates = nil
				e.updatedAt = time.Now().UnixNano()
				r.changeAll(e, Change{Type: Updated, At: time.Now()})
			}
		})
	}
}

// forgetUpdate is called when another change tells the client data. With r.mu
// held.
func (e *entry) forgetUpdate() {
	if e.updates != nil {
		e.updates.Stop()
		e.updates = nil
	}
}

// join makes e known, here and in its rooms. With r.mu held.
func (r *Registry) join(e *entry) {
	r.known++
	e.member = new(member)
	e.scope.enter(e.view.User)
	now := time.Now()
	r.change(e, Change{Type: Joined, At: now, scope: e.scope, member: e.member})
	for _, st := range e.rooms {
		r.joinRoom(e, st, now)
	}
}

// changeAll announces a change of a session that is known to all who know it.
// With r.mu held.
func (r *Registry) changeAll(e *entry, c Change) {
	c.scope, c.member = e.scope, e.member
	r.change(e, c)
	for _, st := range e.rooms {
		if st.member != nil {
			c.scope, c.member, c.will = st.scope, st.member, nil
			r.change(e, c)
		}
	}
}

// change numbers a change of e, and has it told. With r.mu held.
func (r *Registry) change(e *entry, c Change) {
	c.View, c.Room = e.view, c.scope.room
	c.UserSessions = c.scope.users[c.User]
	if c.member != nil {
		r.seq++
		c.Seq = r.seq
	}
	r.record(c)
}

// tell gives a change to the listener and the announcer. With r.mu held.
func (r *Registry) tell(c Change) {
	c.Stream = cmp.Or(c.Stream, r.stream)
	if c.will != nil {
		r.carryOut(c.will)
	}
	if c.event != nil {
		r.outbox.add(c.event)
	}
	if r.listener != nil {
		r.listener.Changed(c)
	}
	if c.Seq == 0 {
		return
	}
	r.told = c.Seq
	shown := c.Type != Unreachable || r.settings.Load().AnnounceUnreachable
	if shown {
		c.scope.told(&c, c.View)
	}
	if shown && !r.silent {
		c.scope.enqueue(c)
	}
}

// mine says whether id is one by which a session may call itself: its own, or
// a segment of its own URL, which is what existing pages cut out of it.
func mine(s *stomp.Session, id string) bool {
	if id == s.ID() {
		return true
	}
	for alias := range strings.SplitSeq(s.Handshake().Aliases, "/") {
		if alias != "" && alias == id {
			return true
		}
	}
	return false
}
