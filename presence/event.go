package presence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Event is a change as it is told to announcers. Its methods may be called from
// any goroutine.
type Event struct {
	// Position is its place in the order of all events of the registry, which
	// may have gaps.
	Position uint64
	Type     Type
	// Since is when it was given its position; Change.At may be earlier.
	Since time.Time

	stream string
	size   int // roughly, in memory

	encode sync.Once
	change *Change // until it is encoded
	body   []byte

	// guarded by outbox.mu
	holders int  // deliveries that have it
	stored  bool // the store has it, or is about to
}

// eventSize is, roughly, what an event takes in memory beside what its session
// said.
const eventSize = 1 << 10

func newEvent(stream string, position uint64, c *Change) *Event {
	change := *c
	change.Stream, change.scope, change.member, change.will, change.event = stream, nil, nil, nil, nil
	e := &Event{Position: position, Type: c.Type, Since: time.Now(), stream: stream, change: &change}
	e.size = eventSize + 2*len(c.ClientData) + len(c.Room) + len(c.Destination)
	for _, a := range c.Attributes {
		e.size += len(a.Name) + 2*len(a.Value)
	}
	return e
}

// ID is the same each time that the event is told, also after a restart, and
// that of no other event.
func (e *Event) ID() string { return e.stream + "-" + strconv.FormatUint(e.Position, 10) }

// JSON is the event as a JSON object, encoded once. It must not be changed.
func (e *Event) JSON() []byte {
	e.encode.Do(func() {
		if e.change == nil { // it comes from a store
			return
		}
		var b bytes.Buffer
		appendJSON(&b, newWireEvent(e.ID(), e.change))
		e.body, e.change = b.Bytes(), nil
	})
	return e.body
}

// wireEvent has the keys of an announcement, with all attributes and a seq only
// if it was announced, and some more.
type wireEvent struct {
	ID  string `json:"id"`
	Seq uint64 `json:"seq,omitempty"`
	wireChange
	Attributes  map[string]string `json:"attributes,omitempty"`
	Destination string            `json:"destination,omitempty"`
	Epoch       int               `json:"epoch"`
	Broker      string            `json:"broker"`
	Endpoint    string            `json:"endpoint"`
	Transport   string            `json:"transport"`
	RemoteAddr  string            `json:"remoteAddr"`
}

func newWireEvent(id string, c *Change) *wireEvent {
	w := &wireEvent{
		ID: id, Seq: c.Seq, wireChange: newWireChange(c), Destination: c.Destination, Epoch: c.Epoch,
		Broker: c.Broker, Endpoint: c.Endpoint, Transport: c.Transport, RemoteAddr: c.RemoteAddr,
	}
	if c.Type == Subscribed || c.Type == Unsubscribed {
		w.UserSessions = nil // it changes none
	}
	if len(c.Attributes) > 0 {
		w.Attributes = make(map[string]string, len(c.Attributes))
		for _, a := range c.Attributes {
			w.Attributes[a.Name] = a.Value
		}
	}
	return w
}

// keptEvent is an event as stores keep it.
type keptEvent struct {
	Position uint64          `json:"position"`
	Stream   string          `json:"stream"`
	Type     Type            `json:"type"`
	Since    time.Time       `json:"since"`
	Event    json.RawMessage `json:"event"`
}

// MarshalJSON is for stores. What receivers are told is [Event.JSON].
func (e *Event) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	appendJSON(&b, keptEvent{e.Position, e.stream, e.Type, e.Since, e.JSON()})
	return b.Bytes(), nil
}

// UnmarshalJSON is for stores.
func (e *Event) UnmarshalJSON(raw []byte) error {
	var k keptEvent
	if err := json.Unmarshal(raw, &k); err != nil {
		return err
	}
	if k.Position == 0 || len(k.Event) == 0 {
		return fmt.Errorf("an event without a position or without JSON: %.64q", raw)
	}
	e.Position, e.stream, e.Type, e.Since = k.Position, k.Stream, k.Type, k.Since
	e.body, e.stored, e.size = k.Event, true, eventSize+2*len(k.Event)
	return nil
}
