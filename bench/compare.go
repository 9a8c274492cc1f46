//go:build linux

package main

import (
	"fmt"
)

// compare measures fan-out, connecting and being there in turn with a peer that
// Debian has a package of: RabbitMQ with its Web-STOMP plugin.
func (b *bench) compare() error {
	if err := b.compareFanOut(); err != nil {
		return err
	}
	return b.compareConnects()
}

// compareFanOut measures what a delivery costs, all processes of a server
// together.
func (b *bench) compareFanOut() error {
	c, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t}\n")
	if err != nil {
		return err
	}
	defer c.stop()
	product, err := productAudience("Caddy", c, target{path: "/ws"}, b.readers, chat)
	if err != nil {
		return err
	}
	defer product.close()
	r, err := startRabbitMQ()
	if err != nil {
		return err
	}
	defer r.stop()
	peer, err := subscribers(r.name, r, r.target(), b.readers, chat)
	if err != nil {
		return err
	}
	defer peer.close()
	size := row{Mode: "compare", Name: "a message of 128 bytes, on the WebSocket", Unit: "bytes", To: r.name}
	ours, err := product.size()
	if err != nil {
		return err
	}
	its, err := peer.size()
	if err != nil {
		return err
	}
	size.pair(float64(ours), float64(its))
	for _, inFlight := range []int{1, 16, 64} {
		cpu := row{Mode: "compare", Name: fmt.Sprintf("fan-out, %d in flight", inFlight), Unit: "us CPU/delivery", To: r.name}
		for range b.pairs {
			ours, err := product.inFlight(inFlight, b.duration)
			if err != nil {
				return err
			}
			its, err := peer.inFlight(inFlight, b.duration)
			if err != nil {
				return err
			}
			cpu.pair(ours.perDelivery(), its.perDelivery())
		}
		b.results.add(cpu)
	}
	b.results.add(size)
	return nil
}

// compareConnects measures what it costs that all connect and subscribe, and
// what memory they take then, with new servers for each pair.
func (b *bench) compareConnects() error {
	cpu := row{Mode: "compare", Name: "CONNECT with client data, SUBSCRIBE", Unit: "us CPU/connect"}
	rate := row{Mode: "compare", Name: "connects per second", Unit: "/s"}
	rss := row{Mode: "compare", Name: "idle: RSS after garbage collection", Unit: "KiB/session"}
	asIs := row{Mode: "compare", Name: "idle: RSS as it happens to be", Unit: "KiB/session"}
	rows := []*row{&cpu, &rate, &rss, &asIs}
	for range b.pairs {
		ours, err := b.connected("http", "\tstomp /ws {"+endpointOptions+"\t}\n", target{path: "/ws"})
		if err != nil {
			return err
		}
		its, name, err := b.connectedToRabbitMQ()
		if err != nil {
			return err
		}
		for _, r := range rows {
			r.To = name
		}
		cpu.pair(ours.cpu, its.cpu)
		rate.pair(ours.rate, its.rate)
		rss.pair(ours.rss, its.rss)
		asIs.pair(ours.asIs, its.asIs)
	}
	for _, r := range rows {
		b.results.add(*r)
	}
	return nil
}

// connectedToRabbitMQ connects all sessions to a RabbitMQ of their own.
func (b *bench) connectedToRabbitMQ() (connected, string, error) {
	r, err := startRabbitMQ()
	if err != nil {
		return connected{}, "", err
	}
	defer r.stop()
	its, err := b.connectedTo(r, r.target())
	return its, r.name, err
}
