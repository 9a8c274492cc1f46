package presence

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Mount implements [stomp.Mounts]. SEND to the register destination tells
// client data, SUBSCRIBE to it gives the roster and then the changes; the
// announce destination carries the changes, and nobody may SEND to it. What
// follows the register destination is a room, whose roster it gives; changes
// of a room come at the room's destination + "/presence".
func (r *Registry) Mount(destination string) stomp.Mount {
	c := r.settings.Load()
	switch {
	case destination == c.Register:
		return registerMount{r}
	case c.announce.matches(destination):
		return announceMount{r, destination, ""}
	case len(c.Rooms) == 0:
	case strings.HasPrefix(destination, c.Register+"/"):
		if room := destination[len(c.Register):]; c.isRoom(room) {
			return rosterMount{announceMount{r, destination, room}}
		}
	case strings.HasSuffix(destination, roomSuffix):
		if room := strings.TrimSuffix(destination, roomSuffix); c.isRoom(room) {
			return announceMount{r, destination, room}
		}
	}
	return nil
}

// Broadcasts implements [stomp.Mounts]: a pattern that reaches the session's
// own announce destination reads it. Rooms are read one at a time.
func (r *Registry) Broadcasts(s *stomp.Session, pattern string) []stomp.Broadcast {
	scope, destination := r.scopeOf(s)
	if scope == nil || !stomp.Matches(pattern, destination) {
		return nil
	}
	return []stomp.Broadcast{{Destination: destination, Feed: scope.feed}}
}

// scopeOf is a session's scope and its announce destination; nil if the session
// has ended.
func (r *Registry) scopeOf(s *stomp.Session) (*scope, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[s.ID()]
	if e == nil {
		return nil, ""
	}
	e.scope.asked = time.Now()
	return e.scope, r.settings.Load().announce.destination(e.scope.values)
}

// roomScope is the scope of a room that somebody is about to read.
func (r *Registry) roomScope(room string) *scope {
	r.mu.Lock()
	defer r.mu.Unlock()
	sc := r.scope(strings.Clone(room), nil)
	sc.asked = time.Now()
	return sc
}

type announceMount struct {
	*Registry
	destination string
	room        string // "" if it is not of one
}

// Send implements [stomp.Mount]: law 9, nobody can announce but the server.
func (m announceMount) Send(*stomp.Session, *frame.Frame) error {
	return stomp.Refuse("SEND: %s carries the server's announcements and cannot be sent to", m.destination)
}

// Check implements [stomp.Checker].
func (m announceMount) Check(s *stomp.Session, f *frame.Frame) error { return m.Send(s, f) }

// Subscribe implements [stomp.Mount].
func (m announceMount) Subscribe(s *stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	if m.room != "" {
		return m.roomScope(m.room).feed, nil, nil
	}
	scope, destination := m.scopeOf(s)
	switch {
	case scope == nil:
		return nil, nil, stomp.ErrEnded
	case destination != m.destination:
		return nil, nil, stomp.Refuse("SUBSCRIBE: %s is announced to others; yours is %s", m.destination, destination)
	}
	return scope.feed, nil, nil
}

// Carries implements [stomp.Carrier]: who may not be in a room is not told who
// is.
func (m announceMount) Carries(*stomp.Session) []string {
	if m.room == "" {
		return nil
	}
	return []string{m.room}
}

// rosterMount is the roster of a room.
type rosterMount struct{ announceMount }

// Carries implements [stomp.Carrier].
func (m rosterMount) Carries(*stomp.Session) []string { return []string{m.room, m.room + roomSuffix} }

// Subscribe implements [stomp.Mount].
func (m rosterMount) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	feed, snapshot := m.roomScope(m.room).subscribe()
	return feed, snapshot, nil
}

type registerMount struct{ *Registry }

// Carries implements [stomp.Carrier]: the changes follow the roster.
func (m registerMount) Carries(s *stomp.Session) []string {
	_, destination := m.scopeOf(s)
	return []string{destination}
}

// Subscribe implements [stomp.Mount].
func (m registerMount) Subscribe(s *stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	scope, _ := m.scopeOf(s)
	if scope == nil {
		return nil, nil, stomp.ErrEnded
	}
	feed, snapshot := scope.subscribe()
	return feed, snapshot, nil
}

// mergePatchType asks for RFC 7396 instead of replacement.
const mergePatchType = "application/merge-patch+json"

// Send implements [stomp.Mount]: {"sessionId": "...", "clientData": ...}.
func (m registerMount) Send(s *stomp.Session, f *frame.Frame) error {
	limit := s.Endpoint().Policy().Limits.ClientData()
	data, err := registrationOf(s, f, limit)
	if err != nil {
		return err
	}
	if contentType, _, _ := mime.ParseMediaType(f.Header.Get(frame.HdrContentType)); contentType == mergePatchType {
		// nobody but the session changes its client data, one frame at a time
		if v := m.Get(s.ID()); v != nil {
			data = mergePatch(v.ClientData, data)
		}
		if len(data) > limit { // a patch may be small and its result large
			return stomp.LimitExceeded("client_data", limit)
		}
	}
	if err := m.Register(s, data); err != nil {
		return stomp.ErrEnded // it ended while it spoke
	}
	return nil
}

// Check implements [stomp.Checker].
func (m registerMount) Check(s *stomp.Session, f *frame.Frame) error {
	_, err := registrationOf(s, f, s.Endpoint().Policy().Limits.ClientData())
	return err
}

// registrationOf reads the client data of a SEND to the register destination.
func registrationOf(s *stomp.Session, f *frame.Frame, limit int) (json.RawMessage, error) {
	var registration struct {
		SessionID  *string         `json:"sessionId"`
		ClientData json.RawMessage `json:"clientData"`
	}
	if !utf8.Valid(f.Body) {
		return nil, stomp.Malformed("register: the body is not UTF-8")
	}
	if err := json.Unmarshal(f.Body, &registration); err != nil {
		const expected = `register: expected a JSON object {"sessionId": "...", "clientData": ...}`
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text speaks of Go
			return nil, stomp.Malformed("%s; found %s", expected, strings.TrimSpace(wrong.Value+" "+wrong.Field))
		}
		return nil, stomp.Malformed("%s: %v", expected, err)
	}
	if id := registration.SessionID; id != nil && *id != "" && !mine(s, *id) {
		return nil, stomp.Refuse("register: session id %.64q is not yours; leave it out, or use the session header of CONNECTED", *id)
	}
	if registration.ClientData == nil {
		return nil, stomp.Malformed("register: clientData is missing")
	}
	return compactClientData(registration.ClientData, limit)
}

// clientDataOf reads the client-data header of a CONNECT frame; nil if there
// is none.
func clientDataOf(connect *frame.Frame, limit int) (json.RawMessage, error) {
	header, ok := connect.Header.Lookup(stomp.ClientDataHeader)
	if !ok {
		return nil, nil
	}
	if !utf8.ValidString(header) || !json.Valid([]byte(header)) {
		return nil, stomp.Malformed("%s: not JSON", stomp.ClientDataHeader)
	}
	return compactClientData([]byte(header), limit)
}

// compactClientData copies valid JSON, without the space between its tokens.
func compactClientData(data []byte, limit int) (json.RawMessage, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, stomp.Malformed("client data: not JSON: %v", err)
	}
	if compact.Len() > limit {
		return nil, stomp.LimitExceeded("client_data", limit)
	}
	return bytes.Clone(compact.Bytes()), nil
}
