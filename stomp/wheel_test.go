package stomp

import (
	"testing"
	"testing/synctest"
	"time"
)

// spin runs f with a wheel of sessions that are never to connect: each is
// looked at when its time to do so is over, which ends it.
func spin(t *testing.T, f func(t *testing.T, b *Broker, add func(after time.Duration) *Session)) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker(Config{})
		e := b.Endpoint("/", Policy{})
		f(t, b, func(after time.Duration) *Session {
			s := &Session{broker: b, endpoint: e, transport: discard{}, handshake: &Handshake{}, handle: (*Session).connecting}
			s.connectBy = stamp() + int64(after)
			b.wheel.schedule(s, s.connectBy)
			return s
		})
		time.Sleep(time.Hour) // timers of ended sessions
		synctest.Wait()
		if b.wheel.running || b.wheel.count != 0 {
			t.Errorf("the wheel runs on with %d sessions", b.wheel.count)
		}
		for i := range b.wheel.slots {
			if len(b.wheel.slots[i]) > 0 {
				t.Errorf("slot %d is not empty", i)
			}
		}
	})
}

func ended(s *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == phaseEnded
}

// Nobody is looked at too early, nor later than two ticks; waits of more than
// a turn (102.4 s) included.
func TestWheelDue(t *testing.T) {
	for _, after := range []time.Duration{
		0, time.Millisecond, 99 * time.Millisecond, tick, 101 * time.Millisecond, time.Second,
		wheelSlots*tick - 1, wheelSlots * tick, wheelSlots*tick + 1, 3*wheelSlots*tick + 50*time.Millisecond,
	} {
		spin(t, func(t *testing.T, _ *Broker, add func(time.Duration) *Session) {
			time.Sleep(33 * time.Millisecond) // between two ticks
			start := time.Now()
			s := add(after)
			for !ended(s) && time.Since(start) < time.Hour {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			if took := time.Since(start); took < after || took > after+2*tick {
				t.Errorf("due after %v, looked at after %v", after, took)
			}
		})
	}
}

func TestWheelReschedule(t *testing.T) {
	spin(t, func(t *testing.T, b *Broker, add func(time.Duration) *Session) {
		later, sooner := add(time.Second), add(time.Minute)
		later.connectBy += int64(time.Minute)
		b.wheel.schedule(later, later.connectBy)
		sooner.connectBy = stamp() + int64(500*time.Millisecond)
		b.wheel.schedule(sooner, sooner.connectBy)
		time.Sleep(2 * time.Second)
		if ended(later) || !ended(sooner) {
			t.Errorf("after 2s: the later one ended %v, the sooner one %v", ended(later), ended(sooner))
		}
		time.Sleep(time.Minute)
		if !ended(later) {
			t.Error("the later one is forgotten")
		}
	})
}

// Whoever was removed is never looked at again, not even when it is scheduled
// once more by somebody who does not know.
func TestWheelRemove(t *testing.T) {
	spin(t, func(t *testing.T, b *Broker, add func(time.Duration) *Session) {
		var all []*Session
		for range 10 {
			all = append(all, add(time.Second))
		}
		for _, i := range []int{0, 9, 4} { // first, last and middle of a slot
			b.wheel.remove(all[i])
		}
		b.wheel.remove(all[4])
		b.wheel.schedule(all[4], stamp())
		time.Sleep(time.Minute)
		for i, s := range all {
			if removed := i == 0 || i == 4 || i == 9; ended(s) == removed {
				t.Errorf("session %d: ended %v, removed %v", i, ended(s), removed)
			}
		}
	})
}

// A stop of the process, as of a laptop's, for less and for more than a turn:
// everybody who is due is looked at, once, at the next tick.
func TestWheelLongGap(t *testing.T) {
	for _, gap := range []time.Duration{time.Minute, wheelSlots * tick, 10 * time.Minute, 1000 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(12345 * time.Millisecond)
			var w wheel
			w.running = true // the test is its goroutine
			w.pos = stamp() / int64(tick)
			for after := time.Duration(0); after < 100*time.Second; after += 700 * time.Millisecond {
				w.schedule(&Session{}, stamp()+int64(after))
			}
			all := w.count
			time.Sleep(gap)
			now := stamp() / int64(tick)
			due, looks := 0, 0
			for more := true; more; looks++ {
				var now1 []*Session
				now1, more = w.take(now)
				due += len(now1)
			}
			if want := all; gap >= wheelSlots*tick && due != want || due == 0 || due+w.count != all || looks > wheelSlots {
				t.Errorf("after %v: %d of %d were due, %d are left, %d looks", gap, due, all, w.count, looks)
			}
			if w.pos != now {
				t.Errorf("after %v: at %d, want %d", gap, w.pos, now)
			}
		})
	}
}

func TestWheelRestarts(t *testing.T) {
	spin(t, func(t *testing.T, b *Broker, add func(time.Duration) *Session) {
		for range 3 {
			s := add(time.Second)
			time.Sleep(time.Hour)
			synctest.Wait()
			if !ended(s) || b.wheel.running {
				t.Errorf("ended %v, the wheel runs %v", ended(s), b.wheel.running)
			}
		}
	})
}

func BenchmarkWheelSchedule(b *testing.B) {
	broker := NewBroker(Config{})
	e := broker.Endpoint("/", Policy{})
	broker.wheel.running = true // no goroutine
	sessions := make([]*Session, 100_000)
	for i := range sessions {
		sessions[i] = &Session{broker: broker, endpoint: e}
		broker.wheel.schedule(sessions[i], int64(i)*int64(time.Millisecond))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		broker.wheel.schedule(sessions[i%len(sessions)], int64(i%100_000)*int64(time.Millisecond))
	}
}
