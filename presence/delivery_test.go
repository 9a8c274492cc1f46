package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// What happens is told at once, and what happens during a call goes out
// together after it, oldest first, in bounded batches.
func TestDeliveryBatches(t *testing.T) {
	withReceiver(t, DeliverySettings{Batch: 4}, func(t *testing.T, s *server, i *inbox) {
		open := make(chan struct{})
		i.answers(func(context.Context, EventBatch) error { <-open; return nil })
		s.happen(t, 1)
		synctest.Wait()
		s.happen(t, 9)
		synctest.Wait()
		if st := s.status(t); st.Pending != 10 || st.State != StateOK {
			t.Errorf("pending %d, %s", st.Pending, st.State)
		}
		close(open)
		synctest.Wait()
		wantPositions(t, i, 1, 10)
		var sizes []int
		ids := make(map[string]bool)
		for _, try := range i.all() {
			sizes = append(sizes, len(try.Events))
			ids[try.ID] = true
		}
		if want := []int{1, 4, 4, 1}; !slices.Equal(sizes, want) || len(ids) != 4 {
			t.Errorf("batches of %v with ids %v, want %v", sizes, ids, want)
		}
		if st := s.status(t); st.Pending != 0 || st.Bytes != 0 || st.Delivered != 10 || !st.Oldest.IsZero() {
			t.Errorf("afterwards %+v", st)
		}
		s.registry.outbox.mu.Lock()
		defer s.registry.outbox.mu.Unlock()
		if s.registry.outbox.deliveries[0].running {
			t.Error("its goroutine runs although there is nothing to tell")
		}
	})
}

// The bound in bytes is that of the JSON; an event that is larger goes alone.
func TestDeliveryBatchBytes(t *testing.T) {
	const most = 2000
	withReceiver(t, DeliverySettings{BatchBytes: most}, func(t *testing.T, s *server, i *inbox) {
		s.setClientDataLimit(10_000)
		open := make(chan struct{})
		i.answers(func(context.Context, EventBatch) error { <-open; return nil })
		for n, size := range []int{1, 1000, 1000, 5000, 1, 1, 1} {
			s.connect(t, "", stomp.ClientDataHeader, `"`+strings.Repeat("x", size)+`"`)
			if n == 0 {
				synctest.Wait() // it is under way
			}
		}
		synctest.Wait()
		close(open)
		synctest.Wait()
		wantPositions(t, i, 1, 7)
		var sizes []int
		for _, try := range i.all() {
			sizes = append(sizes, len(try.Events))
			body := try.JSON()
			var all []json.RawMessage
			if err := json.Unmarshal(body, &all); err != nil || len(all) != len(try.Events) {
				t.Errorf("%d events as %s (%v)", len(try.Events), body, err)
			}
			if len(body) > most && len(all) > 1 {
				t.Errorf("a batch of %d events has %d bytes", len(all), len(body))
			}
		}
		if want := []int{1, 1, 1, 1, 3}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
	})
}

// A failing receiver is tried again, later and later, with the same batch under
// the same id, and nothing overtakes it.
func TestDeliveryBackoff(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.fails(errDown)
		s.happen(t, 1)
		synctest.Wait()
		s.happen(t, 2)
		time.Sleep(3 * time.Minute)
		tries := i.all()
		want := firstBackoff
		for n := 1; n < len(tries); n++ {
			gap := tries[n].at.Sub(tries[n-1].at)
			if gap < want/2 || gap > want {
				t.Errorf("try %d came %v after the one before, want %v to %v", n, gap, want/2, want)
			}
			if tries[n].ID != tries[0].ID || tries[n].Attempt != n+1 || len(tries[n].Events) != 1 {
				t.Errorf("try %d is batch %s of %d, attempt %d", n, tries[n].ID, len(tries[n].Events), tries[n].Attempt)
			}
			want = min(2*want, maxBackoff)
		}
		if st := s.status(t); len(tries) < 10 || st.State != StateOpen || st.Retried != uint64(len(tries)) || !errors.Is(st.Error, errDown) {
			t.Errorf("after %d tries: %+v", len(tries), st)
		}
		i.fails(nil)
		time.Sleep(maxBackoff)
		synctest.Wait()
		wantPositions(t, i, 1, 3)
		if st := s.status(t); st.State != StateOK || st.Error != nil {
			t.Errorf("afterwards: %+v", st)
		}
	})
}

// The receiver says when to come again, within a bound.
func TestDeliveryRetryAfter(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{5 * time.Minute: 5 * time.Minute, 1000 * time.Hour: maxRetryAfter} {
		withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
			i.fails(&RetryError{After: asked, Err: errDown})
			s.happen(t, 1)
			synctest.Wait()
			i.fails(nil)
			time.Sleep(want - time.Second)
			synctest.Wait()
			if n := len(i.all()); n != 1 {
				t.Errorf("%d tries before %v were over", n, want)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			wantPositions(t, i, 1, 1)
		})
	}
}

