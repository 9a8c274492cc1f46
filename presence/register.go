package presence

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Mounts are the destinations that the registry answers: SEND to register
// tells client data, SUBSCRIBE to it gives the roster and then the changes;
// announce carries the changes, and nobody may SEND to it.
func (r *Registry) Mounts(register, announce string) map[string]stomp.Mount {
	return map[string]stomp.Mount{
		announce: announceMount{r, announce},
		register: registerMount{r},
	}
}

type announceMount struct {
	*Registry
	destination string
}

// Send implements [stomp.Mount]: law 9, nobody can announce but the server.
func (m announceMount) Send(*stomp.Session, *frame.Frame) error {
	return stomp.Refuse("SEND: %s carries the server's announcements and cannot be sent to", m.destination)
}

// Check implements [stomp.Checker].
func (m announceMount) Check(s *stomp.Session, f *frame.Frame) error { return m.Send(s, f) }

// Feed implements [stomp.Broadcast]: a wildcard that matches reads announcements.
func (m announceMount) Feed() *stomp.Feed { return m.feed }

func (m announceMount) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	return m.feed, nil, nil
}

type registerMount struct{ *Registry }

func (m registerMount) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	feed, snapshot := m.subscribe()
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
	if err := m.Register(s.ID(), data); err != nil {
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
