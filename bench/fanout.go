//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// audience is subscribers of one server, and who publishes to them.
type audience struct {
	name    string
	server  server
	poller  *poller
	readers []*conn
	publish func(messages int) error

	// of a measurement
	sent    int         // messages
	told    int         // of them, that all readers have
	open    []int       // readers that do not have message told+i yet
	sentAt  []time.Time // of message told+i
	latency []time.Duration
	timed   bool
	verify  string // what is in each message, if somebody is to look
}

// newAudience has these readers.
func newAudience(name string, s server, readers []*conn) (*audience, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	a := &audience{name: name, server: s, poller: poll, readers: readers}
	for _, c := range readers {
		c.message = a.received
		if err := a.poller.add(c); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// restart has other readers get the messages, and counts anew.
func (a *audience) restart(readers []*conn) {
	a.readers, a.sent, a.told = readers, 0, 0
	for _, c := range readers {
		c.got = 0
	}
}

// productAudience are subscribers of Caddy.
func productAudience(name string, c *caddy, t target, n int, body string) (*audience, error) {
	t.addr = c.addr
	return subscribers(name, c.process, t, n, body)
}

// subscribers have /topic/news of a server, and gave 200 bytes of client data.
// They get that body.
func subscribers(name string, s server, t target, n int, body string) (*audience, error) {
	const destination = "/topic/news"
	readers, err := dialAll(n, func(i int) (*conn, error) {
		conn, err := t.registered(i)
		if err != nil {
			return nil, err
		}
		return conn, conn.subscribe("s", destination)
	})
	if err != nil {
		return nil, err
	}
	a, err := newAudience(name, s, readers)
	if err != nil {
		return nil, err
	}
	p, err := t.publisher()
	if err != nil {
		return nil, err
	}
	a.publish = func(messages int) error { return p.publish(destination, body, messages) }
	return a, nil
}

// publisher sends.
type publisher struct {
	conn *conn
	many []byte // what was sent last
}

// publisher connects one that is not registered, and gets nothing.
func (t target) publisher() (*publisher, error) {
	c, err := target{addr: t.addr, path: t.path, tls: t.tls, host: t.host, login: t.login}.dial()
	return &publisher{conn: c}, err
}

// publish sends messages at once, in as many WebSocket messages.
func (p *publisher) publish(destination, body string, messages int) error {
	send := frame.Append(nil, frame.V12, &frame.Frame{
		Command: frame.Send,
		Header:  frame.Header{{Name: "destination", Value: destination}, {Name: "content-type", Value: "text/plain"}},
		Body:    []byte(body),
	})
	p.many = p.many[:0]
	for range messages {
		p.many = appendMessage(p.many, opText, send)
	}
	_, err := p.conn.stream.Write(p.many)
	return err
}

// chat is what is published: 128 bytes.
var chat = (`{"from":"mina","text":"` + strings.Repeat("the quick brown fox jumps over the lazy dog ", 3))[:126] + `"}`

// floorAudience gets messages of that size from a floor.
func floorAudience(f *floor, size, n int) (*audience, error) {
	readers, err := f.connect(n)
	if err != nil {
		return nil, err
	}
	a, err := newAudience("floor", f.process, readers)
	if err != nil {
		return nil, err
	}
	one := fmt.Sprintln(size)
	a.publish = func(messages int) error {
		_, err := f.in.Write([]byte(strings.Repeat(one, messages)))
		return err
	}
	return a, nil
}

func (a *audience) close() { a.poller.close() }

// received is called with each message: the i-th that a reader gets is the i-th
// that was sent.
func (a *audience) received(c *conn, payload []byte) error {
	if a.verify != "" {
		text, err := c.text(payload)
		if err != nil || !bytes.HasPrefix(text, []byte("MESSAGE\n")) || !bytes.Contains(text, []byte(a.verify)) {
			return fmt.Errorf("not what was published: %q, %w", text, err)
		}
	}
	i := c.got - 1 - a.told
	if a.timed {
		a.latency = append(a.latency, time.Since(a.sentAt[i]))
	}
	a.open[i]--
	return nil
}

func (a *audience) send(messages int, at time.Time) error {
	for range messages {
		a.open = append(a.open, len(a.readers))
		a.sentAt = append(a.sentAt, at)
	}
	a.sent += messages
	return a.publish(messages)
}

// settle takes note of the messages that all have got.
func (a *audience) settle() (messages int) {
	for messages < len(a.open) && a.open[messages] == 0 {
		messages++
	}
	a.open, a.sentAt = a.open[messages:], a.sentAt[messages:]
	a.told += messages
	return messages
}

// cost is what a measurement of an audience found.
type cost struct {
	deliveries int
	cpu        time.Duration // of the server
	took       time.Duration
	bytes      int64
	latency    []time.Duration // of each delivery, if they were timed
}

func (c cost) perDelivery() float64 {
	return float64(c.cpu.Nanoseconds()) / 1e3 / float64(c.deliveries)
}

// measure calls load, and waits until everybody has everything.
func (a *audience) measure(load func() error) (c cost, err error) {
	before, err := a.server.cpu()
	if err != nil {
		return c, err
	}
	a.latency = nil
	sent, bytes, began := a.sent, a.poller.bytes, time.Now()
	if err := load(); err != nil {
		return c, fmt.Errorf("%s: %w", a.name, err)
	}
	for len(a.open) > 0 {
		if err := a.poll(time.Second); err != nil {
			return c, err
		}
	}
	c.took = time.Since(began)
	after, err := a.server.cpu()
	c.cpu, c.deliveries, c.bytes, c.latency = after-before, (a.sent-sent)*len(a.readers), a.poller.bytes-bytes, a.latency
	return c, err
}

func (a *audience) poll(most time.Duration) error {
	if err := a.poller.poll(most); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	a.settle()
	return nil
}

// inFlight keeps so many messages under way for that long: whenever everybody
// has one, the next is sent.
func (a *audience) inFlight(messages int, d time.Duration) (cost, error) {
	return a.measure(func() error {
		for began := time.Now(); time.Since(began) < d; {
			if n := messages - len(a.open); n > 0 {
				if err := a.send(n, time.Now()); err != nil {
					return err
				}
			}
			if err := a.poll(time.Second); err != nil {
				return err
			}
		}
		return nil
	})
}

// timedInFlight is inFlight, with the latency of each delivery.
func (a *audience) timedInFlight(messages int, d time.Duration) (cost, error) {
	a.timed = true
	defer func() { a.timed = false }()
	return a.inFlight(messages, d)
}

// steady sends a message every interval, however slowly they are delivered. The
// latency counts from when a message was due.
func (a *audience) steady(interval, d time.Duration) (cost, error) {
	a.timed = true
	defer func() { a.timed = false }()
	return a.measure(func() error {
		began := time.Now()
		for next := began; next.Sub(began) < d; {
			for now := time.Now(); !next.After(now); next = next.Add(interval) {
				if err := a.send(1, next); err != nil {
					return err
				}
			}
			if err := a.poll(time.Until(next)); err != nil {
				return err
			}
		}
		return nil
	})
}

// size is how large a message is on the wire. It warms up, and looks into each.
func (a *audience) size() (int, error) {
	a.verify = chat
	for range 2 {
		if _, err := a.inFlight(64, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	c, err := a.inFlight(1, 100*time.Millisecond)
	a.verify = ""
	return int(math.Round(float64(c.bytes) / float64(c.deliveries))), err
}