// poisonous has the receiver reject what holds one of those positions.
func poisonous(poison ...uint64) func(context.Context, EventBatch) error {
	return func(_ context.Context, b EventBatch) error {
		for _, e := range b.Events {
			if slices.Contains(poison, counted(e.Position)) {
				return &RejectedError{Status: 400, Err: errors.New("the receiver answered 400")}
			}
		}
		return nil
	}
}

// Of a rejected batch exactly what the receiver does not take becomes a dead
// letter, and the rest comes in order.
func TestDeliveryBisects(t *testing.T) {
	for _, poison := range [][]uint64{{1}, {100}, {50, 51}, {1, 2, 3, 99, 100}, {37}, {150, 64}} {
		t.Run(fmt.Sprint(poison), func(t *testing.T) {
			withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
				open := make(chan struct{})
				reject := poisonous(poison...)
				i.answers(func(ctx context.Context, b EventBatch) error { <-open; return reject(ctx, b) })
				s.happen(t, 160)
				synctest.Wait()
				close(open)
				synctest.Wait()
				wantPositions(t, i, 1, 160, poison...)
				st := s.status(t)
				var dead []uint64
				for _, d := range st.Dead {
					dead = append(dead, d.Position)
					if d.Letter.Position != d.Position || d.Letter.Status != 400 || d.Letter.Error != "the receiver answered 400" || d.ID() != fmt.Sprintf("%s-%d", streamName, d.Position) || d.Type != Joined {
						t.Errorf("dead letter %+v", d)
					}
				}
				slices.Sort(poison)
				if !slices.Equal(dead, poison) || st.Rejected != uint64(len(poison)) || st.Pending != 0 {
					t.Errorf("dead letters %v of %+v, want %v", dead, st, poison)
				}
				if n := len(i.all()); n > 16*len(poison)+4 {
					t.Errorf("%d calls to find %v", n, poison)
				}
			})
		})
	}
}

// A receiver that rejects everything is asked less and less often, and what it
// costs is bounded.
func TestDeliveryRejectsAll(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.fails(&RejectedError{Status: 404, Err: errDown})
		s.happen(t, maxDead+500)
		time.Sleep(time.Minute)
		early := len(i.all())
		if early > 60 {
			t.Errorf("%d calls within a minute", early)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		st := s.status(t)
		if st.Pending != 0 || len(st.Dead) != maxDead || st.Dropped != 500 || st.Rejected != maxDead+500 || st.Dead[0].Position != 501 {
			t.Errorf("pending %d, %d dead letters, %d dropped, %d rejected", st.Pending, len(st.Dead), st.Dropped, st.Rejected)
		}
	})
}

// Dead letters are told again when an operator says so, before what else waits.
func TestRetryDead(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.answers(poisonous(2, 3))
		for range 4 {
			s.happen(t, 1)
			synctest.Wait()
		}
		wantPositions(t, i, 1, 4, 2, 3)
		i.answers(poisonous(3))
		if n, ok := s.registry.RetryDead(hookID); n != 2 || !ok {
			t.Errorf("%d, %v", n, ok)
		}
		synctest.Wait()
		if got, want := i.positions(), []uint64{1, 4, 2}; !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		if st := s.status(t); len(st.Dead) != 1 || st.Dead[0].Position != 3 || st.Pending != 0 || st.Bytes != 0 {
			t.Errorf("afterwards %+v", st)
		}
		if _, ok := s.registry.RetryDead("https://nobody.internal"); ok {
			t.Error("there is an announcer of nobody's")
		}
	})
}

// A receiver that wants nothing any more is left alone; with the next
// configuration it gets what has waited.
func TestDeliveryGone(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.fails(&GoneError{Err: errDown})
		s.happen(t, 3)
		time.Sleep(time.Hour)
		s.happen(t, 1)
		synctest.Wait()
		if st := s.status(t); len(i.all()) != 1 || st.State != StateDisabled || st.Pending != 4 {
			t.Errorf("%d calls, %+v", len(i.all()), st)
		}
		i.fails(nil)
		s.registry.SetAnnouncers([]AnnouncerConfig{i.config(DeliverySettings{Types: []Type{Joined}})})(t.Context())
		synctest.Wait()
		wantPositions(t, i, 1, 4)
	})
}

// A guest that panics, or never returns, costs itself something and nobody else.
func TestDeliveryGuestMisbehaves(t *testing.T) {
	withReceiver(t, DeliverySettings{Timeout: time.Second}, func(t *testing.T, s *server, i *inbox) {
		i.answers(func(context.Context, EventBatch) error { panic("oh") })
		s.happen(t, 1)
		synctest.Wait()
		if st := s.status(t); st.Error == nil || !strings.Contains(st.Error.Error(), "panicked: oh") {
			t.Errorf("error %v", st.Error)
		}
		i.hangs()
		time.Sleep(firstBackoff + time.Second)
		synctest.Wait()
		if st := s.status(t); !errors.Is(st.Error, context.DeadlineExceeded) || st.Retried != 2 {
			t.Errorf("%d retried, error %v", st.Retried, st.Error)
		}
		i.fails(nil)
		time.Sleep(time.Minute)
		wantPositions(t, i, 1, 1)
	})
}

