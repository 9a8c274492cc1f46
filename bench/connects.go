package main

import (
	"fmt"
	"slices"
	"time"
)

// connects: how many sessions a second connect and are told of, with a store
// and without, in turn. It is an error if a store leaves less than that share.
func (s *scenario) connects(ratio float64) error {
	ratios := make([]float64, s.rounds)
	if _, err := s.connectsPerSecond(""); err != nil { // warms up
		return err
	}
	for i := range ratios {
		without, err := s.connectsPerSecond("")
		if err != nil {
			return err
		}
		with, err := s.connectsPerSecond("store file")
		if err != nil {
			return err
		}
		ratios[i] = with / without
		fmt.Printf("connects: %d sessions, %.0f/s without a store, %.0f/s with one: %.2f\n", s.sessions, without, with, ratios[i])
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	fmt.Printf("connects: median of %d pairs %.2f\n", s.rounds, median)
	if median < ratio {
		return fmt.Errorf("a store leaves %.2f of the connects per second, less than %.2f", median, ratio)
	}
	return nil
}

func (s *scenario) connectsPerSecond(broker string) (float64, error) {
	p, err := startCaddy(broker)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	began := time.Now()
	l, err := s.connect(p.addr)
	if err != nil {
		return 0, err
	}
	if err := l.waitFor(p.addr, s.sessions); err != nil {
		return 0, err
	}
	took := time.Since(began)
	for _, c := range l.clients {
		_ = c.conn.Close()
	}
	return float64(s.sessions) / took.Seconds(), nil
}
