package presence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Settings are what an operator decides about a [Registry] and may change
// while it lives.
type Settings struct {
	// Register is the destination that clients tell their client data to and
	// ask for the roster. Default: /app/presence.
	Register string
	// Announce is the destination that carries the changes. It may have
	// placeholders of the session, {stomp.user}, {stomp.session_id} and
	// {stomp.attribute.<name>}, whose values are percent-encoded: then each
	// session is told of, and sees, those only whose destination is the same
	// as its own. Default: /topic/presence.
	Announce string
	// Rooms are patterns of topics: to subscribe to a topic that matches is to
	// join a room, whose members are told at the topic + "/presence".
	Rooms []string
	// Grace is how long a session is kept after it was lost, so that its
	// client may come back. Default: not at all.
	Grace time.Duration
	// GraceReasons are the ends that count as a loss. Default: those for which
	// [stomp.Reason.Grace] says so.
	GraceReasons []stomp.Reason
	// AnnounceUnreachable tells the peers of a loss at once.
	AnnounceUnreachable bool
	// RecoveryGrace is how long the sessions of a store wait for their clients
	// after a restart. Default: 30s.
	RecoveryGrace time.Duration
	// Sync is how long changes are gathered before they are written to the
	// store. Default: not at all, but what comes while others are being
	// written, or within a millisecond of the last write, is written together.
	Sync time.Duration
}

// The defaults of [Settings].
const (
	DefaultRegister      = "/app/presence"
	DefaultAnnounce      = "/topic/presence"
	DefaultRecoveryGrace = 30 * time.Second
)

// WithDefaults fills what was left at zero.
func (s Settings) WithDefaults() Settings {
	if s.Register == "" {
		s.Register = DefaultRegister
	}
	if s.Announce == "" {
		s.Announce = DefaultAnnounce
	}
	if s.RecoveryGrace == 0 {
		s.RecoveryGrace = DefaultRecoveryGrace
	}
	if s.GraceReasons == nil {
		for _, reason := range stomp.Reasons() {
			if reason.Grace() {
				s.GraceReasons = append(s.GraceReasons, reason)
			}
		}
	}
	return s
}

// Validate says what is wrong with the settings.
func (s Settings) Validate() error {
	_, err := s.compile()
	return err
}

// compiled are settings as they are looked at.
type compiled struct {
	Settings
	announce *template
}

func (s Settings) compile() (*compiled, error) {
	s = s.WithDefaults()
	s.Register = stomp.WithoutSlash(s.Register)
	t, err := parseTemplate(stomp.WithoutSlash(s.Announce))
	switch {
	case err != nil:
		return nil, fmt.Errorf("announce: %w", err)
	case s.Grace < 0, s.RecoveryGrace < 0, s.Sync < 0:
		return nil, fmt.Errorf("durations must not be negative")
	case strings.Contains(s.Register+s.Announce, "*"):
		return nil, fmt.Errorf("register (%s) and announce (%s) must be destinations without *", s.Register, s.Announce)
	case t.matches(s.Register):
		return nil, fmt.Errorf("register and announce must not be the same destination (%s)", s.Register)
	}
	for _, room := range s.Rooms {
		if !strings.HasPrefix(room, "/") || strings.Contains(strings.TrimSuffix(room, "**"), "**") {
			return nil, fmt.Errorf("room: expected the pattern of a topic such as /topic/rooms/*, not %q", room)
		}
	}
	for _, reason := range s.GraceReasons {
		if reason == stomp.ReasonDisconnect || reason == stomp.ReasonPolicy {
			return nil, fmt.Errorf("grace: %s is final", reason)
		}
	}
	return &compiled{Settings: s, announce: t}, nil
}

// isRoom says whether to subscribe to a destination is to join a room. To
// subscribe to a pattern is not.
func (c *compiled) isRoom(destination string) bool {
	if strings.HasSuffix(destination, "/") { // whose roster nobody could ask for
		return false
	}
	return !stomp.IsPattern(destination) && slices.ContainsFunc(c.Rooms, func(pattern string) bool { return stomp.Matches(pattern, destination) })
}

func (c *compiled) hasGrace(reason stomp.Reason) bool {
	return c.Grace > 0 && slices.Contains(c.GraceReasons, reason)
}

// roomSuffix makes the destination of a room's changes from that of the room.
const roomSuffix = "/presence"
