package presence

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// hangingStore is a store whose disk does not answer for a while.
type hangingStore struct {
	mu    sync.Mutex
	hangs chan struct{} // nil: it does not
	last  *Batch        // with sessions in it
}

func (s *hangingStore) hang() (answer func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hangs := make(chan struct{})
	s.hangs = hangs
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hangs = nil
		close(hangs)
	}
}

func (s *hangingStore) wait() {
	s.mu.Lock()
	hangs := s.hangs
	s.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
}

func (s *hangingStore) Load() (*Kept, error) { return new(Kept), nil }
func (s *hangingStore) Clear() error         { return nil }
func (s *hangingStore) Health() error        { s.wait(); return nil }
func (s *hangingStore) Commit(b *Batch) error {
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b.Put) > 0 { // or it only marks what was told
		s.last = b
	}
	return nil
}

// inTime fails if something is not done within a time.
func inTime(t *testing.T, what string, within time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(24 * time.Hour):
	}
	if took := time.Since(began); took > within {
		t.Errorf("%s took %s", what, took)
	}
}

// Attack on everything at once: a disk that does not answer, neither with
// success nor with an error, as network disks do.
func TestHangingStore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		store := new(hangingStore)
		s.registry.Open(store)
		watcher := s.peer(t, announceAt)
		answer := store.hang()
		c := s.connect(t, "session-1")
		inTime(t, "a registration", commitWithin, func() {
			if err := c.register(`{"clientData":1}`, frame.HdrReceipt, "r"); err != nil {
				t.Error(err)
			}
		})
		settle()
		wantStrings(t, "told", watcher.told(t, "a"), "joined session-1")
		if s.registry.Health() == nil {
			t.Error("a store that hangs is healthy")
		}
		inTime(t, "a registration in memory", 0, func() { _ = c.register(`{"clientData":2}`) })
		answer()
		time.Sleep(2 * retryEvery)
		if err := s.registry.Health(); err != nil {
			t.Errorf("after the store has answered: %v", err)
		}
		inTime(t, "a registration afterwards", time.Second, func() { _ = c.register(`{"clientData":3}`) })
		if kept := store.last.Put; len(kept) != 1 || string(kept[0].ClientData) != "3" {
			t.Errorf("kept %+v", store.last)
		}
		s.registry.Close()
	})
}

func TestHangingStoreAtTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		store := new(hangingStore)
		s.registry.Open(store)
		s.connect(t, "session-1", stomp.ClientDataHeader, "1")
		settle()
		defer store.hang()()
		s.registry.Keep()
		s.broker.Endpoints()[0].Close(1012, "")
		inTime(t, "Close", commitWithin, s.registry.Close)
	})
}

func TestHangingStoreIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		store, next := new(hangingStore), new(hangingStore)
		s.registry.Open(store)
		c := s.connect(t, "session-1")
		defer store.hang()()
		if err := c.register(`{"clientData":1}`); err != nil {
			t.Fatal(err)
		}
		inTime(t, "going over to another store", 2*commitWithin, func() {
			if before := s.registry.SetStore(next); before != nil {
				t.Error("a store that somebody still writes to is given back")
			}
		})
		if err := s.registry.Health(); err != nil {
			t.Errorf("the next store: %v", err)
		}
		// and to one that hangs
		answer := next.hang()
		inTime(t, "going over to memory", 2*commitWithin, func() { s.registry.SetStore(nil) })
		answer()
		hanging := new(hangingStore)
		defer hanging.hang()()
		inTime(t, "going over to a store that hangs", 3*commitWithin, func() { s.registry.SetStore(hanging) })
		if s.registry.Health() == nil {
			t.Error("a store that hangs is healthy")
		}
		s.registry.Close()
	})
}

// The registry is nobody's to lock while a disk is asked, or is given everything.
func TestNobodyWaitsForTheDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		store := new(hangingStore)
		s.registry.Open(store)
		answer := store.hang()
		go s.registry.Health()
		synctest.Wait()
		inTime(t, "CONNECT while health is asked", 0, func() { s.dial(t, stomp.Handshake{SessionID: "session-1"}).connect() })
		answer()

		next := new(hangingStore)
		answer = next.hang()
		go s.registry.SetStore(next)
		synctest.Wait()
		inTime(t, "CONNECT while another store is filled", 0, func() { s.dial(t, stomp.Handshake{SessionID: "session-2"}).connect() })
		answer()
		time.Sleep(time.Minute)
		s.registry.Close()
	})
}

