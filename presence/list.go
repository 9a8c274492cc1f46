package presence

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Session is what an operator may know about a session, at one moment.
type Session struct {
	*View
	// Rooms are the destinations of the rooms that it is in, in order.
	Rooms []string
	// LastSeen is when something was last received from the client.
	LastSeen time.Time
	// Lost says how it lost its connection; nil while it has one.
	Lost *Loss
}

// Session returns what is known about a session, nil if there is none with
// that id.
func (r *Registry) Session(id string) *Session {
	r.mu.Lock()
	e := r.entries[id]
	if e == nil {
		r.mu.Unlock()
		return nil
	}
	s := &Session{View: e.view, Lost: e.lost, Rooms: slices.AppendSeq(make([]string, 0, len(e.rooms)), maps.Keys(e.rooms))}
	connection := e.session
	r.mu.Unlock()
	slices.Sort(s.Rooms)
	switch {
	case s.Lost != nil:
		s.LastSeen = s.Lost.At.Add(-s.Lost.Silence)
	case connection != nil:
		s.LastSeen = connection.LastSeen()
	}
	return s
}

// List is what [Registry.List] is asked for.
type List struct {
	// Limit is how many sessions are wanted, at least 1.
	Limit int
	// After is the Next of the page before; empty for the first.
	After string
	// OfUser asks for the sessions of User only, those of anonymous clients if
	// that is empty.
	OfUser bool
	User   string
}

// Page is a part of the sessions.
type Page struct {
	Sessions []*Session
	// Next is where the next page begins; empty if there is none. It means
	// the same whoever comes and leaves, and across a restart.
	Next string
}

// ErrCursor is returned for a List.After that is not a Page.Next.
var ErrCursor = errors.New("no such cursor")

// List returns sessions, those that were connected first first. Whoever stays
// from the first page to the last is in one of them, once; of those who leave
// meanwhile a page may be shorter. It holds the registry's lock while it copies
// one pointer for each session.
func (r *Registry) List(l List) (*Page, error) {
	var after position
	if l.After != "" {
		var err error
		if after, err = parsePosition(l.After); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	views := make([]*View, 0, len(r.entries))
	for _, e := range r.entries {
		views = append(views, e.view)
	}
	r.mu.Unlock()

	views = slices.DeleteFunc(views, func(v *View) bool {
		return l.OfUser && v.User != l.User || l.After != "" && positionOf(v).compare(after) <= 0
	})
	views, more := first(views, l.Limit)
	p := &Page{Sessions: make([]*Session, 0, len(views))}
	for _, v := range views {
		// another with that id has its own place
		if s := r.Session(v.SessionID); s != nil && positionOf(s.View) == positionOf(v) {
			p.Sessions = append(p.Sessions, s)
		}
	}
	if more {
		p.Next = positionOf(views[len(views)-1]).String()
	}
	return p, nil
}

// first returns the first n views in order, and whether there are more. It
// sorts no more than 2 n at a time.
func first(views []*View, n int) (_ []*View, more bool) {
	less := func(a, b *View) int { return positionOf(a).compare(positionOf(b)) }
	kept := views[:0]
	var last *View // of n that are in order
	for _, v := range views {
		if last != nil && less(v, last) > 0 {
			continue
		}
		if kept = append(kept, v); len(kept) == 2*n {
			slices.SortFunc(kept, less)
			kept, last = kept[:n], kept[n-1]
		}
	}
	slices.SortFunc(kept, less)
	return kept[:min(n, len(kept))], len(views) > n
}

// position is a session's place in a list. It keeps it when it loses its
// connection and returns.
type position struct {
	connectedAt int64 // unix nanoseconds
	id          string
}

func positionOf(v *View) position { return position{v.ConnectedAt.UnixNano(), v.SessionID} }

func (p position) compare(other position) int {
	return cmp.Or(cmp.Compare(p.connectedAt, other.connectedAt), strings.Compare(p.id, other.id))
}

// String is the position as a cursor.
func (p position) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.connectedAt, 36) + "." + p.id))
}

