package caddymodule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// BrokerConfig configures a broker.
type BrokerConfig struct {
	// Who is announced, and where.
	Presence *PresenceConfig `json:"presence,omitempty"`

	// The prefixes that tell the kinds of destinations apart.
	Destinations *DestinationsConfig `json:"destinations,omitempty"`

	// What queues hold while nobody consumes it.
	Queues *QueuesConfig `json:"queues,omitempty"`

	// Sessions of all endpoints of the broker at the same time, beside each
	// endpoint's own limit. Default: no limit.
	Sessions int `json:"sessions,omitempty"`

	// How long the broker waits for its clients to take leave when it stops.
	// Default: 3s.
	Drain caddy.Duration `json:"drain,omitempty"`
}

// PresenceConfig configures what clients are told about each other.
type PresenceConfig struct {
	// The destination to which clients send what they say about themselves,
	// and from which they are given the roster. It needs no prefix.
	// Default: /app/presence.
	Register string `json:"register,omitempty"`

	// The destination that carries who joined, changed and left. Clients
	// cannot send to it. It needs no prefix. Default: /topic/presence.
	Announce string `json:"announce,omitempty"`
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
	defaultRegister = "/app/presence"
	defaultAnnounce = "/topic/presence"
	defaultDrain    = 3 * time.Second

	overflowDrop   = "drop_oldest"
	overflowRefuse = "refuse"
)

func (c *BrokerConfig) isZero() bool { return *c == BrokerConfig{} }

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
	p := c.withDefaults()
	if trimSlash(p.Register) == trimSlash(p.Announce) {
		return fmt.Errorf("presence: register and announce must not be the same destination (%s)", p.Register)
	}
	if strings.Contains(p.Register+p.Announce, "*") {
		return fmt.Errorf("presence: register (%s) and announce (%s) must be destinations without *", p.Register, p.Announce)
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

func trimSlash(destination string) string {
	if n := len(destination); n > 1 && destination[n-1] == '/' {
		return destination[:n-1]
	}
	return destination
}

func (c *PresenceConfig) withDefaults() PresenceConfig {
	p := PresenceConfig{Register: defaultRegister, Announce: defaultAnnounce}
	if c != nil {
		replace(&p.Register, c.Register)
		replace(&p.Announce, c.Announce)
	}
	return p
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
