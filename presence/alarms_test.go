package presence

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// The sessions of a store whose time ends in one instant: each leaves, and its
// will is carried out, with a handful of goroutines, some of them at a time, and
// no more wait for the store than it takes.
func TestManyExpireAtOnce(t *testing.T) {
	const sessions = 20000
	onComputer(t, Settings{RecoveryGrace: recovery}, func(t *testing.T, c *computer) {
		c.crash()
		for i := range sessions {
			r := &Record{SessionID: fmt.Sprintf("session-%06d", i), Endpoint: "test", ClientData: []byte(`1`), ConnectedAt: morning, Epoch: 1, Announced: true}
			if i%10 == 0 {
				r.Will = &Will{Destination: "/queue/wills", Body: r.SessionID, Delay: -1}
			}
			c.disk.records[r.SessionID] = encoded(r)
		}
		c.boot(t)
		heir := c.peerAt(t, "/queue/wills")
		settle()
		before, most := runtime.NumGoroutine(), 0
		c.registry.SetListener(listenerFunc(func(change Change) {
			most = max(most, runtime.NumGoroutine())
			c.told.Changed(change)
		}))
		c.store.hook(func(*Batch) error { // a slow disk
			c.registry.mu.Lock()
			waiting := len(c.registry.journal.changes)
			c.registry.mu.Unlock()
			if waiting > waitingWhileRinging+ringAtOnce {
				t.Errorf("%d changes wait for the store", waiting)
			}
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		time.Sleep(2 * recovery)
		synctest.Wait()
		if err := c.registry.Health(); err != nil || c.registry.Known() != 0 || len(c.disk.records) != 1 {
			t.Errorf("Health says %v; %d known, %d kept", err, c.registry.Known(), len(c.disk.records))
		}
		left := 0
		for _, change := range c.told.all() {
			if change.Type == Left {
				left++
			}
		}
		if left != sessions {
			t.Errorf("%d left, want %d", left, sessions)
		}
		if most > before+50 {
			t.Errorf("%d goroutines, %d before", most, before)
		}
		if got := len(heir.bodies(t, "a")); got != (sessions+9)/10 {
			t.Errorf("%d wills", got)
		}
	})
}

type listenerFunc func(Change)

func (f listenerFunc) Changed(c Change) { f(c) }

// Others have their turn with the lock while many alarms ring.
func TestAlarmsRingSomeAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		r := s.registry
		rung := 0
		r.mu.Lock()
		defer r.mu.Unlock()
		for range 3*ringAtOnce + 1 {
			r.setAlarm(time.Now(), func() { rung++ })
		}
		for i := 1; r.ringSome(); i++ {
			if rung != i*ringAtOnce {
				t.Fatalf("%d rang in turn %d", rung, i)
			}
		}
		if rung != 3*ringAtOnce+1 || len(r.alarms.heap) != 0 {
			t.Errorf("%d rang, %d are left", rung, len(r.alarms.heap))
		}
	})
}

// In order, at their time, and not if they were stopped, in whatever order they
// were set.
func TestAlarms(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		r := s.registry
		began := time.Now()
		var rung []time.Duration
		set := make(map[time.Duration]*alarm)
		r.mu.Lock()
		for _, seconds := range []int{7, 3, 9, 1, 5, 8, 2, 6, 4} {
			after := time.Duration(seconds) * time.Second
			set[after] = r.setAlarm(began.Add(after), func() {
				if late := time.Since(began) - after; late != 0 {
					t.Errorf("%v late", late)
				}
				rung = append(rung, after)
			})
		}
		r.stopAlarm(set[time.Second])
		r.stopAlarm(set[8*time.Second])
		r.stopAlarm(set[8*time.Second])
		r.mu.Unlock()
		time.Sleep(time.Minute)
		r.mu.Lock()
		r.stopAlarm(set[2*time.Second])
		r.mu.Unlock()
		if got := fmt.Sprint(rung); got != "[2s 3s 4s 5s 6s 7s 9s]" {
			t.Errorf("rang %s", got)
		}
	})
}

// Nothing of a session that returned, or left, waits for its time.
func TestNoAlarmStays(t *testing.T) {
	inBubbleWith(t, Settings{Grace: time.Hour, Rooms: rooms}, func(t *testing.T, s *server) {
		alarms := func() int {
			s.registry.mu.Lock()
			defer s.registry.mu.Unlock()
			return len(s.registry.alarms.heap)
		}
		will := []string{stomp.ClientDataHeader, "1", willDestinationHeader, "/topic/wills", willDelayHeader, "600"}
		who := s.connect(t, "mina-0001", will...)
		who.subscribe(roomA, "1")
		token := who.token(t)
		who.hangUp(1006)
		settle()
		if got := alarms(); got != 2 {
			t.Errorf("%d alarms of a lost session", got)
		}
		back := s.comeBack(t, stomp.Handshake{}, token)
		settle()
		if got := alarms(); got != 1 { // its rooms
			t.Errorf("%d alarms of one that returned", got)
		}
		back.disconnect()
		settle()
		if got := alarms(); got != 0 {
			t.Errorf("%d alarms of one that left", got)
		}
	})
}
