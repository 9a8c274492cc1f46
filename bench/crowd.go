//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// crowd is sessions of a Caddy that have client data, and are told of each other.
type crowd struct {
	caddy    *caddy
	target   target
	poller   *poller
	pictures *pictures
	sessions []*conn
	watchers []*watcher
}

// newCrowd connects sessions and registers them.
func newCrowd(sessions int) (*crowd, error) {
	c, err := startCaddy("http", "stomp /ws {"+endpointOptions+"}")
	if err != nil {
		return nil, err
	}
	p, err := newPoller()
	if err != nil {
		c.stop()
		return nil, err
	}
	cr := &crowd{caddy: c, target: target{addr: c.addr, path: "/ws"}, poller: p, pictures: newPictures()}
	if cr.sessions, err = dialAll(sessions, cr.target.registered); err != nil {
		cr.close()
		return nil, err
	}
	return cr, nil
}

func (cr *crowd) close() {
	cr.poller.close()
	cr.caddy.stop()
}

// watch lets sessions subscribe. It does not wait.
func (cr *crowd) watch(sessions []*conn, destination string) error {
	for _, c := range sessions {
		cr.watchers = append(cr.watchers, cr.pictures.watch(c))
		if err := cr.poller.add(c); err != nil {
			return err
		}
	}
	return cr.send(sessions, frame.Subscribe, frame.Field{Name: "destination", Value: destination})
}

// follow lets sessions subscribe to what changes, and waits until they have.
func (cr *crowd) follow(sessions []*conn) error {
	if _, err := dialAll(len(sessions), func(i int) (*conn, error) {
		return sessions[i], sessions[i].subscribe("s", "/topic/presence")
	}); err != nil {
		return err
	}
	for _, c := range sessions {
		cr.watchers = append(cr.watchers, cr.pictures.watch(c))
		if err := cr.poller.add(c); err != nil {
			return err
		}
	}
	return nil
}

func (cr *crowd) send(sessions []*conn, command string, header ...frame.Field) error {
	f := frame.Frame{Command: command, Header: append(header, frame.Field{Name: "id", Value: "p"})}
	for _, c := range sessions {
		if err := c.send(frame.V12, &f); err != nil {
			return err
		}
	}
	return nil
}

// told waits until everybody has been told of so many, or that it has to ask
// again.
func (cr *crowd) told(sessions int) error {
	waiting := cr.watchers
	for quiet := time.Now(); ; {
		for len(waiting) > 0 && (waiting[0].told >= sessions || waiting[0].reset) {
			waiting = waiting[1:]
		}
		if len(waiting) == 0 {
			return nil
		}
		bytes := cr.poller.bytes
		if err := cr.poller.poll(time.Second); err != nil {
			return err
		}
		if cr.poller.bytes > bytes {
			quiet = time.Now()
		} else if time.Since(quiet) > 20*time.Second {
			return fmt.Errorf("%s was told of %d, not of %d", waiting[0].id, waiting[0].told, sessions)
		}
	}
}

// measure returns what do cost the server until everybody has been told.
func (cr *crowd) measure(sessions int, do func() error) (c cost, err error) {
	for _, w := range cr.watchers {
		w.forget()
	}
	before, err := cr.caddy.cpu()
	if err != nil {
		return c, err
	}
	began, bytes := time.Now(), cr.poller.bytes
	if err := do(); err != nil {
		return c, err
	}
	if err := cr.told(sessions); err != nil {
		return c, err
	}
	c.took, c.bytes = time.Since(began), cr.poller.bytes-bytes
	after, err := cr.caddy.cpu()
	c.cpu = after - before
	return c, err
}

// order is what a floor is told, so that it writes the same.
func (cr *crowd) order() string {
	sizes := cr.watchers[len(cr.watchers)/2].sizes
	return strings.Trim(fmt.Sprintln(sizes), "[]\n")
}

// mirror is a floor with as many connections as a crowd has watchers.
type mirror struct {
	*floor
	poller *poller
	conns  int
}

func newMirror(connections int) (*mirror, error) {
	f, err := startFloor()
	if err != nil {
		return nil, err
	}
	p, err := newPoller()
	if err != nil {
		f.stop()
		return nil, err
	}
	m := &mirror{f, p, connections}
	conns, err := f.connect(connections)
	for _, c := range conns {
		if err == nil {
			err = p.add(c)
		}
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *mirror) close() {
	m.poller.close()
	m.stop()
}

// write lets the floor write messages of these sizes to each.
func (m *mirror) write(order string) (c cost, err error) {
	total := 0
	for text := range strings.FieldsSeq(order) {
		var size int
		if _, err := fmt.Sscan(text, &size); err != nil {
			return c, err
		}
		total += size
	}
	before, err := m.cpu()
	if err != nil {
		return c, err
	}
	began, bytes := time.Now(), m.poller.bytes
	if _, err := fmt.Fprintln(m.in, order); err != nil {
		return c, err
	}
	for c.bytes < int64(total*m.conns) {
		if err := m.poller.poll(time.Second); err != nil {
			return c, err
		}
		c.bytes = m.poller.bytes - bytes
	}
	c.took = time.Since(began)
	after, err := m.cpu()
	c.cpu = after - before
	return c, err
}
