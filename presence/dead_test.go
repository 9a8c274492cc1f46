package presence

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// wantDead are the positions of the dead letters of the only announcer.
func wantDead(t *testing.T, s *server, want ...uint64) []DeadEvent {
	t.Helper()
	dead := s.status(t).Dead
	for n, d := range dead {
		if len(dead) != len(want) || counted(d.Position) != want[n] || d.Announcer != hookID {
			t.Errorf("dead letter %d of %d is %+v, want %v", n, len(dead), d, want)
		}
	}
	if len(dead) != len(want) {
		t.Errorf("%d dead letters, want %v", len(dead), want)
	}
	return dead
}

// An operator sees of a dead letter what the receiver was told, and throws away
// one or all.
func TestDiscardDead(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.answers(poisonous(1, 2, 3, 5))
		s.happen(t, 5)
		synctest.Wait()
		dead := wantDead(t, s, 1, 2, 3, 5)
		shown := *decoded[struct {
			Announcer, ID, Type, Error string
			Status                     int
			At                         time.Time
			Event                      struct{ ID, Type, Stream string }
		}](encoded(dead[1]))
		if shown.Announcer != hookID || shown.ID != streamName+"-2" || shown.Event.ID != shown.ID || shown.Type != "joined" || shown.Event.Type != "joined" ||
			shown.Event.Stream != streamName || shown.Status != 400 || shown.Error != "the receiver answered 400" || !shown.At.Equal(dead[1].Letter.At) {
			t.Errorf("shown as %s", encoded(dead[1]))
		}
		for _, tt := range []struct {
			announcer, event string
			n                int
			ok               bool
			left             []uint64
		}{
			{"https://nobody.internal", "", 0, false, []uint64{1, 2, 3, 5}},
			{hookID, streamName + "-4", 0, true, []uint64{1, 2, 3, 5}}, // has arrived
			{hookID, streamName + "-2", 1, true, []uint64{1, 3, 5}},
			{hookID, streamName + "-2", 0, true, []uint64{1, 3, 5}},
			{hookID, "", 3, true, nil},
			{hookID, "", 0, true, nil},
		} {
			if n, ok := s.registry.DiscardDead(tt.announcer, tt.event); n != tt.n || ok != tt.ok {
				t.Errorf("discarding %q of %s: %d, %v", tt.event, tt.announcer, n, ok)
			}
			wantDead(t, s, tt.left...)
		}
		i.fails(nil)
		if n, _ := s.registry.RetryDead(hookID); n != 0 {
			t.Errorf("%d are tried again", n)
		}
		s.happen(t, 1)
		settle()
		wantPositions(t, i, 4, 6, 5)
		if st, d := s.status(t), s.registry.outbox.deliveries[0]; st.Rejected != 4 || st.Dropped != 0 || st.Pending != 0 || st.Bytes != 0 || d.graves != 0 {
			t.Errorf("afterwards %+v, %d bytes of dead letters", st, d.graves)
		}
	})
}

// When it returns they are gone from the store, too, whatever happens then; one
// that hangs is not waited for without end.
func TestDiscardDeadInTheStore(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		i.answers(poisonous(1, 3))
		c.happen(t, 3)
		time.Sleep(2 * aliveEvery)
		settle()
		if n := len(c.disk.events); n != 2 {
			t.Errorf("%d events in the store", n)
		}
		dead := wantDead(t, c.server, 1, 3)
		c.registry.DiscardDead(hookID, dead[1].ID())
		c.die()
		c.boot(t)
		wantDead(t, c.server, 1)
		i.fails(errDown)
		c.registry.DiscardDead(hookID, "")
		c.die()
		c.boot(t)
		settle()
		wantDead(t, c.server)
		if n := len(c.disk.events); n != 0 {
			t.Errorf("%d events remain in the store", n)
		}
		i.answers(poisonous(4))
		c.happen(t, 1)
		settle()
		g := c.store.gated()
		inTime(t, "discarding while the store hangs", commitWithin+time.Second, func() { c.registry.DiscardDead(hookID, "") })
		wantDead(t, c.server)
		close(g)
	})
}

// Dead letters take so much memory at most, and the last one stays, however large
// it is.
func TestDeadLettersAreBounded(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, _ *inbox) {
		d := s.registry.outbox.deliveries[0]
		d.mu.Lock()
		defer d.mu.Unlock()
		for n := range uint64(10) {
			d.bury(&Event{Position: n + 1, size: maxDeadBytes / 4}, DeadLetter{})
		}
		if len(d.dead) != 4 || d.dead[0].event.Position != 7 || d.graves != maxDeadBytes || d.n.dropped != 6 {
			t.Errorf("%d dead letters of %d bytes, %d were dropped", len(d.dead), d.graves, d.n.dropped)
		}
		d.bury(&Event{Position: 11, size: 2 * maxDeadBytes}, DeadLetter{})
		if len(d.dead) != 1 || d.dead[0].event.Position != 11 || d.graves != 2*maxDeadBytes {
			t.Errorf("%d dead letters of %d bytes", len(d.dead), d.graves)
		}
		d.bury(&Event{Position: 12, size: 1}, DeadLetter{})
		if len(d.dead) != 1 || d.dead[0].event.Position != 12 || d.graves != 1 {
			t.Errorf("%d dead letters of %d bytes", len(d.dead), d.graves)
		}
	})
}

// Those that are told again are told oldest first, whenever an operator said so.
func TestRetryDeadTwice(t *testing.T) {
	withReceiver(t, DeliverySettings{Batch: 1}, func(t *testing.T, s *server, i *inbox) {
		i.answers(poisonous(1, 2, 3))
		s.happen(t, 3)
		synctest.Wait()
		i.answers(func(ctx context.Context, b EventBatch) error {
			if b.Events[0].Position == 1 {
				return &RejectedError{Status: 400, Err: errDown}
			}
			return errDown
		})
		s.registry.RetryDead(hookID)
		synctest.Wait()
		wantDead(t, s, 1) // 2 fails, and 3 waits for it
		s.registry.RetryDead(hookID)
		i.fails(nil)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if got, want := i.positions(), []uint64{2, 1, 3}; !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

// Who rejects everything is left alone for a while, but not when an operator says
// that it was mended.
func TestRetryDeadAtOnce(t *testing.T) {
	withReceiver(t, DeliverySettings{Batch: 1}, func(t *testing.T, s *server, i *inbox) {
		i.fails(&RejectedError{Status: 404, Err: errDown})
		s.happen(t, 3*patientFor)
		time.Sleep(time.Minute)
		synctest.Wait()
		dead := len(s.status(t).Dead)
		if dead <= patientFor || dead == 3*patientFor {
			t.Fatalf("%d dead letters", dead)
		}
		i.fails(nil)
		s.registry.RetryDead(hookID)
		synctest.Wait()
		if n := len(i.positions()); n != 3*patientFor {
			t.Errorf("told %d", n)
		}
	})
}
