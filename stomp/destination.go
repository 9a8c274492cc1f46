package stomp

import (
	"net/url"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Destinations are the prefixes by which a broker tells the kinds of
// destinations apart. Each begins and ends with "/", and none is the beginning
// of another. What has none of them, and is not mounted, is refused.
type Destinations struct {
	// Topic: a message goes to all subscribers. Default: /topic/.
	Topic string
	// Queue: a message goes to one of the subscribers. Default: /queue/.
	Queue string
	// User: SUBSCRIBE to it is the session's own, SEND addresses a user.
	// Default: /user/.
	User string
	// TempQueue: names of a session's own that it may be replied to on.
	// Default: /temp-queue/.
	TempQueue string
	// ReplyQueue: what a TempQueue is called by those who reply to it.
	// Default: /reply-queue/.
	ReplyQueue string
}

// DefaultDestinations returns the default prefixes.
func DefaultDestinations() Destinations {
	return Destinations{
		Topic: "/topic/", Queue: "/queue/", User: "/user/", TempQueue: "/temp-queue/", ReplyQueue: "/reply-queue/",
	}
}

func (d *Destinations) prefixes() [5]string {
	return [...]string{d.Topic, d.Queue, d.User, d.TempQueue, d.ReplyQueue}
}

// Validate says what is wrong with the prefixes.
func (d *Destinations) Validate() error {
	all := d.prefixes()
	for i, p := range all {
		if len(p) < 3 || p[0] != '/' || p[len(p)-1] != '/' || strings.Contains(p, "*") {
			return policyErrorf("destination prefix %q: expected one such as /topic/", p)
		}
		for j, other := range all {
			if i != j && strings.HasPrefix(p, other) {
				return policyErrorf("destination prefixes %q and %q overlap", p, other)
			}
		}
	}
	return nil
}

// kind is what a destination's prefix says.
type kind uint8

const (
	kindUnknown kind = iota
	kindTopic
	kindQueue
	kindUser
	kindTempQueue
	kindReplyQueue
)

// classify returns the kind of a destination and what follows the prefix.
func (d *Destinations) classify(destination string) (kind, string) {
	for i, prefix := range d.prefixes() {
		if rest, ok := strings.CutPrefix(destination, prefix); ok && rest != "" {
			return kindTopic + kind(i), rest
		}
	}
	return kindUnknown, ""
}

// unknown is the refusal of a destination without a known prefix.
func (d *Destinations) unknown(f *frame.Frame, destination string) error {
	return protocolErrorf("%s: no such destination %q; destinations begin with %s, %s or %s",
		f.Command, destination, d.Topic, d.Queue, d.User)
}

// pattern says whether a destination has wildcards: segments that are * (any
// one) or, at the end, ** (any rest, none included).
func pattern(destination string) (wild bool, err error) {
	for rest := destination; rest != ""; {
		var segment string
		var more bool
		segment, rest, more = strings.Cut(rest, "/")
		switch {
		case segment == "**" && more:
			return true, protocolErrorf("destination %q: ** stands for the rest, so it must be the last segment", destination)
		case segment == "*", segment == "**":
			wild = true
		}
	}
	return wild, nil
}

// IsPattern says whether a destination has wildcards, or something like them
// that nobody can subscribe to.
func IsPattern(destination string) bool {
	wild, err := pattern(destination)
	return wild || err != nil
}

// userTarget takes "<name>[;session=<id>]/<rest>" apart, as SEND to a user
// destination has it. The name is percent-encoded.
func userTarget(target string) (name, session, rest string, err error) {
	name, rest, ok := strings.Cut(target, "/")
	if !ok || rest == "" {
		return "", "", "", protocolErrorf("SEND: a user destination is <user>/<destination>, not %q", target)
	}
	name, session, one := strings.Cut(name, ";session=")
	if one && session == "" {
		return "", "", "", protocolErrorf("SEND: the session in %q is empty", target)
	}
	if name, err = url.PathUnescape(name); err != nil || name == "" {
		return "", "", "", protocolErrorf("SEND: the user in %q is not percent-encoded", target)
	}
	return name, session, rest, nil
}

// userDestination is how rules know a user destination, whatever way it was
// written; and plain, with the name as it is, how they may deny it.
func (d *Destinations) userDestination(r route) (destination, plain string) {
	name := EncodeSegment(r.user)
	if rest, ok := strings.CutPrefix(r.rest, name); ok && strings.HasPrefix(rest, "/") { // as it should be written, as a rule
		destination = r.destination
	} else {
		destination = d.User + name + "/" + r.own
	}
	if name == r.user {
		return destination, destination
	}
	return destination, d.User + r.user + "/" + r.own
}

// ownTopic is the topic, not reachable by any destination of a client's, that
// carries what is sent to a user.
func ownTopic(user, rest string) string { return "\x00user\x00" + user + "\x00" + rest }

// ownSessionTopic is the same for an anonymous session. A client may have
// chosen its id, so it shares no name with a user.
func ownSessionTopic(id, rest string) string { return "\x00session\x00" + id + "\x00" + rest }

// Matches says whether a pattern reaches a destination: its segments may be *
// (any one) or, at the end, ** (any rest, none included).
func Matches(pattern, destination string) bool {
	for {
		p, patternRest, patternMore := strings.Cut(pattern, "/")
		if p == "**" {
			return true
		}
		d, rest, more := strings.Cut(destination, "/")
		if p != "*" && p != d {
			return false
		}
		if !more && patternRest == "**" {
			return true
		}
		if more != patternMore {
			return false
		}
		if !more {
			return true
		}
		pattern, destination = patternRest, rest
	}
}
