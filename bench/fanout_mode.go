//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// fanOut measures what it costs the server that one more gets a message, and how
// long that takes.
func (b *bench) fanOut() error {
	clear, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t}\n"+
		"\tstomp /deflate {"+endpointOptions+"\t\tcompression\n\t}\n"+
		"\tstomp /sockjs {"+endpointOptions+"\t\tsockjs\n\t}\n"+
		// in turns: whose response has ended asks for the next when it is his again
		"\tstomp /xhr {"+endpointOptions+"\t\tsockjs {\n\t\t\tdisconnect_delay 1m\n\t\t}\n\t}\n")
	if err != nil {
		return err
	}
	defer clear.stop()
	secure, err := startCaddy("https", "\tstomp /ws {"+endpointOptions+"\t}\n")
	if err != nil {
		return err
	}
	defer secure.stop()
	wrapped, err := startCaddy("https", "\tstomp /ws {"+endpointOptions+"\t}\n", listenerWrapper)
	if err != nil {
		return err
	}
	defer wrapped.stop()
	plain, err := newVariant(clear, "plain", target{path: "/ws"}, b.readers, 1.3, 2)
	if err != nil {
		return err
	}
	tls, err := newVariant(secure, "TLS 1.3", target{path: "/ws", tls: true}, b.readers, 1.6, 2.7)
	if err != nil {
		return err
	}
	below, err := newVariant(wrapped, "TLS 1.3, listener wrapper", target{path: "/ws", tls: true}, b.readers, 1.6, 2.7)
	if err != nil {
		return err
	}
	deflate, err := newVariant(clear, "permessage-deflate", target{path: "/deflate", compression: true}, b.readers, 1.3, 1.3)
	if err != nil {
		return err
	}
	sockjs, err := newVariant(clear, "SockJS websocket", target{path: "/sockjs", kind: sockJS}, b.readers, 0, 0)
	if err != nil {
		return err
	}
	xhr, err := newVariant(clear, "SockJS xhr_streaming", target{path: "/xhr", kind: streaming}, b.readers, 0, 0)
	if err != nil {
		return err
	}
	size, err := plain.size()
	if err != nil {
		return err
	}
	for _, v := range []*variant{tls, below, deflate, sockjs, xhr} {
		if _, err := v.size(); err != nil {
			return err
		}
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
	all := []*variant{plain, tls, below, deflate, sockjs, xhr}
	for _, inFlight := range []int{1, 64} {
		if err := b.costs(floor, all, inFlight); err != nil {
			return err
		}
	}
	if err := b.latencies(floor, plain.audience); err != nil {
		return err
	}
	floor.close()
	for _, v := range all {
		v.close()
	}
	return nil
}

// variant is a way to get messages from Caddy.
type variant struct {
	*audience
	caddy   *caddy
	targets map[int]float64 // by messages in flight
}

func newVariant(c *caddy, name string, t target, readers int, one, many float64) (*variant, error) {
	a, err := productAudience(name, c, t, readers, chat)
	return &variant{a, c, map[int]float64{1: one, 64: many}}, err
}

// costs measures CPU time per delivery: of all, in turn with the floor.
func (b *bench) costs(floor *audience, all []*variant, inFlight int) error {
	costs, allocs := make([]row, len(all)), make([]row, len(all))
	its := make([]float64, b.pairs)
	for pair := range b.pairs {
		// in another order each time: what one leaves behind, in caches and as
		// threads that look for work, is the next one's
		for _, i := range rand.Perm(len(all) + 1) { //nolint:gosec // no secret
			if i == len(all) {
				c, err := floor.inFlight(inFlight, b.duration)
				if err != nil {
					return err
				}
				its[pair] = c.perDelivery()
				continue
			}
			v := all[i]
			before, err := v.caddy.heap(false)
			if err != nil {
				return err
			}
			ours, err := v.inFlight(inFlight, b.duration)
			if err != nil {
				return err
			}
			after, err := v.caddy.heap(false)
			if err != nil {
				return err
			}
			costs[i].Product = append(costs[i].Product, ours.perDelivery())
			allocs[i].Product = append(allocs[i].Product, float64(after.Mallocs-before.Mallocs)/float64(ours.deliveries))
		}
	}
	for i, v := range all {
		r := row{
			Mode: "fan-out", Name: fmt.Sprintf("%s, %d in flight", v.name, inFlight), Unit: "us CPU/delivery",
			Product: costs[i].Product, Base: its, To: "floor", Target: v.targets[inFlight],
		}
		if v.name == "permessage-deflate" {
			r.Base, r.To = costs[0].Product, all[0].name
		}
		b.results.add(r)
		a := row{
			Mode: "fan-out", Name: fmt.Sprintf("%s, %d in flight: allocations", v.name, inFlight), Unit: "/delivery",
			Product: allocs[i].Product,
		}
		b.results.add(a)
	}
	return nil
}

// latencies measures how long a delivery takes at half of the load that the
// product bears one message at a time; of the floor at the same.
func (b *bench) latencies(floor, product *audience) error {
	c, err := product.inFlight(1, b.duration)
	if err != nil {
		return err
	}
	interval := 2 * c.took / time.Duration(c.deliveries/len(product.readers))
	middle := row{Mode: "fan-out", Name: "plain, half load: latency p50", Unit: "ms", To: "floor"}
	high := row{Mode: "fan-out", Name: "plain, half load: latency p99", Unit: "ms", To: "floor", Target: 1.5}
	for range b.pairs {
		its, err := floor.steady(interval, 2*b.duration)
		if err != nil {
			return err
		}
		ours, err := product.steady(interval, 2*b.duration)
		if err != nil {
			return err
		}
		middle.Product = append(middle.Product, ms(percentile(ours.latency, 50)))
		middle.Base = append(middle.Base, ms(percentile(its.latency, 50)))
		high.Product = append(high.Product, ms(percentile(ours.latency, 99)))
		high.Base = append(high.Base, ms(percentile(its.latency, 99)))
	}
	b.results.add(middle)
	b.results.add(high)
	return nil
}
