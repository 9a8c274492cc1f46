package presence

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Tries are counted for each batch.
func TestAttempts(t *testing.T) {
	withReceiver(t, DeliverySettings{Batch: 1}, func(t *testing.T, s *server, i *inbox) {
		fails := true
		i.answers(func(context.Context, EventBatch) error {
			if fails = !fails; fails {
				return nil
			}
			return errDown
		})
		s.happen(t, 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantPositions(t, i, 1, 3)
		var attempts []string
		for _, try := range i.all() {
			attempts = append(attempts, fmt.Sprintf("%d.%d", try.Events[0].Position, try.Attempt))
		}
		wantStrings(t, "attempts", attempts, "1.1", "1.2", "2.1", "2.2", "3.1", "3.2")
	})
}

// However small the bounds are, a single event is told.
func TestTinyBounds(t *testing.T) {
	withReceiver(t, DeliverySettings{Pending: 1, PendingBytes: 1, BatchBytes: 1}, func(t *testing.T, s *server, i *inbox) {
		for range 3 {
			s.happen(t, 1)
			synctest.Wait()
		}
		wantPositions(t, i, 1, 3)
	})
}

// What gets too old meanwhile is given up although the receiver asked for more
// time than that.
func TestAgeDuringRetryAfter(t *testing.T) {
	withReceiver(t, DeliverySettings{MaxAge: 10 * time.Minute}, func(t *testing.T, s *server, i *inbox) {
		i.fails(&RetryError{After: time.Hour, Err: errDown})
		s.happen(t, 2)
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if st := s.status(t); st.Dropped != 2 || st.Pending != 0 || len(i.all()) != 1 {
			t.Errorf("after %d calls: %+v", len(i.all()), st)
		}
	})
}

// sumOf is the sum of what log lines say of a key.
func sumOf(lines []string, key string) (sum int) {
	for _, m := range regexp.MustCompile(` `+key+`=(\d+)`).FindAllStringSubmatch(strings.Join(lines, ""), -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	return sum
}

// What is given up or rejected again and again is logged after a second, then once
// a minute, and none is forgotten. Who takes something in between is not made to
// wait.
func TestBursts(t *testing.T) {
	withReceiver(t, DeliverySettings{Batch: 1}, func(t *testing.T, s *server, i *inbox) {
		log := new(logLines)
		s.registry.SetLogger(log.logger())
		i.answers(func(_ context.Context, b EventBatch) error {
			if b.Events[0].Position%2 == 1 {
				return &RejectedError{Status: 400, Err: errDown}
			}
			return nil
		})
		const events = 360
		for n := range events {
			s.happen(t, 1)
			synctest.Wait()
			if st := s.status(t); st.Pending != 0 {
				t.Fatalf("%d wait after %d events", st.Pending, n)
			}
			switch lines := log.with("dead letters"); {
			case n == 1 && len(lines) != 0, n == 3 && len(lines) != 1, n == 100 && len(lines) != 1:
				t.Errorf("logged %q after %d events", lines, n)
			}
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(burstEvery)
		synctest.Wait()
		if lines := log.with("dead letters"); len(lines) != 4 || sumOf(lines, "rejected") != events/2 {
			t.Errorf("logged %q", lines)
		}
	})
}

// That a receiver is down is logged once, and once that it is not.
func TestOutageIsLoggedOnce(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		log := new(logLines)
		s.registry.SetLogger(log.logger())
		for outages := 1; outages < 3; outages++ {
			i.fails(errDown)
			s.happen(t, 1)
			time.Sleep(time.Hour)
			i.fails(nil)
			time.Sleep(maxBackoff)
			s.happen(t, 3)
			settle()
			down, up := log.with("events wait for it"), log.with("answers again")
			if len(down) != outages || len(up) != outages || !strings.Contains(down[0], "level=WARN") || !strings.Contains(up[0], "level=INFO") || !strings.Contains(down[0], errDown.Error()) {
				t.Errorf("after %d outages: logged %q and %q", outages, down, up)
			}
		}
		i.fails(errDown) // not for long
		s.happen(t, 1)
		settle()
		i.fails(nil)
		time.Sleep(maxBackoff)
		if n := len(log.with("")); n != 4 {
			t.Errorf("logged %q", log.with(""))
		}
	})
}

// Whose try is cut off, by a reload, leaves the circuit to the others; what never
// was a call is not counted as one.
func TestCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, one *server) {
		two := newServer(t, registryItself)
		defer two.close()
		var circuit Circuit
		slots := make(chan struct{}, 1)
		i := new(inbox)
		i.fails(errDown)
		config := i.config(DeliverySettings{Types: []Type{Joined}, Timeout: 1000 * time.Hour})
		config.Circuit, config.Slots = &circuit, slots
		for _, s := range []*server{one, two} {
			s.registry.SetAnnouncers([]AnnouncerConfig{config})
			defer cut(s.registry)
			s.happen(t, 1)
		}
		time.Sleep(10 * time.Minute)
		if circuit.state() != StateOpen {
			t.Fatalf("the circuit is %s", circuit.state())
		}
		slots <- struct{}{} // somebody else is called
		time.Sleep(maxBackoff)
		synctest.Wait() // one of them is about to try
		tries := func() (trying, waiting *server) {
			counted := uint64(0)
			for _, s := range []*server{one, two} {
				for _, calls := range s.status(t).Calls {
					counted += calls
				}
			}
			if counted != uint64(len(i.all())) {
				t.Errorf("%d calls are counted of %d", counted, len(i.all()))
			}
			if two.registry.outbox.deliveries[0].call != nil {
				return two, one
			}
			return one, two
		}
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		trying, _ := tries()
		trying.registry.SetAnnouncers([]AnnouncerConfig{config})(ctx)
		synctest.Wait()
		trying, waiting := tries()
		trying.registry.SetAnnouncers(nil)(ctx)
		<-slots
		i.fails(nil)
		time.Sleep(2 * maxBackoff)
		synctest.Wait()
		if st := waiting.status(t); st.Pending != 0 || st.State != StateOK {
			t.Errorf("the other one: %+v", st)
		}
	})
}

// Nor does the last try of one that is removed keep the others waiting.
func TestCutOffWhileLeaving(t *testing.T) {
	inBubble(t, func(t *testing.T, one *server) {
		two := newServer(t, registryItself)
		defer two.close()
		i := new(inbox)
		i.fails(errDown)
		config := i.config(DeliverySettings{Types: []Type{Joined}, Timeout: 1000 * time.Hour})
		config.Circuit = new(Circuit)
		for _, s := range []*server{one, two} {
			s.registry.SetAnnouncers([]AnnouncerConfig{config})
			defer cut(s.registry)
		}
		one.happen(t, 1)
		time.Sleep(10 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		remove := one.registry.SetAnnouncers(nil)
		time.Sleep(5 * time.Minute)
		i.hangs()
		remove(ctx)
		i.fails(nil)
		two.happen(t, 1)
		time.Sleep(2 * maxBackoff)
		synctest.Wait()
		if st := two.status(t); st.Pending != 0 || st.State != StateOK {
			t.Errorf("the other one: %+v", st)
		}
	})
}
