package presence

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// another is an announcer beside that of a test.
func another(i *inbox, types ...Type) AnnouncerConfig {
	return AnnouncerConfig{Announcer: &receiver{inbox: i, id: anotherID}, DeliverySettings: DeliverySettings{Types: types}}
}

// What happened before an announcer was removed, and still waits for its commit
// then, is told it all the same, and nothing that happened later; what it cannot
// be told in time is counted.
func TestRemovedBeforeTheCommit(t *testing.T) {
	hangs := func(i *inbox) { i.hangs() }
	for _, tt := range []struct {
		name     string
		types    []Type // of the announcer. Default: joined
		queued   bool   // two others wait for the receiver already
		receiver func(*inbox)
		store    error // what it says when it is asked to answer
		answers  bool
		told     []uint64
		dropped  string // of the log
		within   time.Duration
	}{
		{name: "the store answers", answers: true, told: []uint64{1, 2, 3}, within: time.Second},
		{name: "the store fails", answers: true, store: errDisk, told: []uint64{1, 2, 3}, within: time.Second},
		{name: "the store hangs", dropped: "dropped=3", within: 4 * time.Second},
		{name: "the receiver hangs", answers: true, receiver: hangs, dropped: "dropped=3", within: 4 * time.Second},
		{name: "both hang", queued: true, receiver: hangs, dropped: "dropped=5", within: 4 * time.Second},
		{name: "it wants none of them", types: []Type{Left}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.types == nil {
				tt.types = []Type{Joined}
			}
			hookedComputer(t, DeliverySettings{Types: tt.types}, func(t *testing.T, c *computer, i *inbox) {
				log, other := new(logLines), new(inbox)
				c.registry.SetLogger(log.logger())
				both := []AnnouncerConfig{c.announcers[0], another(other, Joined)}
				c.registry.SetAnnouncers(both)(t.Context())
				if tt.receiver != nil {
					tt.receiver(i)
				}
				before := uint64(3)
				if tt.queued {
					before += 2
					c.happen(t, 2)
					settle()
				}
				g := c.store.gated()
				c.happen(t, 3)
				synctest.Wait()
				remove := c.registry.SetAnnouncers(both[1:])
				c.happen(t, 2) // not for the one that is gone
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began, settled := time.Now(), make(chan time.Duration)
				go func() { remove(ctx); settled <- time.Since(began) }()
				synctest.Wait()
				if tt.answers {
					g <- tt.store
					close(g)
				}
				if took := <-settled; took > tt.within {
					t.Errorf("it took %v", took)
				}
				if got := i.positions(); !slices.Equal(got, tt.told) {
					t.Errorf("told %v, want %v", got, tt.told)
				}
				logged := strings.Join(log.with("not configured any more"), "")
				if (logged != "") != (tt.dropped != "") || !strings.Contains(logged, tt.dropped+" dead_letters=0") && tt.dropped != "" {
					t.Errorf("logged %q, want %q", logged, tt.dropped)
				}
				if !tt.answers {
					close(g)
				}
				time.Sleep(2*retryEvery + 2*aliveEvery)
				settle()
				wantPositions(t, other, 1, before+2)
				if got := i.positions(); !slices.Equal(got, tt.told) {
					t.Errorf("told %v later, want %v", got, tt.told)
				}
				if n, states := len(c.disk.events), len(c.disk.states); n != 0 || states != 1 {
					t.Errorf("%d events and %d announcers remain in the store", n, states)
				}
			})
		})
	}
}

// An announcer that is configured again before it has gone is told what
// happened before and after, but not what happened meanwhile.
func TestConfiguredAgain(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		log, other := new(logLines), new(inbox)
		c.registry.SetLogger(log.logger())
		g := c.store.gated()
		c.happen(t, 2)
		remove := c.registry.SetAnnouncers([]AnnouncerConfig{another(other, Joined)})
		c.happen(t, 2)
		again := c.registry.SetAnnouncers([]AnnouncerConfig{another(other, Joined), c.announcers[0]})
		c.happen(t, 2)
		done := make(chan struct{})
		go func() { remove(t.Context()); again(t.Context()); close(done) }()
		synctest.Wait()
		close(g)
		<-done
		c.happen(t, 1)
		settle()
		wantPositions(t, i, 1, 7, 3, 4)
		wantPositions(t, other, 3, 7)
		if logged := log.with("not configured any more"); len(logged) != 0 {
			t.Errorf("logged %q", logged)
		}
	})
}

