package presence

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// heapDelta is how many bytes more are live after do; what do returns is.
func heapDelta(do func() any) int64 {
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what was in pools
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	kept := do()
	after := live()
	runtime.KeepAlive(kept)
	return after - before
}

// audience connects n sessions that are known, subscribe to the announcements
// and keep nothing of them.
func (s *server) audience(b *testing.B, n int) []*client {
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = s.connectAs(b, stomp.Handshake{}, stomp.ClientDataHeader, `{"name":"somebody"}`)
		clients[i].forget()
	}
	for _, c := range clients {
		c.subscribe(announceAt, "p")
	}
	s.quiet()
	return clients
}

// quiet waits until nothing is left to announce.
func (s *server) quiet() {
	for {
		all := s.all()
		s.registry.mu.Lock()
		running := all.running
		s.registry.mu.Unlock()
		if !running {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *server) written() (n int) {
	for _, c := range s.clients {
		c.mu.Lock()
		n += c.writes
		c.mu.Unlock()
	}
	return n
}

func benchServer(b *testing.B) *server {
	s := newServer(b, registryItself)
	s.registry.SetListener(nil)
	b.Cleanup(func() {
		for _, c := range s.clients {
			c.hangUp(1006)
		}
	})
	return s
}

// A SEND to the register destination, with so many who are told of it.
func BenchmarkRegister(b *testing.B) {
	for _, readers := range []int{0, 10, 10_000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			s := benchServer(b)
			s.audience(b, readers)
			c := s.connectAs(b, stomp.Handshake{})
			c.forget()
			b.ReportAllocs()
			for b.Loop() {
				c.register(`{"clientData":{"name":"Mina","typing":true}}`)
			}
			b.StopTimer()
			s.quiet()
		})
	}
}

// A leave, until all who stay were written to: what each costs when b.N leave
// at once.
func BenchmarkLeave(b *testing.B) {
	s := benchServer(b)
	s.audience(b, 10_000)
	leaving := make([]*client, b.N)
	for i := range leaving {
		leaving[i] = s.connectAs(b, stomp.Handshake{}, stomp.ClientDataHeader, `{"name":"Mina"}`)
		leaving[i].forget()
	}
	s.quiet()
	before := s.written()
	b.ReportAllocs()
	b.ResetTimer()
	for _, c := range leaving {
		c.hangUp(1006)
	}
	s.quiet()
	b.StopTimer()
	time.Sleep(10 * time.Millisecond)
	b.ReportMetric(float64(s.written()-before)/float64(b.N), "messages/op")
	b.ReportMetric(float64(s.written()-before)/10_000, "messages/reader")
}

// A single change that goes out alone, when the feed's past is full.
func BenchmarkAnnounceOne(b *testing.B) {
	s := benchServer(b)
	c := Change{Type: Updated, At: morning, View: &View{SessionID: "mina-0001", ClientData: []byte(`{"name":"Mina"}`), ConnectedAt: morning}}
	all := s.all()
	one := func() {
		c.Seq++
		all.publish([]Change{c}, false)
	}
	for range 25_000 {
		one()
	}
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}

// What the first of many newcomers costs.
func BenchmarkRosterEncoding(b *testing.B) {
	views := make([]*View, 10_000)
	for i := range views {
		views[i] = &View{
			SessionID: fmt.Sprintf("session-%017d", i), User: fmt.Sprint("user-", i), ClientData: []byte(`{"name":"somebody","color":"#aabbcc"}`),
			Attributes: mina.Attributes, ConnectedAt: morning,
		}
	}
	size := 0
	for _, page := range rosterPages(streamName, 1, views) {
		size += len(page)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		rosterPages(streamName, 1, views)
	}
}

// What the others cost.
func BenchmarkRosterAgain(b *testing.B) {
	s := benchServer(b)
	s.audience(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		s.all().subscribe()
	}
}

// What the registry holds for a session, beside what the broker does.
func BenchmarkBytesPerSession(b *testing.B) {
	const sessions = 20_000
	held := func(observe func(*Registry) stomp.Observer) int64 {
		s := newServer(b, observe)
		s.registry.SetListener(nil)
		defer func() {
			for _, c := range s.clients {
				c.hangUp(1006)
			}
		}()
		return heapDelta(func() any {
			for range sessions {
				s.connectAs(b, stomp.Handshake{User: "mina"}, stomp.ClientDataHeader, `{"name":"somebody"}`).forget()
			}
			s.quiet()
			for s.written() < sessions { // CONNECTED
				time.Sleep(time.Millisecond)
			}
			s.all().feed = stomp.NewFeed(stomp.FeedConfig{}) // its past is bounded, whoever is there
			return s
		})
	}
	var with, without int64
	for b.Loop() {
		with += held(registryItself)
		without += held(func(*Registry) stomp.Observer { return nil })
	}
	b.ReportMetric(float64(with-without)/float64(b.N*sessions), "B/session")
}
