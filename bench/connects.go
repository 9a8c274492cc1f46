//go:build linux

package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// morePairs is how many times as many pairs are measured before a median that
// is too low is believed: a neighbour may have had the machine.
const morePairs = 3

// connects measures how many sessions a second connect and are told of, with a
// store and without. It is an error if a store leaves less than b.least, as the
// median of the pairs.
func (b *bench) connects() error {
	if _, err := b.connectsPerSecond(""); err != nil { // warms up
		return err
	}
	r := row{Mode: "connects", Name: "with a store", Unit: "/s", To: "without"}
	for n := 1; ; n++ {
		without, err := b.connectsPerSecond("")
		if err != nil {
			return err
		}
		with, err := b.connectsPerSecond("\t\tstore file\n")
		if err != nil {
			return err
		}
		r.Product, r.Base = append(r.Product, with), append(r.Base, without)
		switch median := b.results.add(r).Ratio.Median; {
		case n < b.pairs:
		case median >= b.least:
			return nil
		case n >= morePairs*b.pairs:
			return fmt.Errorf("a store leaves %.2f of the connects per second as the median of %d pairs, less than %.2f", median, n, b.least)
		}
	}
}

func (b *bench) connectsPerSecond(store string) (float64, error) {
	c, err := startCaddy("http", "stomp /ws {"+endpointOptions+store+"}")
	if err != nil {
		return 0, err
	}
	defer c.stop()
	t := target{addr: c.addr, path: "/ws"}
	began := time.Now()
	conns, err := dialAll(b.sessions, t.registered)
	if err != nil {
		return 0, err
	}
	if err := t.waitFor(b.sessions); err != nil {
		return 0, err
	}
	took := time.Since(began)
	for _, c := range conns {
		c.socket.reset()
	}
	return float64(b.sessions) / took.Seconds(), nil
}

// registered dials a client that is registered when this returns.
func (t target) registered(i int) (*conn, error) {
	return t.dial(frame.Field{Name: "client-data", Value: clientData(i)})
}

// waitFor returns when somebody who asks who is there has been told of so many,
// by the roster and the changes after it.
func (t target) waitFor(sessions int) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer c.socket.reset()
	if err := c.send(frame.V12, &frame.Frame{Command: frame.Subscribe, Header: frame.Header{
		{Name: "id", Value: "p"}, {Name: "destination", Value: "/app/presence"},
	}}); err != nil {
		return err
	}
	told := 0
	return c.await(func(text []byte) (bool, error) {
		told += bytes.Count(text, []byte(`{"sessionId":`)) + bytes.Count(text, []byte(`"type":"joined"`))
		return told >= sessions, nil
	})
}