// What is gathered for the store does not wait for the end of its time when the
// process does not.
func TestEndDoesNotGather(t *testing.T) {
	inBubbleWith(t, Settings{Sync: time.Hour}, func(t *testing.T, s *server) {
		store := new(hangingStore)
		s.registry.Open(store)
		s.connect(t, "session-1", stomp.ClientDataHeader, "1")
		settle()
		inTime(t, "Close", time.Second, s.registry.Close)
		if store.last == nil || len(store.last.Put) != 1 {
			t.Errorf("kept %+v", store.last)
		}
	})
}

// slowLoad is a store whose disk does not answer when it is read.
type slowLoad struct {
	*hangingStore
	t *testing.T
}

func (s slowLoad) Load() (*Kept, error) {
	s.wait()
	return new(Kept), nil
}

func (s slowLoad) Commit(*Batch) error {
	s.t.Error("written, although it could not be read")
	return nil
}

// A broker starts although its disk does not answer, and says so.
func TestHangingStoreAtTheBeginning(t *testing.T) {
	t.Run("when it is read", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server) {
			store := slowLoad{new(hangingStore), t}
			answer := store.hang()
			inTime(t, "Open", loadWithin, func() { s.registry.Open(store) })
			if err := s.registry.Health(); !errors.Is(err, errSlowLoad) {
				t.Errorf("Health says %v", err)
			}
			s.connect(t, "session-1", stomp.ClientDataHeader, "1")
			settle()
			wantTypes(t, "in memory", s.told.types("session-1"), Connected, Joined)
			answer()
			time.Sleep(time.Minute)
			s.registry.Close()
		})
	})
	t.Run("when it is written", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server) {
			store := new(hangingStore)
			answer := store.hang()
			go func() {
				time.Sleep(time.Second)
				inTime(t, "asking for a session while a store is opened", 0, func() { s.registry.Get("session-1") })
			}()
			inTime(t, "Open", commitWithin, func() { s.registry.Open(store) })
			if err := s.registry.Health(); !errors.Is(err, errSlowStore) {
				t.Errorf("Health says %v", err)
			}
			s.connect(t, "session-1", stomp.ClientDataHeader, "1")
			settle()
			wantTypes(t, "in memory", s.told.types("session-1"), Connected, Joined)
			answer()
			time.Sleep(2 * retryEvery)
			if err := s.registry.Health(); err != nil || store.last == nil || len(store.last.Put) != 1 {
				t.Errorf("when it has answered: Health says %v, kept %+v", err, store.last)
			}
			s.registry.Close()
		})
	})
}

// hangingLog is a log that hangs with the disk.
type hangingLog struct {
	slog.Handler
	lines chan string
}

func (h hangingLog) Handle(_ context.Context, r slog.Record) error {
	h.lines <- r.Message
	return nil
}

type alwaysOn struct{ slog.Handler }

func (alwaysOn) Enabled(context.Context, slog.Level) bool { return true }

// The log may be on the same disk.
func TestNobodyWaitsForTheLog(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		log := hangingLog{alwaysOn{slog.DiscardHandler}, make(chan string)}
		c.registry.SetLogger(slog.New(log))
		c.store.hook(func(*Batch) error { return errDisk })
		c.connect(t, "session-1", stomp.ClientDataHeader, "1")
		settle()
		inTime(t, "Health", 0, func() {
			if err := c.registry.Health(); !errors.Is(err, errDisk) {
				t.Errorf("Health says %v", err)
			}
		})
		c.store.hook(nil)
		time.Sleep(2 * retryEvery)
		inTime(t, "Health", 0, func() {
			if err := c.registry.Health(); err != nil {
				t.Errorf("Health says %v", err)
			}
		})
		go c.registry.Degrade(errDisk)
		synctest.Wait()
		inTime(t, "Get", 0, func() { c.registry.Get("session-1") })
		var lines []string
		for range 3 {
			lines = append(lines, <-log.lines)
		}
		slices.Sort(lines)
		wantStrings(t, "logged", lines, "the presence store is of no use; presence goes on in memory",
			"the presence store is written again", "there is no presence store; presence is in memory only")
	})
}
