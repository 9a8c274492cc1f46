package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// BrokerConfig configures a broker.
type BrokerConfig struct {
	// Who is announced, and where.
	Presence *PresenceConfig `json:"presence,omitempty"`

	// The prefixes that tell the kinds of destinations apart.
	Destinations *DestinationsConfig `json:"destinations,omitempty"`

	// Where the registry is kept, so that sessions outlive the process.
	// Default: in memory only.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=stomp.stores inline_key=module"`

	// Who is told outside of the process of what happens. Default: nobody.
	AnnouncersRaw []json.RawMessage `json:"announcers,omitempty" caddy:"namespace=stomp.announcers inline_key=module"`

	// What queues hold while nobody consumes it.
	Queues *QueuesConfig `json:"queues,omitempty"`

	// Sessions of all endpoints of the broker at the same time, beside each
	// endpoint's own limit. Default: no limit.
	Sessions int `json:"sessions,omitempty"`

	// How long the broker waits for its clients to take leave when it stops.
	// Default: 3s.
	Drain caddy.Duration `json:"drain,omitempty"`

	store      Store
	announcers []guestAnnouncer
}

// PresenceConfig configures what clients are told about each other.
type PresenceConfig struct {
	// The destination to which clients send what they say about themselves,
	// and from which they are given the roster. It needs no prefix.
	// Default: /app/presence.
	Register string `json:"register,omitempty"`

	// The destination that carries who joined, changed and left. Clients
	// cannot send to it. It needs no prefix. It may have the placeholders
	// {stomp.user}, {stomp.session_id} and {stomp.attribute.<name>}, whose
	// values are percent-encoded: then sessions are told of those only whose
	// destination is the same. Default: /topic/presence.
	Announce string `json:"announce,omitempty"`

	// Patterns of topics that are rooms: to subscribe to one is to join it.
	// Who joined, changed and left is told at the topic + /presence, and the
	// roster of a room is at the register destination + the topic.
	Rooms []string `json:"rooms,omitempty"`

	// How long a session that lost its connection is kept for its client to
	// come back to it. Default: 0, not at all.
	Grace caddy.Duration `json:"grace,omitempty"`

	// The reasons for which there is a grace, such as connection-lost,
	// heart-beat-timeout, slow-consumer or closed.
	// Default: connection-lost and heart-beat-timeout.
	GraceReasons []string `json:"grace_reasons,omitempty"`

	// Whether the peers are told at once that a session was lost.
	// Default: false.
	AnnounceUnreachable bool `json:"announce_unreachable,omitempty"`

	// How long the sessions of a store wait for their clients after a
	// restart. Default: 30s.
	RecoveryGrace caddy.Duration `json:"recovery_grace,omitempty"`

	// How long changes are gathered before they are written to the store; the
	// RECEIPT of a registration waits for that. Default: 0, not at all, but
	// what comes during a write goes into the next.
	Sync caddy.Duration `json:"sync,omitempty"`
}

// DestinationsConfig configures the prefixes of destinations. Each begins and
// ends with a slash.
type DestinationsConfig struct {
	// A message goes to all subscribers. Default: /topic/.
	Topic string `json:"topic,omitempty"`
	// A message goes to one of the subscribers. Default: /queue/.
	Queue string `json:"queue,omitempty"`
	// A message goes to the sessions of a user. Default: /user/.
	User string `json:"user,omitempty"`
	// Where a session wants to be replied to. Default: /temp-queue/.
	TempQueue string `json:"temp_queue,omitempty"`
	// What those who reply see of it. Default: /reply-queue/.
	ReplyQueue string `json:"reply_queue,omitempty"`
}

// QueuesConfig bounds what queues hold.
type QueuesConfig struct {
	// Messages of a queue. Default: 1000.
	Backlog int `json:"backlog,omitempty"`
	// Bytes of a queue. Default: 1 MiB.
	BacklogBytes int `json:"backlog_bytes,omitempty"`
	// Bytes of all queues of the broker. Default: 64 MiB.
	TotalBytes int `json:"total_bytes,omitempty"`
	// What happens when a queue is full: drop_oldest drops and counts its
	// oldest message, refuse answers SEND with an ERROR. Default: drop_oldest.
	Overflow string `json:"overflow,omitempty"`
}

