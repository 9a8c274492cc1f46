package presence

import (
	"context"
	"fmt"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// A session that comes, says who it is, and leaves, with so many announcers that
// never return: what the outbox costs those who make changes.
func BenchmarkAnnouncersThatHang(b *testing.B) {
	for _, n := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("announcers=%d", n), func(b *testing.B) {
			s := benchServer(b)
			i := new(inbox)
			i.hangs()
			var all []AnnouncerConfig
			for k := range n {
				all = append(all, AnnouncerConfig{Announcer: &receiver{inbox: i, id: fmt.Sprint(k)}})
			}
			s.registry.SetAnnouncers(all)
			b.Cleanup(func() { cut(s.registry) })
			b.ReportAllocs()
			for b.Loop() {
				c := s.connectAs(b, stomp.Handshake{}, stomp.ClientDataHeader, `{"name":"Mina"}`)
				c.forget()
				c.hangUp(1006)
				s.clients = s.clients[:0]
			}
		})
	}
}

// An event as it is encoded, once, and a batch of 100 of them.
func BenchmarkEventJSON(b *testing.B) {
	s := benchServer(b)
	open := make(chan []*Event, 1)
	i := new(inbox)
	i.answers(func(_ context.Context, batch EventBatch) error { open <- batch.Events; return nil })
	s.registry.SetAnnouncers([]AnnouncerConfig{i.config(DeliverySettings{Types: []Type{Joined}})})
	b.Cleanup(func() { cut(s.registry) })
	s.connectAs(b, stomp.Handshake{User: "mina"}, stomp.ClientDataHeader, `{"name":"Mina"}`)
	view := s.registry.Get(s.clients[0].session.ID())
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			newEvent("stream-1", 1, &Change{View: view, Type: Joined}).JSON()
		}
	})
	batch := EventBatch{Events: make([]*Event, 100)}
	e := (<-open)[0]
	for k := range batch.Events {
		batch.Events[k] = e
	}
	b.Run("batch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			batch.JSON()
		}
	})
}
