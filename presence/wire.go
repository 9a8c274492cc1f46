package presence

import (
	"bytes"
	"encoding/json"
	"math"
	"time"
)

// The JSON forms of the public wire format. Clients ignore keys that they do
// not know.

type wireSession struct {
	SessionID   string            `json:"sessionId"`
	User        string            `json:"user,omitempty"`
	ClientData  json.RawMessage   `json:"clientData,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	ConnectedAt wireTime          `json:"connectedAt"`
	State       string            `json:"state,omitempty"`
}

// stateUnreachable is the state of a session that has lost its connection.
const stateUnreachable = "unreachable"

type wireChange struct {
	Stream       string            `json:"stream"`
	Seq          uint64            `json:"seq"`
	Type         Type              `json:"type"`
	Room         string            `json:"room,omitempty"`
	SessionID    string            `json:"sessionId,omitempty"`
	User         string            `json:"user,omitempty"`
	ClientData   json.RawMessage   `json:"clientData,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	Reason       string            `json:"reason,omitempty"`
	Code         int               `json:"code,omitempty"`
	Clean        *bool             `json:"clean,omitempty"`
	ConnectedAt  *wireTime         `json:"connectedAt,omitempty"`
	At           *wireTime         `json:"at,omitempty"`
	ConnectedFor *float64          `json:"connectedFor,omitempty"`
	UserSessions *int              `json:"userSessions,omitempty"`
}

// wireTime is a time as RFC 3339 in UTC with milliseconds.
type wireTime time.Time

func (t wireTime) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z"), nil
}

func publicAttributes(v *View) map[string]string {
	var public map[string]string
	for _, a := range v.Attributes {
		if a.Public {
			if public == nil {
				public = make(map[string]string)
			}
			public[a.Name] = a.Value
		}
	}
	return public
}

func newWireSession(v *View) wireSession {
	w := wireSession{v.SessionID, v.User, v.ClientData, publicAttributes(v), wireTime(v.ConnectedAt), ""}
	if v.Unreachable {
		w.State = stateUnreachable
	}
	return w
}

func newWireChange(c *Change) wireChange {
	w := compactWireChange(c)
	connectedAt, at := wireTime(c.ConnectedAt), wireTime(c.At)
	w.ClientData, w.Attributes, w.ConnectedAt, w.At = c.ClientData, publicAttributes(c.View), &connectedAt, &at
	if c.User != "" {
		w.UserSessions = &c.UserSessions
	}
	if c.Type == Left {
		clean, seconds := c.Clean(), math.Round(c.ConnectedFor().Seconds()*1000)/1000
		w.Code, w.Clean, w.ConnectedFor = c.Code, &clean, &seconds
	}
	return w
}

// compactWireChange is what remains under pressure, of a change whose session
// the peers know already.
func compactWireChange(c *Change) wireChange {
	return wireChange{
		Stream: c.Stream, Seq: c.Seq, Type: c.Type, Room: c.Room, SessionID: c.SessionID, User: c.User, Reason: c.ReasonName(),
	}
}

// appendJSON appends v without escaping what only matters inside HTML.
func appendJSON(dst *bytes.Buffer, v any) {
	e := json.NewEncoder(dst)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("presence: " + err.Error()) // client data was validated when it came in
	}
	dst.Truncate(dst.Len() - 1) // the encoder's newline
}