const (
	defaultDrain = 3 * time.Second

	overflowDrop   = "drop_oldest"
	overflowRefuse = "refuse"
)

func (c *BrokerConfig) isZero() bool { return reflect.DeepEqual(*c, BrokerConfig{}) }

// provision validates the configuration and loads its guest modules.
func (c *BrokerConfig) provision(ctx caddy.Context) error {
	if err := c.validate(); err != nil || c == nil {
		return err
	}
	if err := c.provisionAnnouncers(ctx); err != nil || c.StoreRaw == nil {
		return err
	}
	guest, err := ctx.LoadModule(c, "StoreRaw")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	c.store = guest.(Store)
	return nil
}

func (c *BrokerConfig) validate() error {
	if c == nil {
		return nil
	}
	if c.Drain < 0 {
		return errors.New("drain must not be negative")
	}
	if c.Sessions < 0 {
		return errors.New("sessions must not be negative")
	}
	return errors.Join(c.Presence.validate(), c.Destinations.validate(), c.Queues.validate())
}

func (c *PresenceConfig) validate() error {
	s, err := c.settings()
	if err == nil {
		err = s.Validate()
	}
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	return nil
}

func (c *DestinationsConfig) validate() error {
	d := c.withDefaults()
	if err := d.Validate(); err != nil {
		return fmt.Errorf("destinations: %w", err)
	}
	return nil
}

func (c *QueuesConfig) validate() error {
	switch {
	case c == nil:
		return nil
	case c.Overflow != "" && c.Overflow != overflowDrop && c.Overflow != overflowRefuse:
		return fmt.Errorf("queues: overflow is %s or %s, not %q", overflowDrop, overflowRefuse, c.Overflow)
	case c.Backlog < 0 || c.BacklogBytes < 0 || c.TotalBytes < 0:
		return errors.New("queues: bounds must not be negative")
	}
	return nil
}

// settings are what the registry is told.
func (c *PresenceConfig) settings() (presence.Settings, error) {
	if c == nil {
		return presence.Settings{}, nil
	}
	s := presence.Settings{
		Register: c.Register, Announce: c.Announce, Rooms: c.Rooms,
		Grace: time.Duration(c.Grace), AnnounceUnreachable: c.AnnounceUnreachable,
		RecoveryGrace: time.Duration(c.RecoveryGrace), Sync: time.Duration(c.Sync),
	}
	for _, name := range c.GraceReasons {
		var reason stomp.Reason
		if err := reason.UnmarshalText([]byte(name)); err != nil || reason == 0 {
			return s, fmt.Errorf("grace: %q is no reason; expected one such as connection-lost or closed", name)
		}
		s.GraceReasons = append(s.GraceReasons, reason)
	}
	return s, nil
}

func (c *DestinationsConfig) withDefaults() stomp.Destinations {
	d := stomp.DefaultDestinations()
	if c != nil {
		replace(&d.Topic, c.Topic)
		replace(&d.Queue, c.Queue)
		replace(&d.User, c.User)
		replace(&d.TempQueue, c.TempQueue)
		replace(&d.ReplyQueue, c.ReplyQueue)
	}
	return d
}

func (c *QueuesConfig) bounds() stomp.QueueConfig {
	if c == nil {
		return stomp.QueueConfig{}
	}
	return stomp.QueueConfig{
		Backlog: c.Backlog, BacklogBytes: c.BacklogBytes, TotalBytes: c.TotalBytes, Refuse: c.Overflow == overflowRefuse,
	}
}

func (c *BrokerConfig) drain() time.Duration {
	if c.Drain == 0 {
		return defaultDrain
	}
	return time.Duration(c.Drain)
}

// replace sets v unless the other is empty.
func replace(v *string, other string) {
	if other != "" {
		*v = other
	}
}
