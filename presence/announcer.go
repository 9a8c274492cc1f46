package presence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Announcer tells somebody outside of the process what happens: a webhook, for
// example. What an error means is in its type: a [RejectedError] gives the batch
// up, a [GoneError] the receiver, and after any other, such as a [RetryError],
// the same batch comes again.
type Announcer interface {
	// ID names the receiver, the same one across reloads and restarts. It is
	// shown in logs, metrics and to operators, and must hold no secret.
	ID() string
	// Announce tells a batch, and returns when the receiver has it. It is called
	// from one goroutine at a time, oldest events first, and must return when
	// ctx ends. A panic counts as an error.
	Announce(ctx context.Context, b EventBatch) error
}

// EventBatch is events that are told at once.
type EventBatch struct {
	// ID is the same each time that the batch is tried, of those that are
	// [A-Za-z0-9_-].
	ID string
	// Attempt counts from 1 how often the batch is tried.
	Attempt int
	// Events are one at least, oldest first.
	Events []*Event
}

// JSON is the events as a JSON array.
func (b EventBatch) JSON() []byte {
	size := 2
	for _, e := range b.Events {
		size += len(e.JSON()) + 1
	}
	body := bytes.NewBuffer(make([]byte, 0, size))
	for i, e := range b.Events {
		body.WriteByte("[,"[min(i, 1)])
		body.Write(e.JSON())
	}
	body.WriteByte(']')
	return body.Bytes()
}

// batchID names a batch by what is in it.
func batchID(events []*Event) string {
	first, last := events[0], events[len(events)-1]
	return first.ID() + "-" + strconv.FormatUint(last.Position, 10) + "-" + strconv.Itoa(len(events))
}

// RetryError says that a batch should be tried again, and not before After.
type RetryError struct {
	After time.Duration // at most an hour counts
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// RejectedError says that the receiver does not take the batch, and would not if
// it came again. Of several events those that it takes are found out; what
// remains becomes dead letters.
type RejectedError struct {
	Status int // of HTTP; 0 for none
	Err    error
}

func (e *RejectedError) Error() string { return e.Err.Error() }
func (e *RejectedError) Unwrap() error { return e.Err }

// GoneError says that the receiver wants nothing any more. Its events wait,
// within their bounds, for a configuration that names it again.
type GoneError struct{ Err error }

func (e *GoneError) Error() string { return e.Err.Error() }
func (e *GoneError) Unwrap() error { return e.Err }

// announce calls an announcer, whose panic is an error.
func announce(ctx context.Context, a Announcer, b EventBatch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the announcer panicked: %v", p)
		}
	}()
	return a.Announce(ctx, b)
}

// AnnouncerConfig is an announcer, and how events are delivered to it.
type AnnouncerConfig struct {
	Announcer
	DeliverySettings
	// Circuit is the receiver's, which registries may share. Default: one of
	// its own.
	Circuit *Circuit
	// Slots bounds how many calls there are at a time, of all that have the
	// same. Default: no bound.
	Slots chan struct{}
}

// DeliverySettings are how events are delivered.
type DeliverySettings struct {
	// Types are what is told. Default: all changes, which are those of
	// [EventTypes] but Connected, Subscribed and Unsubscribed.
	Types []Type
	// Batch and BatchBytes bound what is told at once, unless a single event is
	// larger. Default: 100 events, 256 KiB.
	Batch, BatchBytes int
	// Timeout of a call. Default: 10s.
	Timeout time.Duration
	// Pending and PendingBytes bound what waits; beyond, the oldest is given
	// up. Default: 100,000 events, 64 MiB.
	Pending, PendingBytes int
	// MaxAge is how long an event may wait. Default: 72h.
	MaxAge time.Duration
}

// allEvents are the types of events that there are, changesOnly those that are
// told if nothing else is said.
var (
	changesOnly = []Type{Joined, Updated, Unreachable, Returned, Left}
	allEvents   = append([]Type{Connected, Subscribed, Unsubscribed}, changesOnly...)
)

// EventTypes are the types of events that announcers can be told.
func EventTypes() []Type { return slices.Clone(allEvents) }

// WithDefaults fills what was left at zero.
func (s DeliverySettings) WithDefaults() DeliverySettings {
	if len(s.Types) == 0 {
		s.Types = changesOnly
	}
	orElse(&s.Batch, 100)
	orElse(&s.BatchBytes, 256<<10)
	orElse(&s.Timeout, 10*time.Second)
	orElse(&s.Pending, 100_000)
	orElse(&s.PendingBytes, 64<<20)
	orElse(&s.MaxAge, 72*time.Hour)
	return s
}

// Validate says what is wrong with the settings.
func (s DeliverySettings) Validate() error {
	for _, t := range s.Types {
		if setOf(t) == 0 {
			return fmt.Errorf("events: no type %q; expected some of %v", t, allEvents)
		}
	}
	if min(s.Batch, s.BatchBytes, s.Pending, s.PendingBytes) < 0 || min(s.Timeout, s.MaxAge) < 0 {
		return errors.New("bounds and durations must not be negative")
	}
	return nil
}

func orElse[T comparable](v *T, other T) {
	var zero T
	if *v == zero {
		*v = other
	}
}

// typeSet is a set of types of events.
type typeSet uint32

func typesOf(types ...Type) (set typeSet) {
	for _, t := range types {
		set |= setOf(t)
	}
	return set
}

// setOf is the set of a type, none for what is no event.
func setOf(t Type) typeSet {
	switch t {
	case Connected:
		return 1 << 0
	case Subscribed:
		return 1 << 1
	case Unsubscribed:
		return 1 << 2
	case Joined:
		return 1 << 3
	case Updated:
		return 1 << 4
	case Unreachable:
		return 1 << 5
	case Returned:
		return 1 << 6
	case Left:
		return 1 << 7
	default:
		return 0
	}
}

func (s typeSet) has(t Type) bool { return s&setOf(t) != 0 }

// list is the set as a list.
func (s typeSet) list() []Type {
	return slices.DeleteFunc(EventTypes(), func(t Type) bool { return !s.has(t) })
}
