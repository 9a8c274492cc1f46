//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
)

// slowReaders measures what those who read notice of others who do not, until
// they are cut off. Messages are of 16 KiB, 4 in flight: much fits into the kernel's buffers
// before it is the server's turn to do something.
func (b *bench) slowReaders() error {
	readers := b.readers / 5
	stuck := readers / 10
	c, err := startCaddy("http", "\tstomp /ws {"+strings.ReplaceAll(endpointOptions, "pending 4MiB", "pending 256KiB")+"\t}\n")
	if err != nil {
		return err
	}
	defer c.stop()
	product, err := productAudience("Caddy", c, target{path: "/ws"}, readers-stuck, strings.Repeat("x", 16<<10))
	if err != nil {
		return err
	}
	defer product.close()
	name := fmt.Sprintf("%d of %d do not read", stuck, readers)
	cpu := row{Mode: "slow-readers", Name: name, Unit: "us CPU/delivery to the others", To: "all read"}
	p99 := row{Mode: "slow-readers", Name: name + ": latency p99 of the others", Unit: "ms", To: "all read"}
	cut := row{Mode: "slow-readers", Name: name + ": cut off", Unit: "sessions"}
	if _, err := product.inFlight(4, b.duration/4); err != nil {
		return err
	}
	for range b.pairs {
		without, err := product.timedInFlight(4, 2*b.duration)
		if err != nil {
			return err
		}
		t := target{addr: c.addr, path: "/ws", window: 4 << 10}
		asleep, err := dialAll(stuck, t.newcomer)
		if err != nil {
			return err
		}
		with, err := product.timedInFlight(4, 2*b.duration)
		if err != nil {
			return err
		}
		cpu.pair(with.perDelivery(), without.perDelivery())
		p99.pair(ms(percentile(with.latency, 99)), ms(percentile(without.latency, 99)))
		ended, err := product.endOf(asleep, with.deliveries/len(product.readers))
		if err != nil {
			return err
		}
		cut.Product = append(cut.Product, float64(ended))
	}
	peak, err := c.memory("VmHWM")
	if err != nil {
		return err
	}
	b.results.add(cpu)
	b.results.add(p99)
	b.results.add(cut)
	b.results.add(row{Mode: "slow-readers", Name: "memory at most", Unit: "MiB", Product: []float64{float64(peak) / (1 << 20)}})
	return nil
}

// endOf reads what readers have not read, and returns how many of them were cut
// off before so many messages.
func (a *audience) endOf(stuck []*conn, messages int) (cut int, err error) {
	p, err := newPoller()
	if err != nil {
		return 0, err
	}
	defer p.close()
	open := len(stuck)
	for _, c := range stuck {
		c.got = 0
		c.fate = func(*conn, error) { cut++; open-- }
		c.message = func(c *conn, _ []byte) error {
			if c.got == messages {
				open--
			}
			return nil
		}
		if err := p.add(c); err != nil {
			return 0, err
		}
	}
	for began := time.Now(); open > 0; {
		if err := p.poll(time.Second); err != nil {
			return 0, err
		}
		if time.Since(began) > 30*time.Second {
			return 0, fmt.Errorf("%d of those who did not read have neither everything nor been cut off", open)
		}
	}
	return cut, nil
}
