package stomp

import "github.com/caddy-stomp/caddy-stomp/stomp/frame"

// Publish sends a message of the server's own, or on behalf of a session that
// is no longer there: to a topic, a queue or the sessions of a user. It does
// not keep header and body. The error is an *Error that says why there is no
// such destination, or that a queue is full.
func (b *Broker) Publish(destination string, header frame.Header, body []byte) error {
	r, err := b.publishable(destination)
	if err != nil {
		return err
	}
	return b.dispatch(r, newPublication(passedOn(header), body))
}

// Publishable says whether Publish would take a destination.
func (b *Broker) Publishable(destination string) error {
	_, err := b.publishable(destination)
	return err
}

func (b *Broker) publishable(destination string) (route, error) {
	r, err := b.route(&frame.Frame{Command: frame.Send}, destination)
	switch {
	case err != nil:
	case r.mount != nil:
		err = Refuse("%s is the server's own destination", destination)
	case r.kind == kindReplyQueue:
		err = Refuse("%s: nobody can be replied to without a message", destination)
	}
	return r, err
}