// Which events a receiver is told goes by the configuration in which they
// happened, and not by that in which they are committed or told.
func TestReloadWithOtherEvents(t *testing.T) {
	for crashes := range 3 {
		hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
			i.fails(errDown)
			c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 1 joined
			settle()
			other := new(inbox)
			both := []AnnouncerConfig{c.announcers[0], another(other, Left)}
			c.registry.SetAnnouncers(both)(t.Context())
			g := c.store.gated()
			c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 2 joined, 3 left, which is for the other one
			both[0].Types = []Type{Left}
			both[1].Types = []Type{Joined, Left}
			c.announcers = both
			c.registry.SetAnnouncers(both)(t.Context())
			c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 4 joined, which is for the other one, 5 left
			other.fails(errDown)
			close(g)
			settle()
			if n := len(c.disk.events); n != 5 {
				t.Errorf("%d events in the store", n)
			}
			c.registry.SetAnnouncers(both)(t.Context())
			for range crashes {
				time.Sleep(2 * aliveEvery)
				settle()
				c.die()
				c.boot(t)
			}
			i.fails(nil)
			other.fails(nil)
			time.Sleep(2 * maxBackoff)
			settle()
			wantPositions(t, i, 1, 5, 3, 4)
			wantPositions(t, other, 3, 5)
			if n := len(c.disk.events); n != 0 {
				t.Errorf("%d events remain in the store", n)
			}
		})
	}
}

// The process dies when the store has what a removed announcer was yet to be
// told. If the next one knows it, it is told; otherwise that is counted, and not
// what waits for others.
func TestCrashWhileRemoved(t *testing.T) {
	for _, known := range []bool{false, true} {
		hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
			other := new(inbox)
			both := []AnnouncerConfig{c.announcers[0], another(other, Joined, Left)}
			c.registry.SetAnnouncers(both)(t.Context())
			i.fails(errDown)
			other.fails(errDown)
			c.happen(t, 1)
			settle()
			g := c.store.gated()
			c.happen(t, 2)
			synctest.Wait()
			remove := c.registry.SetAnnouncers(both[1:])
			c.happen(t, 3) // not for the one that is gone
			removed := make(chan struct{})
			go func() { remove(t.Context()); close(removed) }()
			synctest.Wait()
			c.announcers = both
			g <- nil
			g <- nil
			synctest.Wait()
			c.store.hook(func(*Batch) error { return errDead }) // which may be its goodbye
			close(g)
			c.die()
			<-removed
			if c.announcers = c.announcers[1:]; known {
				c.announcers = append(c.announcers, i.config(DeliverySettings{Types: []Type{Joined}}))
			}
			i.fails(nil)
			c.logged = new(logLines)
			c.boot(t)
			settle()
			logged := c.logged.with("not configured any more")
			if known {
				wantPositions(t, i, 1, 3)
			} else if len(logged) != 1 || !strings.Contains(logged[0], hookID) || !strings.Contains(logged[0], "dropped=3 dead_letters=0") {
				t.Errorf("logged %q", logged)
			}
			if known && len(logged) > 0 {
				t.Errorf("logged %q", logged)
			}
			if st := c.registry.Announcers(); st[0].ID != "other" || st[0].Pending != 6 {
				t.Errorf("the other one: %+v", st)
			}
		})
	}
}

// A restart with another configuration is no different from a reload.
func TestRestartWithOtherEvents(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		other := new(inbox)
		c.announcers = append(c.announcers, another(other, Joined, Left))
		c.registry.SetAnnouncers(c.announcers)(t.Context())
		i.fails(errDown)
		other.fails(errDown)
		c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 1 joined, 2 left
		settle()
		c.die()
		c.announcers[0].Types, c.announcers[1].Types = []Type{Left}, []Type{Joined}
		c.boot(t)
		c.connect(t, "", stomp.ClientDataHeader, `1`).disconnect() // 3 joined, 4 left
		i.fails(nil)
		other.fails(nil)
		time.Sleep(2 * maxBackoff)
		settle()
		wantPositions(t, i, 1, 4, 2, 3)
		wantPositions(t, other, 1, 3)
	})
}

// Without a store, too, configurations of which nothing waits are forgotten.
func TestReloadsAreForgotten(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		for n := range 20 {
			s.registry.SetAnnouncers([]AnnouncerConfig{i.config(DeliverySettings{Types: []Type{Joined, []Type{Left, Updated}[n%2]}})})(t.Context())
			s.happen(t, 1)
			settle()
		}
		wantPositions(t, i, 1, 20)
		if d := s.registry.outbox.deliveries[0]; len(d.wants) > 2 {
			t.Errorf("it remembers %v", d.wants)
		}
	})
}
