package caddymodule

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// The events that are emitted. Their data, for placeholders like
// {event.data.session_id}:
//
//	session_id         the session id
//	user               the authenticated name, or empty
//	client_data        what the client said about itself, as JSON text, or empty
//	broker, endpoint   where the session is
//	transport          how it is connected
//	remote_addr        the peer's address
//	epoch              which connection of the session it is about, from 1
//	client_data.<key>  if client data is an object, each string, number and boolean in it
//
// and of stomp_disconnected:
//
//	reason             why it ended, such as connection-lost
//	code               the WebSocket close code
//	clean              whether the client ended it on purpose
//	seconds_connected  how long it was connected
//	user_sessions      how many sessions the user has left
//	seq                the number of the announcement; 0 if there was none
//
// A session that is lost and may come back is stomp_unreachable, and then either
// stomp_returned or stomp_disconnected. Those that are announced to peers join
// and leave rooms: stomp_room_joined and stomp_room_left. These four have, too:
//
//	stream, seq        which announcement it is, seq 0 if it is none
//	user_sessions      how many sessions the user has, in the room if there is one
//
// stomp_unreachable and stomp_room_left have reason, code and clean, and those
// of rooms:
//
//	room               the destination of the room
//
// Who leaves a room by unsubscribing has the reason unsubscribed and code 0.
//
// When client data is told, and again when others are announced, it is
// stomp_registered, which has stream, seq and user_sessions. SUBSCRIBE and
// UNSUBSCRIBE, but not the end of a session with its subscriptions, are
// stomp_subscribed and stomp_unsubscribed, which have:
//
//	destination        what to, as the client wrote it
//
// stomp_connecting is of another kind: see admission.
const (
	eventConnected    = "stomp_connected"
	eventDisconnected = "stomp_disconnected"
	eventUnreachable  = "stomp_unreachable"
	eventReturned     = "stomp_returned"
	eventRoomJoined   = "stomp_room_joined"
	eventRoomLeft     = "stomp_room_left"
	eventRegistered   = "stomp_registered"
	eventSubscribed   = "stomp_subscribed"
	eventUnsubscribed = "stomp_unsubscribed"
)

// maxEventBytes bounds, roughly, what waits for event handlers.
const maxEventBytes = 8 << 20

// eventQueue emits Caddy events from a goroutine of its own, which lives while
// there is something to emit, so that a slow event handler slows down no
// session. It implements [presence.Listener] and [stomp.SubscriptionObserver].
type eventQueue struct {
	ctx    caddy.Context
	app    *caddyevents.App
	logger *slog.Logger

	mu      sync.Mutex
	started bool // all apps of the configuration have: before, nobody listens yet
	queue   []queuedEvent
	bytes   int
	left    int // queued, or being emitted
	running bool
	closed  bool
	done    chan struct{} // closed when what was queued at close is emitted
	dropped int           // since the last warning

	unheard atomic.Bool // nobody listens for subscriptions
}

// queuedEvent is a change, or a subscription of the session in it.
type queuedEvent struct {
	presence.Change
	name        string
	destination string // of a subscription
}

func newEventQueue(ctx caddy.Context, app *caddyevents.App, logger *slog.Logger) *eventQueue {
	return &eventQueue{ctx: ctx, app: app, logger: logger}
}

// eventName is the name of the event that a change is, empty if it is none.
func eventName(c *presence.Change) string {
	switch room := c.Room != ""; {
	case c.Type == presence.Joined && room:
		return eventRoomJoined
	case c.Type == presence.Left && room:
		return eventRoomLeft
	case room: // what is told of the session as a whole, told in its rooms again
		return ""
	case c.Type == presence.Connected:
		return eventConnected
	case c.Type == presence.Unreachable:
		return eventUnreachable
	case c.Type == presence.Returned:
		return eventReturned
	case c.Type == presence.Left:
		return eventDisconnected
	case c.Type == presence.Updated, c.Type == presence.Joined && c.ClientData != nil:
		return eventRegistered
	default:
		return ""
	}
}

func eventSize(e *queuedEvent) int { return 512 + len(e.ClientData) + len(e.destination) }

// Changed implements [presence.Listener].
func (q *eventQueue) Changed(c presence.Change) {
	if name := eventName(&c); name != "" {
		q.add(queuedEvent{Change: c, name: name})
	}
}

// Subscribed implements [stomp.SubscriptionObserver].
func (q *eventQueue) Subscribed(s *stomp.Session, destination string) {
	q.subscription(eventSubscribed, presence.Subscribed, s, destination)
}

