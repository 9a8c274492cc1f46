//go:build linux

package main

import (
	"fmt"
	"time"
)

// growth measures whether a delivery costs the same however many get the
// message. Product and floor are not measured in turn here but one after the
// other, as there are not enough file descriptors for both.
func (b *bench) growth() error {
	sizes := []int{1000, 2000, 4000, 8000, 16000}
	ours, err := b.growing(sizes, func() (*audience, func(), error) {
		c, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t}\n")
		if err != nil {
			return nil, nil, err
		}
		a, err := productAudience("Caddy", c, target{path: "/ws"}, sizes[0], chat)
		return a, c.stop, err
	})
	if err != nil {
		return err
	}
	its, err := b.growing(sizes, func() (*audience, func(), error) {
		f, err := startFloor()
		if err != nil {
			return nil, nil, err
		}
		a, err := floorAudience(f, 237, sizes[0])
		return a, f.stop, err
	})
	if err != nil {
		return err
	}
	for i, load := range growthLoads {
		for j, size := range sizes {
			r := row{Mode: "growth", Name: fmt.Sprintf("%d in flight, %d readers", load, size), Unit: "us CPU/delivery", To: "floor", Size: size}
			r.Product, r.Base = ours[i][j], its[i][j]
			b.results.add(r)
		}
	}
	return nil
}

// growthLoads are messages in flight.
var growthLoads = []int{1, 64}

// growing measures the cost of a delivery, by load and size.
func (b *bench) growing(sizes []int, start func() (*audience, func(), error)) ([][][]float64, error) {
	a, stop, err := start()
	if err != nil {
		return nil, err
	}
	defer stop()
	defer a.close()
	costs := [][][]float64{make([][]float64, len(sizes)), make([][]float64, len(sizes))}
	for j, size := range sizes {
		if err := a.grow(size); err != nil {
			return nil, err
		}
		if _, err := a.inFlight(16, 100*time.Millisecond); err != nil {
			return nil, err
		}
		for range b.pairs {
			for i, load := range growthLoads {
				c, err := a.inFlight(load, b.duration/2)
				if err != nil {
					return nil, err
				}
				costs[i][j] = append(costs[i][j], c.perDelivery())
			}
		}
	}
	return costs, nil
}
