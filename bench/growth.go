//go:build linux

package main

import (
	"fmt"
	"slices"
)

// growthSizes are how many readers a message has.
var growthSizes = []int{1000, 2000, 4000, 8000, 16000}

// growthLoads are messages in flight.
var growthLoads = []int{1, 64}

// growth measures whether a delivery costs the same however many get the
// message: some of the same sessions, or all, in turn. Product and floor are
// measured one after the other, as there are not enough file descriptors for
// both.
func (b *bench) growth() error {
	ours, size, err := b.growthOfCaddy()
	if err != nil {
		return err
	}
	its, err := b.growthOfFloor(size)
	if err != nil {
		return err
	}
	least, most := growthSizes[0], growthSizes[len(growthSizes)-1]
	for _, inFlight := range growthLoads {
		for _, readers := range growthSizes {
			l := sizedLoad{inFlight, readers}
			b.results.add(row{
				Mode: "growth", Name: fmt.Sprintf("%d in flight, %d readers", inFlight, readers), Unit: "us CPU/delivery",
				Product: ours[l], Base: its[l], To: "floor", Size: readers,
			})
		}
		r := row{
			Mode: "growth", Name: fmt.Sprintf("%d in flight, one of %d to one of %d", inFlight, most, least), Unit: "x",
			Base: its.grown(inFlight, least, most), Product: ours.grown(inFlight, least, most), To: "floor", Target: 1.1,
		}
		b.results.add(r)
	}
	return nil
}

// sizedLoad is messages in flight, and how many get each of them.
type sizedLoad struct{ inFlight, readers int }

// costs is what a delivery cost, in us, each time that it was measured.
type costs map[sizedLoad][]float64

// grown is how many times as much a delivery costs if most get the message.
func (c costs) grown(inFlight, least, most int) []float64 {
	grown := slices.Clone(c[sizedLoad{inFlight, most}])
	for i, before := range c[sizedLoad{inFlight, least}] {
		grown[i] /= before
	}
	return grown
}

// growthOfCaddy says what deliveries cost, and how large they are on the wire.
func (b *bench) growthOfCaddy() (_ costs, size int, err error) {
	c, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t\tallow send /topic/*\n\t}\n")
	if err != nil {
		return nil, 0, err
	}
	defer c.stop()
	t := target{addr: c.addr, path: "/ws"}
	// a topic for each size, with names as long as that of fan-out
	topic := func(i int) string { return fmt.Sprintf("/topic/all%d", i) }
	readers, err := dialAll(slices.Max(growthSizes), func(n int) (*conn, error) {
		conn, err := t.registered(n)
		for i, size := range growthSizes {
			if err == nil && n < size {
				err = conn.subscribe(fmt.Sprint(i), topic(i))
			}
		}
		return conn, err
	})
	if err != nil {
		return nil, 0, err
	}
	a, err := newAudience("Caddy", c.process, readers)
	if err != nil {
		return nil, 0, err
	}
	defer a.close()
	p, err := t.publisher()
	if err != nil {
		return nil, 0, err
	}
	a.publish = func(messages int) error {
		return p.publish(topic(slices.Index(growthSizes, len(a.readers))), chat, messages)
	}
	if size, err = a.size(); err != nil {
		return nil, 0, err
	}
	costs, err := b.growing(a)
	return costs, size, err
}

// growthOfFloor says what it costs to write messages of that size.
func (b *bench) growthOfFloor(size int) (costs, error) {
	f, err := startFloor()
	if err != nil {
		return nil, err
	}
	defer f.stop()
	a, err := floorAudience(f, size, slices.Max(growthSizes))
	if err != nil {
		return nil, err
	}
	defer a.close()
	publish := a.publish
	a.publish = func(messages int) error {
		if _, err := fmt.Fprintln(f.in, "to", len(a.readers)); err != nil {
			return err
		}
		return publish(messages)
	}
	return b.growing(a)
}

// growing measures the cost of a delivery to some readers of an audience, and
// to all of them.
func (b *bench) growing(a *audience) (costs, error) {
	all := a.readers
	costs := make(costs)
	for n := range b.pairs + 1 { // the first warms up
		for _, inFlight := range growthLoads {
			for _, size := range growthSizes {
				a.restart(all[:size])
				c, err := a.inFlight(inFlight, b.duration/3)
				if err != nil {
					return nil, err
				}
				if n > 0 {
					costs[sizedLoad{inFlight, size}] = append(costs[sizedLoad{inFlight, size}], c.perDelivery())
				}
			}
		}
	}
	return costs, nil
}