// Unsubscribed implements [stomp.SubscriptionObserver].
func (q *eventQueue) Unsubscribed(s *stomp.Session, destination string) {
	q.subscription(eventUnsubscribed, presence.Unsubscribed, s, destination)
}

func (q *eventQueue) subscription(name string, t presence.Type, s *stomp.Session, destination string) {
	r, ok := s.Endpoint().Broker().Observer().(*presence.Registry)
	if !ok {
		return
	}
	r.TellSubscription(s, t, destination)
	if q.unheard.Load() {
		return
	}
	if view := r.Get(s.ID()); view != nil {
		q.add(queuedEvent{presence.Change{View: view}, name, destination})
	}
}

func (q *eventQueue) add(e queuedEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.started && !q.app.ShouldEmit(e.name) {
		return
	}
	if q.closed || q.bytes > maxEventBytes {
		q.dropped++
		return
	}
	q.queue = append(q.queue, e)
	q.left++
	q.bytes += eventSize(&e)
	q.wake()
}

// wake starts the goroutine if there is something to emit. With q.mu held.
func (q *eventQueue) wake() {
	if q.started && !q.running && len(q.queue)+q.dropped > 0 {
		q.running = true
		go q.run()
	}
}

// start is called when all apps of the configuration have started, the events
// app among them.
func (q *eventQueue) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.started = true
	q.unheard.Store(!q.app.ShouldEmit(eventSubscribed) && !q.app.ShouldEmit(eventUnsubscribed))
	q.wake()
}

func (q *eventQueue) run() {
	for {
		q.mu.Lock()
		batch, dropped := q.queue, q.dropped
		q.queue, q.dropped = nil, 0
		if len(batch) == 0 && dropped == 0 {
			q.running = false
			if q.done != nil {
				close(q.done)
			}
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		if dropped > 0 {
			q.logger.Warn("events dropped: event handlers are too slow", "count", dropped)
		}
		for i := range batch {
			if q.ctx.Err() != nil {
				return // close gave up on us
			}
			q.app.Emit(q.ctx, batch[i].name, eventData(&batch[i]))
			q.mu.Lock()
			q.bytes -= eventSize(&batch[i])
			q.left--
			q.mu.Unlock()
		}
	}
}

// eventTimeout is how long an exit or a reload waits for event handlers.
const eventTimeout = time.Second

// close emits what is queued and takes no more. Called before the context of
// the configuration is cancelled.
func (q *eventQueue) close() {
	q.mu.Lock()
	q.closed = true
	done := make(chan struct{})
	q.done = done
	if !q.running {
		close(done)
	}
	q.mu.Unlock()
	select {
	case <-done:
		return
	case <-time.After(eventTimeout):
	}
	q.mu.Lock()
	left := q.left + q.dropped
	q.mu.Unlock()
	q.logger.Warn("events dropped: event handlers do not return", "waited", eventTimeout, "count", left)
}

// addScalars adds what an object says in strings, numbers and booleans.
func addScalars(data map[string]any, clientData []byte) {
	if !bytes.HasPrefix(clientData, []byte("{")) {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(clientData))
	decoder.UseNumber()
	var object map[string]any
	if decoder.Decode(&object) != nil {
		return
	}
	for key, value := range object {
		switch value.(type) {
		case string, json.Number, bool:
			data["client_data."+key] = value
		}
	}
}

func eventData(c *queuedEvent) map[string]any {
	data := map[string]any{
		"session_id":  c.SessionID,
		"user":        c.User,
		"client_data": string(c.ClientData),
		"broker":      c.Broker,
		"endpoint":    c.Endpoint,
		"transport":   c.Transport,
		"remote_addr": c.RemoteAddr,
		"epoch":       c.Epoch,
	}
	addScalars(data, c.ClientData)
	switch c.name {
	case eventConnected:
		return data
	case eventSubscribed, eventUnsubscribed:
		data["destination"] = c.destination
		return data
	}
	data["seq"] = c.Seq
	data["user_sessions"] = c.UserSessions
	if c.Type == presence.Left || c.Type == presence.Unreachable {
		data["reason"] = c.ReasonName()
		data["code"] = c.Code
		data["clean"] = c.Clean()
	}
	if c.name == eventDisconnected {
		data["seconds_connected"] = c.ConnectedFor().Seconds()
		return data
	}
	data["stream"] = c.Stream
	if c.Room != "" {
		data["room"] = c.Room
	}
	return data
}
