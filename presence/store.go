package presence

import (
	"encoding/json"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Store keeps a registry across the end of the process. A Registry calls one
// method at a time.
type Store interface {
	// Load returns what was kept; a zero Meta if there is nothing.
	Load() (*Kept, error)
	// Commit makes a batch durable, whole or not at all, before it returns.
	Commit(*Batch) error
	// Clear removes everything, for a registry that will not come back.
	Clear() error
}

// Meta is what a store keeps of the registry as a whole.
type Meta struct {
	// Stream and Key make the numbers of changes and the resume tokens of
	// different registries different.
	Stream string `json:"stream"`
	Key    []byte `json:"key"`
	// Seq is the number of the last change.
	Seq uint64 `json:"seq"`
	// Reserved is the number up to which a process that dies may have told
	// changes that are not kept.
	Reserved uint64 `json:"reserved,omitempty"`
	// Announced is the number up to which changes were announced.
	Announced uint64 `json:"announced"`
	// Position is that of the last event.
	Position uint64 `json:"position,omitempty"`
	// Alive is when the process was last known to run.
	Alive time.Time `json:"alive"`
}

// Batch is what changed since the one before.
type Batch struct {
	Meta Meta
	// Reset says that nothing of what was kept before remains.
	Reset   bool
	Put     []*Record
	Delete  []string // session ids
	Changes []*KeptChange
	// PutEvents are those that announcers are to be told, DeleteEvents the
	// positions of those that none has to be told any more.
	PutEvents    []*Event
	DeleteEvents []uint64
	// Announcers, unless nil, are all that there are: they replace those that
	// were kept.
	Announcers []*AnnouncerState
}

// Kept is what a store has.
type Kept struct {
	Meta    Meta
	Records []*Record
	// Changes are those that were not announced, in order.
	Changes []*KeptChange
	// Events are those that some announcer may not have been told, in order.
	Events     []*Event
	Announcers []*AnnouncerState
}

// AnnouncerState is how far an announcer has got.
type AnnouncerState struct {
	ID string `json:"id"`
	// Cursor is the position up to which all is told or given up, but for
	// what is in Dead.
	Cursor uint64 `json:"cursor"`
	// Wanted are the types of events that it is told of after Cursor. Default:
	// those that are configured.
	Wanted []Wanted `json:"wanted,omitempty"`
	// Dead are the events that the receiver rejected, oldest first.
	Dead []DeadLetter `json:"dead,omitempty"`
}

// DeadLetter is an event that a receiver rejected.
type DeadLetter struct {
	Position uint64    `json:"position"`
	Status   int       `json:"status,omitempty"` // of HTTP
	Error    string    `json:"error"`
	At       time.Time `json:"at"`
	// Again says that it is to be tried once more.
	Again bool `json:"again,omitempty"`
}

// Record is what is kept of a session.
type Record struct {
	SessionID   string            `json:"sessionId"`
	User        string            `json:"user,omitempty"`
	ClientData  json.RawMessage   `json:"clientData,omitempty"`
	Attributes  []stomp.Attribute `json:"attributes,omitempty"`
	ConnectedAt time.Time         `json:"connectedAt"`
	Broker      string            `json:"broker,omitempty"`
	Endpoint    string            `json:"endpoint,omitempty"`
	Transport   string            `json:"transport,omitempty"`
	Version     string            `json:"version,omitempty"`
	RemoteAddr  string            `json:"remoteAddr,omitempty"`
	Epoch       int               `json:"epoch"`
	// Announced says that the peers were told of it.
	Announced bool     `json:"announced,omitempty"`
	Scope     []string `json:"scope,omitempty"`
	Rooms     []string `json:"rooms,omitempty"`
	Will      *Will    `json:"will,omitempty"`
	Lost      *Loss    `json:"lost,omitempty"`
}

// Loss is how a session became unreachable.
type Loss struct {
	Reason  stomp.Reason  `json:"reason"`
	Code    int           `json:"code"`
	Silence time.Duration `json:"silence,omitempty"`
	At      time.Time     `json:"at"`
	// Until is when it is left.
	Until time.Time `json:"until"`
}

// KeptChange is a change as it is kept until it was announced.
type KeptChange struct {
	Session      *Record       `json:"session"`
	Unreachable  bool          `json:"unreachable,omitempty"`
	Type         Type          `json:"type"`
	Room         string        `json:"room,omitempty"`
	Seq          uint64        `json:"seq"`
	At           time.Time     `json:"at"`
	Reason       stomp.Reason  `json:"reason,omitempty"`
	Code         int           `json:"code,omitempty"`
	Silence      time.Duration `json:"silence,omitempty"`
	UserSessions int           `json:"userSessions,omitempty"`
	Will         *Will         `json:"will,omitempty"`
}

// recordOf is what is kept of a view.
func recordOf(v *View) *Record {
	return &Record{
		SessionID: v.SessionID, User: v.User, ClientData: v.ClientData, Attributes: v.Attributes, ConnectedAt: v.ConnectedAt,
		Broker: v.Broker, Endpoint: v.Endpoint, Transport: v.Transport, Version: v.Version, RemoteAddr: v.RemoteAddr, Epoch: v.Epoch,
	}
}

func (r *Record) view(unreachable bool) *View {
	return &View{
		SessionID: r.SessionID, User: r.User, ClientData: r.ClientData, Attributes: r.Attributes, ConnectedAt: r.ConnectedAt,
		Broker: r.Broker, Endpoint: r.Endpoint, Transport: r.Transport, Version: r.Version, RemoteAddr: r.RemoteAddr, Epoch: r.Epoch,
		Unreachable: unreachable,
	}
}

// kept is a change as it is kept.
func (c *Change) kept() *KeptChange {
	record := recordOf(c.View)
	if c.scope.room == "" {
		record.Scope = c.scope.values
	}
	return &KeptChange{
		Session: record, Unreachable: c.View.Unreachable, Type: c.Type, Room: c.Room, Seq: c.Seq, At: c.At,
		Reason: c.Reason, Code: c.Code, Silence: c.Silence, UserSessions: c.UserSessions, Will: c.will,
	}
}

func (k *KeptChange) change() Change {
	view := k.Session.view(k.Unreachable)
	return Change{
		View: view, Type: k.Type, Room: k.Room, Seq: k.Seq, At: k.At,
		Reason: k.Reason, Code: k.Code, Silence: k.Silence, UserSessions: k.UserSessions, will: k.Will.after(view),
	}
}
