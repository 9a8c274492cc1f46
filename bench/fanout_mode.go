//go:build linux

package main

import (
	"math"
	"time"
)

// fanOut measures what it costs the server that one more gets a message.
func (b *bench) fanOut() error {
	c, err := startCaddy("http", "stomp /ws {"+endpointOptions+"}")
	if err != nil {
		return err
	}
	defer c.stop()
	product, err := productAudience("Caddy", c, target{path: "/ws"}, b.readers)
	if err != nil {
		return err
	}
	defer product.close()
	size, err := product.size()
	if err != nil {
		return err
	}
	f, err := startFloor()
	if err != nil {
		return err
	}
	defer f.stop()
	floor, err := floorAudience(f, size, b.readers)
	if err != nil {
		return err
	}
	defer floor.close()
	for _, load := range []struct {
		name     string
		inFlight int
		target   float64
	}{{"plain, 1 in flight", 1, 1.3}, {"plain, 16 in flight", 16, 0}, {"plain, 64 in flight", 64, 2}} {
		r := row{Mode: "fan-out", Name: load.name, Unit: "us CPU/delivery", To: "floor", Target: load.target}
		allocs := row{Mode: "fan-out", Name: load.name + ", allocations", Unit: "/delivery"}
		for range b.pairs {
			before, err := c.heap(false)
			if err != nil {
				return err
			}
			ours, err := product.inFlight(load.inFlight, b.duration)
			if err != nil {
				return err
			}
			after, err := c.heap(false)
			if err != nil {
				return err
			}
			its, err := floor.inFlight(load.inFlight, b.duration)
			if err != nil {
				return err
			}
			r.Product, r.Base = append(r.Product, ours.perDelivery()), append(r.Base, its.perDelivery())
			allocs.Product = append(allocs.Product, float64(after.Mallocs-before.Mallocs)/float64(ours.deliveries))
		}
		b.results.add(r)
		b.results.add(allocs)
	}
	return nil
}

// size is how large a message is on the wire. It warms up as well.
func (a *audience) size() (int, error) {
	for range 2 {
		if _, err := a.inFlight(64, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	c, err := a.inFlight(1, 100*time.Millisecond)
	if err != nil {
		return 0, err
	}
	return int(math.Round(float64(c.bytes) / float64(c.deliveries))), nil
}
