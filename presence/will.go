package presence

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// The headers of CONNECT with which a client leaves a message for the case that
// it goes away other than by its own will.
const (
	willDestinationHeader = "will-destination"
	willBodyHeader        = "will-body"
	willContentTypeHeader = "will-content-type"
	willDelayHeader       = "will-delay"
)

// Will is a message that is sent when its session has ended other than
// cleanly: when it is left, or earlier, if it has a delay and that is over
// while the session is unreachable. A session that returns takes it back.
type Will struct {
	Destination string `json:"destination"`
	Body        string `json:"body,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	// Delay counts from the loss of the connection; negative for none.
	Delay time.Duration `json:"delay"`

	sender *stomp.Session // nil after a restart
	of     *View          // whose it is, after a restart
}

// willOf reads the will of a CONNECT frame, nil if there is none. It is for a
// destination that the client could SEND to itself.
func willOf(connect *frame.Frame, s *stomp.Session) (*Will, error) {
	destination, ok := connect.Header.Lookup(willDestinationHeader)
	if !ok {
		return nil, nil
	}
	if err := s.MaySend(destination); err != nil {
		return nil, stomp.Refuse("%s: %v", willDestinationHeader, err)
	}
	w := &Will{
		Destination: strings.Clone(destination),
		Body:        strings.Clone(connect.Header.Get(willBodyHeader)),
		ContentType: strings.Clone(connect.Header.Get(willContentTypeHeader)),
		Delay:       -1,
		sender:      s,
	}
	if delay, ok := connect.Header.Lookup(willDelayHeader); ok {
		seconds, err := strconv.ParseFloat(delay, 64)
		if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxWillDelay.Seconds() {
			return nil, stomp.Malformed("%s: expected seconds, at most %.0f, not %.32q", willDelayHeader, maxWillDelay.Seconds(), delay)
		}
		w.Delay = time.Duration(seconds * float64(time.Second))
	}
	return w, nil
}

// maxWillDelay is more than any grace that makes sense.
const maxWillDelay = 24 * time.Hour

// carryOut has a will sent, one at a time, however many there are.
func (r *Registry) carryOut(w *Will) {
	b := r.broker
	r.wills.do(func() { w.carryOut(b) })
}

// carryOut sends the will. No lock may be held.
func (w *Will) carryOut(b *stomp.Broker) {
	var h frame.Header
	if w.ContentType != "" {
		h = frame.Header{{Name: frame.HdrContentType, Value: w.ContentType}}
	}
	var err error
	switch { // its permissions may have changed
	case w.sender != nil:
		err = w.sender.MaySend(w.Destination)
	case w.of != nil:
		err = w.of.maySend(b, w.Destination)
	}
	if err == nil {
		err = b.Publish(w.Destination, h, []byte(w.Body))
	}
	if err != nil {
		b.Logger().Warn("a will could not be carried out", "destination", w.Destination, "error", err)
	}
}

// after is the will after a restart, whose sender is known by a view alone. Nil
// stays nil.
func (w *Will) after(of *View) *Will {
	if w != nil {
		w.of = of
	}
	return w
}

// maySend asks the rules of the endpoint that a session of the process before
// was at. Where that is gone, nobody can say what the session may do.
func (v *View) maySend(b *stomp.Broker, destination string) error {
	for _, e := range b.Endpoints() {
		if e.Name() == v.Endpoint {
			return e.MaySend(&stomp.Handshake{User: v.User, Attributes: v.Attributes}, v.SessionID, destination)
		}
	}
	return stomp.Refuse("the endpoint %q is gone", v.Endpoint)
}
