package main

import (
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

type scenario struct{ sessions, victims, rounds int }

// connect connects all clients, some at the same time.
func (s *scenario) connect(addr string) (*load, error) {
	l := newLoad()
	l.clients = make([]*client, s.sessions)
	var all sync.WaitGroup
	errs := make(chan error, s.sessions)
	next := make(chan int)
	for range 64 {
		all.Go(func() {
			for i := range next {
				c, err := l.dial(addr, i)
				if err != nil {
					errs <- err
				}
				l.clients[i] = c
			}
		})
	}
	for i := range s.sessions {
		next <- i
	}
	close(next)
	all.Wait()
	if len(errs) > 0 {
		return nil, <-errs
	}
	return l, nil
}

// settle waits until nothing comes any more; it returns when the last came.
func (l *load) settle() time.Time {
	last, at := l.bytes.Load(), time.Now()
	for time.Since(at) < 2*time.Second {
		time.Sleep(20 * time.Millisecond)
		if n := l.bytes.Load(); n != last {
			last, at = n, time.Now()
		}
	}
	return at
}

func (l *load) subscribe(clients []*client) error {
	for _, c := range clients {
		if err := c.send(frame.Subscribe, frame.Field{Name: "id", Value: "p"}, frame.Field{Name: "destination", Value: "/app/presence"}); err != nil {
			return err
		}
	}
	return nil
}

// newcomers: all sessions are there, and ask for the roster at once.
func (s *scenario) newcomers() error {
	p, err := startCaddy("")
	if err != nil {
		return err
	}
	defer p.stop()
	l, err := s.connect(p.addr)
	if err != nil {
		return err
	}
	l.settle()
	server, err := l.measure(p, func() error { return l.subscribe(l.clients) })
	if err != nil {
		return err
	}
	if err := l.check(l.clients, l.clients); err != nil {
		return err
	}
	return s.report("newcomers", p, l.clients, server)
}

// storm: some sessions vanish at once.
func (s *scenario) storm() error {
	p, err := startCaddy("")
	if err != nil {
		return err
	}
	defer p.stop()
	l, err := s.connect(p.addr)
	if err != nil {
		return err
	}
	victims, survivors := l.clients[:s.victims], l.clients[s.victims:]
	// one after the other, so that this is about what follows
	for i := 0; i < len(survivors); i += 100 {
		if err := l.subscribe(survivors[i:min(i+100, len(survivors))]); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.settle()
	before := make([]int, len(survivors))
	for i, c := range survivors {
		before[i] = len(c.got)
	}
	server, err := l.measure(p, func() error {
		for _, c := range victims {
			_ = c.conn.Close()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.check(survivors, survivors); err != nil {
		return err
	}
	for i, c := range survivors {
		c.sizes = c.sizes[before[i]:]
	}
	return s.report("storm", p, survivors, server)
}

type measured struct {
	cpu, took time.Duration
	bytes     int64
}

// measure is what a process uses from do until nothing comes any more.
func (l *load) measure(p *process, do func() error) (m measured, err error) {
	before, err := p.cpu()
	if err != nil {
		return m, err
	}
	began, bytes := time.Now(), l.bytes.Load()
	if err := do(); err != nil {
		return m, err
	}
	m.took = l.settle().Sub(began)
	after, err := p.cpu()
	m.cpu, m.bytes = after-before, l.bytes.Load()-bytes
	return m, err
}

// check compares what clients think of who is there with who is.
func (l *load) check(clients, here []*client) error {
	truth := make(map[string]bool)
	for _, c := range here {
		truth[c.id] = true
	}
	known := make(map[string]picture)
	resets := 0
	for _, c := range clients {
		if text := c.failed.Load(); text != nil {
			return fmt.Errorf("%s was refused: %.200s", c.id, *text)
		}
		if c.lost.Load() {
			return fmt.Errorf("%s was cut off", c.id)
		}
		key := fmt.Sprint(c.got)
		p, ok := known[key]
		if !ok {
			p = l.fold(c.got)
			known[key] = p
		}
		switch {
		case p.err != "":
			return fmt.Errorf("%s: %s", c.id, p.err)
		case p.reset:
			resets++
			continue // it knows that it does not know
		case len(p.here) != len(truth):
			return fmt.Errorf("%s thinks that %d are there; there are %d", c.id, len(p.here), len(truth))
		}
		for id := range p.here {
			if !truth[id] {
				return fmt.Errorf("%s thinks that %s is there", c.id, id)
			}
		}
	}
	fmt.Printf("%d pictures are right, by %d ways; %d were told to ask again\n", len(clients)-resets, len(known), resets)
	return nil
}

// report compares with the floor: the same messages to as many sockets.
func (s *scenario) report(name string, p *process, clients []*client, server measured) error {
	fmt.Printf("%s: %d sessions got %d MB in %v; caddy used %v of CPU, %d MB of memory at most\n", name, len(clients),
		server.bytes>>20, server.took.Round(time.Millisecond), server.cpu, p.rss()>>20)
	middle := clients[len(clients)/2].sizes
	for _, c := range clients { // their descriptors are needed
		_ = c.conn.Close()
	}
	var line strings.Builder
	for _, size := range middle {
		line.WriteString(strconv.Itoa(size) + " ")
	}
	floor, err := startFloor()
	if err != nil {
		return err
	}
	defer floor.stop()
	l := newLoad()
	for range clients {
		conn, err := net.Dial("tcp", floor.addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				l.bytes.Add(int64(n))
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
	var ratios []float64
	for range s.rounds {
		m, err := l.measure(floor, func() error {
			_, err := fmt.Fprintln(floor.stdin, line.String())
			return err
		})
		if err != nil {
			return err
		}
		ratio := float64(server.cpu) / float64(server.bytes) / (float64(m.cpu) / float64(m.bytes))
		ratios = append(ratios, ratio)
		fmt.Printf("floor: %d messages a socket, %d MB in %v with %v of CPU; ratio by byte %.2f\n",
			len(middle), m.bytes>>20, m.took.Round(time.Millisecond), m.cpu, ratio)
	}
	sort.Float64s(ratios)
	fmt.Printf("%s: CPU %.2f x the floor (median of %d)\n", name, ratios[len(ratios)/2], len(ratios))
	return nil
}
