package presence

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Registry maps session ids to what is known about the sessions of a broker.
// It implements [stomp.Observer]. All methods may be called from any
// goroutine.
type Registry struct {
	stream string
	feed   *stomp.Feed
	seed   maphash.Seed
	shards [shards]shard

	mu           sync.Mutex // guards what follows, and the entries
	listener     Listener   // nil for none
	seq          uint64
	roster       entry // ring of those that are announced, oldest first
	known        int   // length of roster
	users        map[string]int
	pending      []Change // to be announced
	pendingBytes int      // of their client data
	overflow     bool     // pending was too long and dropped
	running      bool     // somebody announces what is pending
	silent       bool     // nothing is announced to peers any more

	publishing sync.Mutex // held while pending becomes an entry of the feed
	snapshot   *roster    // guarded by publishing

	announced atomic.Uint64
}

const shards = 64

type shard struct {
	mu      sync.RWMutex
	entries map[string]*entry
}

// entry is what the registry holds for a session.
type entry struct {
	view       *View
	prev, next *entry // in the roster
}

// Config configures a [Registry].
type Config struct {
	// Rand is where the name of the stream comes from. Default: crypto/rand.
	Rand io.Reader
}

// NewRegistry returns an empty registry, with a stream of its own.
func NewRegistry(c Config) (*Registry, error) {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	var raw [6]byte
	if _, err := io.ReadFull(c.Rand, raw[:]); err != nil {
		return nil, err
	}
	r := &Registry{
		stream: base64.RawURLEncoding.EncodeToString(raw[:]),
		seed:   maphash.MakeSeed(),
		users:  make(map[string]int),
	}
	r.roster.prev, r.roster.next = &r.roster, &r.roster
	for i := range r.shards {
		r.shards[i].entries = make(map[string]*entry)
	}
	r.feed = stomp.NewFeed(stomp.FeedConfig{
		Header: frame.Header{{Name: frame.HdrContentType, Value: "application/json"}},
		Reset:  r.resetBody,
		Keep:   feedKeeps,
	})
	return r, nil
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

// Silence stops announcements to peers, for a broker that is about to end all
// sessions. The listener is told on.
func (r *Registry) Silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
}

// Announced is how many changes were announced to peers.
func (r *Registry) Announced() uint64 { return r.announced.Load() }

// Known is how many sessions are in the roster.
func (r *Registry) Known() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

// Get returns what is known about a session, nil if there is none with that id.
func (r *Registry) Get(sessionID string) *View {
	sh := r.shard(sessionID)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if e := sh.entries[sessionID]; e != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return e.view
	}
	return nil
}

func (r *Registry) shard(id string) *shard {
	return &r.shards[maphash.String(r.seed, id)%shards]
}

// Connected implements [stomp.Observer]: the session is registered, with the
// client data of the CONNECT frame, if there is any.
func (r *Registry) Connected(s *stomp.Session, connect *frame.Frame) error {
	data, err := clientDataOf(connect, s.Endpoint().Policy().Limits.ClientData())
	if err != nil {
		return err
	}
	hs := s.Handshake()
	e := &entry{view: &View{
		SessionID: s.ID(), User: hs.User, ClientData: data, Attributes: hs.Attributes, ConnectedAt: s.ConnectedAt(),
		Broker: s.Endpoint().Broker().Name(), Endpoint: s.Endpoint().Name(), Transport: hs.Transport, RemoteAddr: hs.RemoteAddr,
	}}
	sh := r.shard(s.ID())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.entries[s.ID()] = e

	r.mu.Lock()
	defer r.mu.Unlock()
	if hs.User != "" {
		r.users[hs.User]++
	}
	r.tell(Change{View: e.view, Type: Connected, At: e.view.ConnectedAt, UserSessions: r.users[hs.User]})
	if data != nil || hs.User != "" {
		r.join(e)
	}
	return nil
}

// ErrUnknownSession is returned for a session id that the registry has not.
var ErrUnknownSession = errors.New("no such session")

// Register sets the client data of a session: compact JSON, which must not
// change afterwards. The first time makes the session known.
func (r *Registry) Register(sessionID string, data json.RawMessage) error {
	sh := r.shard(sessionID)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	e := sh.entries[sessionID]
	if e == nil {
		return ErrUnknownSession
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	view := *e.view
	view.ClientData = data
	e.view = &view
	if e.next == nil {
		r.join(e)
	} else {
		r.change(Change{View: e.view, Type: Updated, At: time.Now()})
	}
	return nil
}

// Ended implements [stomp.Observer].
func (r *Registry) Ended(s *stomp.Session, end stomp.End) {
	sh := r.shard(s.ID())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[s.ID()]
	delete(sh.entries, s.ID())

	r.mu.Lock()
	defer r.mu.Unlock()
	if u := e.view.User; u != "" {
		if r.users[u]--; r.users[u] == 0 {
			delete(r.users, u)
		}
	}
	c := Change{View: e.view, Type: Left, At: end.At, Reason: end.Reason, Code: end.Code, Silence: end.Silence}
	if e.next == nil {
		c.UserSessions = r.users[c.User]
		r.tell(c)
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	r.known--
	r.change(c)
}

// join makes e known. With r.mu held.
func (r *Registry) join(e *entry) {
	e.prev, e.next = r.roster.prev, &r.roster
	e.prev.next, e.next.prev = e, e
	r.known++
	r.change(Change{View: e.view, Type: Joined, At: time.Now()})
}

// change numbers c, and gives it to the listener and the announcer. With r.mu
// held.
func (r *Registry) change(c Change) {
	r.seq++
	c.Seq = r.seq
	c.UserSessions = r.users[c.User]
	r.tell(c)
	if !r.silent {
		r.enqueue(c)
	}
}

func (r *Registry) tell(c Change) {
	if r.listener != nil {
		r.listener.Changed(c)
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