func parsePosition(cursor string) (position, error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return position{}, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	at, id, ok := strings.Cut(string(raw), ".")
	connectedAt, err := strconv.ParseInt(at, 36, 64)
	if !ok || err != nil {
		return position{}, ErrCursor
	}
	return position{connectedAt, id}, nil
}

const stateConnected = "connected"

type listedSession struct {
	SessionID        string            `json:"sessionId"`
	State            string            `json:"state"`
	User             string            `json:"user,omitempty"`
	ClientData       json.RawMessage   `json:"clientData,omitempty"`
	Attributes       []listedAttribute `json:"attributes"`
	Rooms            []string          `json:"rooms"`
	Broker           string            `json:"broker"`
	Endpoint         string            `json:"endpoint"`
	Transport        string            `json:"transport"`
	Version          string            `json:"version"`
	RemoteAddr       string            `json:"remoteAddr"`
	Epoch            int               `json:"epoch"`
	ConnectedAt      wireTime          `json:"connectedAt"`
	LastSeen         wireTime          `json:"lastSeen"`
	Reason           *stomp.Reason     `json:"reason,omitempty"`
	UnreachableSince *wireTime         `json:"unreachableSince,omitempty"`
	UnreachableUntil *wireTime         `json:"unreachableUntil,omitempty"`
}

type listedAttribute struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Public bool   `json:"public"`
}

// MarshalJSON implements [json.Marshaler]. All attributes are in it, those that
// peers do not see too.
func (s *Session) MarshalJSON() ([]byte, error) {
	l := listedSession{
		SessionID: s.SessionID, State: stateConnected, User: s.User, ClientData: s.ClientData,
		Attributes: make([]listedAttribute, 0, len(s.Attributes)), Rooms: s.Rooms,
		Broker: s.Broker, Endpoint: s.Endpoint, Transport: s.Transport, Version: s.Version, RemoteAddr: s.RemoteAddr,
		Epoch: s.Epoch, ConnectedAt: wireTime(s.ConnectedAt), LastSeen: wireTime(s.LastSeen),
	}
	for _, a := range s.Attributes {
		l.Attributes = append(l.Attributes, listedAttribute(a))
	}
	if s.Lost != nil {
		since, until := wireTime(s.Lost.At), wireTime(s.Lost.Until)
		l.State, l.Reason, l.UnreachableSince, l.UnreachableUntil = stateUnreachable, &s.Lost.Reason, &since, &until
	}
	var b bytes.Buffer
	appendJSON(&b, l)
	return b.Bytes(), nil
}

// Stats is what a registry holds, and has counted since it was made.
type Stats struct {
	Stream string
	// Sessions are all; those that are Unreachable and those that are
	// announced are among them.
	Sessions, Unreachable, Announced int
	// Rooms that somebody is in.
	Rooms int
	// Resumed is how often a session came back to its id, Registrations how
	// often a client told its client data.
	Resumed, Registrations uint64
	// Store says that there is a store, or should be one.
	Store bool
}

// counts are guarded by Registry.mu.
type counts struct {
	unreachable, rooms     int
	resumed, registrations uint64
}

// Stats reads the counters.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{
		Stream: r.stream, Sessions: len(r.entries), Unreachable: r.counts.unreachable, Announced: r.known,
		Rooms: r.counts.rooms, Resumed: r.counts.resumed, Registrations: r.counts.registrations,
		Store: r.journal.store != nil || r.journal.failed != nil,
	}
}

// arrive counts a session that is in the scope now, depart one that is not any
// more. With Registry.mu held.
func (s *scope) arrive() {
	if s.sessions++; s.sessions == 1 && s.room != "" {
		s.registry.counts.rooms++
	}
}

func (s *scope) depart() {
	if s.sessions--; s.sessions == 0 && s.room != "" {
		s.registry.counts.rooms--
	}
}
