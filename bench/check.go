//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// check is a short run that fails if something is far worse than its target:
// three times, in every pair, so that it is not the machine. No time matters,
// only what a floor took beside.
func (b *bench) check() error {
	b.pairs, b.duration, b.readers, b.sessions, b.victims = 3, 300*time.Millisecond, 500, 1000, 200
	c, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t}\n")
	if err != nil {
		return err
	}
	defer c.stop()
	plain, err := newVariant(c, "plain", target{path: "/ws"}, b.readers, 1.3, 2)
	if err != nil {
		return err
	}
	defer plain.close()
	size, err := plain.size()
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
	for _, inFlight := range []int{1, 64} {
		if err := b.costs(floor, []*variant{plain}, inFlight); err != nil {
			return err
		}
	}
	if err := b.storm(); err != nil {
		return err
	}
	b.results.print(os.Stdout, "fan-out")
	b.results.print(os.Stdout, "storm")
	return b.results.bounds()
}

// allocations is how many a delivery may take: none, but what a message takes is
// spread over those who get it, and so is filling the pools again that the
// collection before emptied.
const allocations = 0.5

func (rs *results) bounds() error {
	var errs []error
	for _, r := range rs.Rows {
		switch {
		case r.Unit == "/delivery" && r.Value.Min > allocations:
			errs = append(errs, fmt.Errorf("%s: %.2f, not %.2f at most", r.Name, r.Value.Min, allocations))
		case r.Ratio != nil && r.Target > 0 && r.Ratio.Min > 3*r.Target:
			errs = append(errs, fmt.Errorf("%s: %.2f x %s at best, more than three times the target of %.2f", r.Name, r.Ratio.Min, r.To, r.Target))
		}
	}
	return errors.Join(errs...)
}
