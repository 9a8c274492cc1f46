//go:build linux

package main

import (
	"fmt"
	"math"
	"time"
)

// reconnect measures what it costs that all connect, subscribe and register,
// compared with WebSockets that gorilla upgrades in Caddy and that say nothing;
// and then, as they are there, what memory an idle session takes.
func (b *bench) reconnect() error {
	cpu := row{Mode: "reconnect", Name: "CONNECT with client data, SUBSCRIBE", Unit: "us CPU/connect", To: "bare upgrade", Target: 1.3}
	rate := row{Mode: "reconnect", Name: "connects per second", Unit: "/s", To: "bare upgrade"}
	rss := row{Mode: "reconnect", Name: "idle, plain: RSS after garbage collection", Unit: "KiB/session", To: "bare upgrade", Target: 10}
	rss.OfValue = true
	asIs := row{Mode: "reconnect", Name: plainMemory, Unit: "KiB/session", To: "bare upgrade"}
	kernel := row{Mode: "reconnect", Name: socketMemory, Unit: "KiB/socket", To: "bare upgrade"}
	goroutines := row{Mode: "reconnect", Name: "idle, plain: goroutines", Unit: "/session", To: "bare upgrade", OfValue: true, Target: 1}
	for range b.pairs {
		ours, err := b.connected("http", "\tstomp /ws {"+endpointOptions+"\t}\n", target{path: "/ws"})
		if err != nil {
			return err
		}
		its, err := b.connected("http", "\tbench_upgrade /ws\n", target{path: "/ws", kind: mute})
		if err != nil {
			return err
		}
		cpu.pair(ours.cpu, its.cpu)
		rate.pair(ours.rate, its.rate)
		rss.pair(ours.rss, its.rss)
		asIs.pair(ours.asIs, its.asIs)
		kernel.pair(ours.kernel, its.kernel)
		goroutines.pair(ours.goroutines, its.goroutines)
	}
	b.results.add(cpu)
	b.results.add(rate)
	b.results.add(rss)
	b.results.add(asIs)
	b.results.add(kernel)
	b.results.add(goroutines)
	return nil
}

// idle measures the memory of idle sessions under TLS 1.3. That of plain ones
// is known from reconnect. It takes no pairs, as it is always the same.
func (b *bench) idle() error {
	ours, err := b.connected("https", "\tstomp /ws {"+endpointOptions+"\t}\n", target{path: "/ws", tls: true})
	if err != nil {
		return err
	}
	b.results.add(row{Mode: "idle", Name: "TLS 1.3: RSS after garbage collection", Unit: "KiB/session", Product: []float64{ours.rss}, Target: 20})
	b.results.add(row{Mode: "idle", Name: tlsMemory, Unit: "KiB/session", Product: []float64{ours.asIs}})
	b.results.add(row{Mode: "idle", Name: "TLS 1.3: goroutines", Unit: "/session", Product: []float64{ours.goroutines}, Target: 1})
	return nil
}

// connected is what connections cost.
type connected struct {
	cpu        float64 // us for each
	rate       float64 // a second
	rss, asIs  float64 // KiB
	kernel     float64 // KiB
	goroutines float64
}

// Names of rows from which the report derives what a machine holds.
const (
	plainMemory  = "idle, plain: RSS as it happens to be"
	tlsMemory    = "TLS 1.3: RSS as it happens to be"
	socketMemory = "idle, plain: memory of the kernel"
)

// connected connects all sessions to a Caddy of their own.
func (b *bench) connected(scheme, directives string, t target) (r connected, err error) {
	c, err := startCaddy(scheme, directives)
	if err != nil {
		return r, err
	}
	defer c.stop()
	t.addr = c.addr
	return b.connectedTo(c, t)
}

// collector is a server that collects garbage when asked.
type collector interface {
	server
	heap(free bool) (heap, error)
}

// connectedTo connects all sessions to a server that nobody else has.
func (b *bench) connectedTo(c collector, t target) (r connected, err error) {
	if err := t.closeAll(b.sessions/10, t.newcomer); err != nil { // warms up
		return r, err
	}
	idle, err := c.heap(true)
	if err != nil {
		return r, err
	}
	empty, err := c.memory("VmRSS")
	if err != nil {
		return r, err
	}
	slab, err := kernelMemory()
	if err != nil {
		return r, err
	}
	before, err := c.cpu()
	if err != nil {
		return r, err
	}
	began := time.Now()
	conns, err := dialAll(b.sessions, t.newcomer)
	if err != nil {
		return r, err
	}
	took := time.Since(began)
	after, err := c.cpu()
	if err != nil {
		return r, err
	}
	slabNow, err := kernelMemory()
	if err != nil {
		return r, err
	}
	n := float64(b.sessions)
	r.kernel = float64(slabNow-slab) / 1024 / n / 2 // the clients' sockets are here too
	r.cpu, r.rate = float64((after-before).Nanoseconds())/1e3/n, n/took.Seconds()

	asIs, err := c.memory("VmRSS")
	if err != nil {
		return r, err
	}
	full, err := c.heap(true)
	if err != nil {
		return r, err
	}
	rss, err := c.memory("VmRSS")
	if err != nil {
		return r, err
	}
	r.asIs, r.rss = float64(asIs-empty)/1024/n, float64(rss-empty)/1024/n
	r.goroutines = math.Round(100*float64(full.Goroutines-idle.Goroutines)/n) / 100 // Caddy has some that come and go
	for _, c := range conns {
		c.socket.reset()
	}
	return r, nil
}

// newcomer dials a client that is registered and subscribed when this returns.
func (t target) newcomer(i int) (*conn, error) {
	if t.kind == mute {
		return t.dial()
	}
	c, err := t.registered(i)
	if err != nil {
		return nil, err
	}
	if err := c.subscribe("s", "/topic/news"); err != nil {
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	return c, nil
}

// closeAll dials, and closes.
func (t target) closeAll(n int, dial func(int) (*conn, error)) error {
	conns, err := dialAll(n, dial)
	if err != nil {
		return err
	}
	for _, c := range conns {
		c.socket.reset()
	}
	return nil
}
