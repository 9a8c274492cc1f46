package presence

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// How far announcers have got is written once a second, with what is written
// anyway, and not with each event.
func TestProgressIsWrittenNowAndThen(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		settle()
		batches, states := 0, 0
		c.store.hook(func(b *Batch) error {
			batches++
			if b.Announcers != nil {
				states++
			}
			return nil
		})
		began := time.Now()
		for range 100 {
			c.happen(t, 1)
			time.Sleep(30 * time.Millisecond)
			synctest.Wait()
		}
		seconds := int(time.Since(began)/time.Second) + 1
		if batches < 100 || states < 2 || states > seconds+1 {
			t.Errorf("%d of %d batches say how far it has got, in %d s", states, batches, seconds)
		}
		wantPositions(t, i, 1, 100)
	})
}

// Without a store nothing is remembered of events that were told.
func TestNothingRemains(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		s.happen(t, 10)
		settle()
		wantPositions(t, i, 1, 10)
		if o := &s.registry.outbox; len(o.gone) > 0 || len(o.events()) > 0 {
			t.Errorf("%d positions and %d events are remembered", len(o.gone), len(o.events()))
		}
	})
}

// A store that works again is given also the dead letters that are tried again.
func TestDeadLettersWithoutTheStore(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}, Batch: 1}, func(t *testing.T, c *computer, i *inbox) {
		i.answers(poisonous(1, 2, 3))
		c.happen(t, 3)
		settle()
		c.store.hook(func(*Batch) error { return errDisk })
		c.happen(t, 1)
		settle()
		i.fails(errDown)
		c.registry.RetryDead(hookID) // 1 is tried, 2 and 3 wait
		settle()
		c.store.hook(nil)
		time.Sleep(2 * retryEvery)
		settle()
		if err := c.registry.Health(); err != nil || len(c.disk.events) != 3 {
			t.Errorf("%v, with %d events in the store", err, len(c.disk.events))
		}
		c.die()
		i.fails(nil)
		c.boot(t)
		settle()
		if got, want := i.positions(), []uint64{4, 1, 2, 3}; !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

// An exit with a store waits for the call that is under way, and begins no other.
func TestExitBeginsNothing(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}, Batch: 1}, func(t *testing.T, c *computer, i *inbox) {
		i.answers(func(context.Context, EventBatch) error { time.Sleep(time.Second); return nil })
		c.happen(t, 5)
		time.Sleep(time.Second / 2)
		c.exit()
		wantPositions(t, i, 1, 1)
		i.fails(nil)
		c.announcers[0] = i.config(c.announcers[0].DeliverySettings)
		c.boot(t)
		settle()
		wantPositions(t, i, 1, 5)
	})
}

// With an announcer its dead letters go from the store, counted in the log.
func TestRemovedWithDeadLetters(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		log := new(logLines)
		c.registry.SetLogger(log.logger())
		i.answers(poisonous(1, 3))
		c.happen(t, 3)
		time.Sleep(2 * aliveEvery)
		settle()
		if n := len(c.disk.events); n != 2 {
			t.Errorf("%d events in the store", n)
		}
		c.registry.SetAnnouncers(nil)(t.Context())
		time.Sleep(2 * aliveEvery)
		settle()
		if n := len(c.disk.events); n != 0 {
			t.Errorf("%d events remain in the store", n)
		}
		if logged := log.with("dropped=0 dead_letters=2"); len(logged) != 1 {
			t.Errorf("logged %q", log.with(""))
		}
	})
}

// A reload may be what mends a receiver: it is tried at once.
func TestReloadTriesAtOnce(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.fails(&RetryError{After: time.Hour, Err: errDown})
		s.happen(t, 1)
		synctest.Wait()
		i.fails(nil)
		s.registry.SetAnnouncers([]AnnouncerConfig{i.config(DeliverySettings{Types: []Type{Joined}})})(t.Context())
		synctest.Wait()
		wantPositions(t, i, 1, 1)
	})
}

// Peers are told nothing any more when the end begins; announcers are.
func TestSilenceIsNotForAnnouncers(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		s.registry.Silence()
		s.happen(t, 1)
		settle()
		wantPositions(t, i, 1, 1)
	})
}

// A store of a version that did not keep what was wanted is read: an announcer is
// told of what waits what it is configured for, as that version would have done.
func TestStoreWithoutWanted(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		other := new(inbox)
		c.announcers = append(c.announcers, another(other, Joined, Left))
		c.registry.SetAnnouncers(c.announcers)(t.Context())
		i.fails(errDown)
		other.fails(errDown)
		c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 1 joined, 2 left
		settle()
		c.die()
		for n, raw := range c.disk.states {
			state := *decoded[map[string]any](raw)
			if state["wanted"] == nil {
				t.Fatalf("kept %s", raw)
			}
			delete(state, "wanted")
			c.disk.states[n] = encoded(state)
		}
		c.boot(t)
		i.fails(nil)
		other.fails(nil)
		c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 3 joined, 4 left
		time.Sleep(2 * maxBackoff)
		settle()
		wantPositions(t, i, 1, 3, 2)
		wantPositions(t, other, 1, 4)
	})
}