// What waits is bounded by number, bytes and age; what is given up is the
// oldest, is counted, and logged once a burst.
func TestDeliveryBounds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings DeliverySettings
		wait     time.Duration
		told     []uint64 // after 1, which was under way
	}{
		{"count", DeliverySettings{Pending: 3, Batch: 1}, 0, []uint64{9, 10}},
		{"bytes", DeliverySettings{PendingBytes: 4 * eventSize, Batch: 1}, 0, []uint64{9, 10}},
		{"age", DeliverySettings{MaxAge: time.Hour, Batch: 1}, 2 * time.Hour, nil},
		{"none", DeliverySettings{Batch: 1}, 2 * time.Hour, []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withReceiver(t, tt.settings, func(t *testing.T, s *server, i *inbox) {
				log := new(logLines)
				s.registry.SetLogger(log.logger())
				open := make(chan struct{})
				i.answers(func(context.Context, EventBatch) error { <-open; return nil })
				s.registry.SetAnnouncers([]AnnouncerConfig{i.config(withTimeout(tt.settings))})
				s.happen(t, 1)
				synctest.Wait() // it is under way
				s.happen(t, 9)
				time.Sleep(tt.wait)
				synctest.Wait()
				close(open)
				synctest.Wait()
				if got, want := i.positions(), append([]uint64{1}, tt.told...); !slices.Equal(got, want) {
					t.Errorf("told %v, want %v", got, want)
				}
				dropped := 9 - len(tt.told)
				st := s.status(t)
				if st.Dropped != uint64(dropped) || st.Bytes != 0 || st.Pending != 0 {
					t.Errorf("afterwards %+v", st)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				logged := log.with("given up")
				if dropped == 0 && len(logged) > 0 || dropped > 0 && (len(logged) != 1 || !strings.Contains(logged[0], fmt.Sprintf("dropped=%d", dropped))) {
					t.Errorf("logged %q", logged)
				}
			})
		})
	}
}

// withTimeout are settings under which a call may take for ever.
func withTimeout(s DeliverySettings) DeliverySettings {
	s.Timeout, s.Types = 1000*time.Hour, []Type{Joined}
	return s
}

// While a batch is tried again and again it may get too old, too.
func TestDeliveryAgeOfABatchThatFails(t *testing.T) {
	withReceiver(t, DeliverySettings{MaxAge: time.Hour}, func(t *testing.T, s *server, i *inbox) {
		i.fails(errDown)
		s.happen(t, 2)
		time.Sleep(30 * time.Minute)
		s.happen(t, 1)
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if st := s.status(t); st.Dropped != 2 || st.Pending != 1 {
			t.Errorf("dropped %d, pending %d", st.Dropped, st.Pending)
		}
		i.fails(nil)
		time.Sleep(maxBackoff)
		synctest.Wait()
		wantPositions(t, i, 3, 3)
	})
}

// Who shares a receiver shares its circuit: while it is open one of them tries,
// and all go on when it is closed.
func TestCircuitIsShared(t *testing.T) {
	inBubble(t, func(t *testing.T, one *server) {
		two := newServer(t, registryItself)
		defer two.close()
		var circuit Circuit
		i := new(inbox)
		for _, s := range []*server{one, two} {
			c := i.config(DeliverySettings{Types: []Type{Joined}})
			c.Circuit = &circuit
			s.registry.SetAnnouncers([]AnnouncerConfig{c})
			defer cut(s.registry)
		}
		under, most := 0, 0
		i.answers(func(context.Context, EventBatch) error {
			i.mu.Lock()
			under++
			if circuit.state() == StateOpen {
				most = max(most, under)
			}
			i.mu.Unlock()
			time.Sleep(5 * time.Second)
			i.mu.Lock()
			defer i.mu.Unlock()
			under--
			return errDown
		})
		one.happen(t, 1)
		two.happen(t, 1)
		time.Sleep(10 * time.Minute)
		if n := len(i.all()); most != 1 || n < 10 || n > 80 {
			t.Errorf("%d calls, %d at a time", n, most)
		}
		i.fails(nil)
		time.Sleep(maxBackoff + 5*time.Second)
		synctest.Wait()
		if got := len(i.positions()); got != 2 {
			t.Errorf("told %d events", got)
		}
	})
}

// Slots bound how many calls there are at a time.
func TestSlots(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		slots := make(chan struct{}, 2)
		under, most := 0, 0
		i := new(inbox)
		i.answers(func(context.Context, EventBatch) error {
			i.mu.Lock()
			under++
			most = max(most, under)
			i.mu.Unlock()
			time.Sleep(time.Second)
			i.mu.Lock()
			defer i.mu.Unlock()
			under--
			return nil
		})
		var all []AnnouncerConfig
		for n := range 6 {
			all = append(all, AnnouncerConfig{Announcer: &receiver{inbox: i, id: fmt.Sprint(n)}, Slots: slots})
		}
		s.registry.SetAnnouncers(all)
		defer cut(s.registry)
		s.happen(t, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(i.positions()); got != 6 || most != 2 {
			t.Errorf("told %d, %d at a time", got, most)
		}
	})
}
