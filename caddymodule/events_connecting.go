package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// eventConnecting is emitted before CONNECTED, when the user is known, and the
// client waits for its handlers; one that aborts it refuses the connection. Its
// data are user, client_data, client_data.<key>, broker, endpoint, transport
// and remote_addr, as of the other events.
const eventConnecting = "stomp_connecting"

const (
	// maxAdmissions is how many connections may wait for handlers at the same
	// time. More wait for their turn.
	maxAdmissions = 64
	// admissionTimeout is how long a connection may wait for its turn and the
	// handlers, before it is refused.
	admissionTimeout = 5 * time.Second
)

// admission asks the handlers of eventConnecting.
type admission struct {
	ctx   caddy.Context
	app   *caddyevents.App
	slots chan struct{}

	started chan struct{} // closed when it is known who listens
	once    sync.Once
}

func newAdmission(ctx caddy.Context, app *caddyevents.App) *admission {
	return &admission{ctx: ctx, app: app, slots: make(chan struct{}, maxAdmissions), started: make(chan struct{})}
}

func (a *admission) start() { a.once.Do(func() { close(a.started) }) }

// of asks for an endpoint.
func (a *admission) of(broker, endpoint string) func(*stomp.Handshake, *frame.Frame) error {
	return func(hs *stomp.Handshake, connect *frame.Frame) error {
		ctx, cancel := context.WithTimeout(a.ctx, admissionTimeout)
		defer cancel()
		select {
		case <-a.started: // as a rule
		default:
			select {
			case <-a.started:
			case <-ctx.Done():
				return a.tryAgain("the server has not started yet")
			}
		}
		if !a.app.ShouldEmit(eventConnecting) { // before, nobody did
			return nil
		}
		return a.ask(ctx, connectingData(hs, connect, broker, endpoint))
	}
}

func connectingData(hs *stomp.Handshake, connect *frame.Frame, broker, endpoint string) map[string]any {
	data := map[string]any{
		"user": hs.User, "client_data": "", "broker": broker, "endpoint": endpoint,
		"transport": hs.Transport, "remote_addr": hs.RemoteAddr,
	}
	// a copy: a handler that does not return has it for longer than the frame is there
	if text := strings.Clone(connect.Header.Get(stomp.ClientDataHeader)); json.Valid([]byte(text)) {
		data["client_data"] = text
		addScalars(data, []byte(strings.TrimLeft(text, " \t\r\n")))
	}
	return data
}

// ask emits the event. A handler that does not return in time keeps its slot
// until it does; the connection is refused without it.
func (a *admission) ask(ctx context.Context, data map[string]any) error {
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return a.tryAgain("event handlers are busy")
	}
	answer := make(chan error, 1)
	go func() {
		defer func() { <-a.slots }()
		answer <- a.emit(ctx, data)
	}()
	select {
	case err := <-answer:
		switch {
		case a.ctx.Err() != nil: // the handlers may have ended with it
		case err != nil:
			return &stomp.Error{Message: "CONNECT: refused", Reason: stomp.ReasonPolicy, Err: err}
		case ctx.Err() == nil: // otherwise not all were asked
			return nil
		}
	case <-ctx.Done():
	}
	return a.tryAgain("event handlers do not return")
}

// emit returns why the event was aborted.
func (a *admission) emit(ctx context.Context, data map[string]any) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic in an event handler: %v", v)
		}
	}()
	emitting := a.ctx
	emitting.Context = ctx
	return a.app.Emit(emitting, eventConnecting, data).Aborted
}

// tryAgain refuses a client, unless it can be asked for of the next
// configuration: a reload refuses nobody.
func (a *admission) tryAgain(cause string) error {
	err := fmt.Errorf("%s: %s", eventConnecting, cause)
	if a.ctx.Err() != nil {
		err = fmt.Errorf("%s: %w", eventConnecting, stomp.ErrSuperseded)
	}
	return &stomp.Error{Message: "not ready, try again later", Reason: stomp.ReasonPolicy, Code: 1013, Err: err}
}
