package presence

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

var errDisk = errors.New("disk full")

// gate makes commits wait until it is opened, with what they then return.
type gate chan error

func (p *process) gated() gate {
	g := make(gate)
	p.hook(func(*Batch) error { return <-g })
	return g
}

// A change is told when it is committed, not before, and marked after that.
func TestToldAfterTheCommit(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		peer := c.peer(t, announceAt, registerAt)
		g := c.store.gated()
		who := c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		settle()
		if got := c.told.types("mina-0001"); got != nil || len(peer.bodies(t, "a")) != 0 || len(peer.bodies(t, "b")) != 1 {
			t.Errorf("told before the commit: %v", got)
		}
		late := c.peerAt(t, registerAt)
		settle()
		if p := late.picture(t, "a"); len(p.sessions) != 0 || p.seq != 0 {
			t.Errorf("in the roster before the commit: %+v", p.sessions)
		}
		who.hangUp(1000)
		settle()
		g <- nil
		settle()
		wantTypes(t, "after the first commit", c.told.types("mina-0001"), Connected, Joined)
		close(g)
		settle()
		wantTypes(t, "after the second", c.told.types("mina-0001"), Connected, Joined, Left)
		wantStrings(t, "peer", peer.told(t, "a"), "joined mina-0001", "left mina-0001")
		time.Sleep(2 * aliveEvery)
		synctest.Wait()
		if c.disk.meta.Announced != 2 || len(c.disk.changes) != 0 || len(c.disk.records) != 3-1 {
			t.Errorf("kept: %+v, %d changes, %d records", c.disk.meta, len(c.disk.changes), len(c.disk.records))
		}
	})
}

// The RECEIPT of a registration says that it is committed.
func TestReceiptWaitsForTheCommit(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{{"committed", nil}, {"failed", errDisk}} {
		t.Run(tt.name, func(t *testing.T) {
			onComputer(t, Settings{}, func(t *testing.T, c *computer) {
				who := c.connect(t, "mina-0001")
				settle()
				g := c.store.gated()
				go who.register(`{"clientData":1}`, frame.HdrReceipt, "r")
				settle()
				receipts := func() (n int) {
					for _, f := range who.frames(t) {
						if f.Command == frame.Receipt {
							n++
						}
					}
					return n
				}
				if receipts() != 0 {
					t.Error("RECEIPT before the commit")
				}
				g <- tt.err
				settle()
				if receipts() != 1 {
					t.Error("no RECEIPT")
				}
				close(g)
			})
		})
	}
}

// What comes while a commit is under way shares the next.
func TestCommitsAreShared(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		g := c.store.gated()
		c.connect(t, "first-0001", stomp.ClientDataHeader, `0`)
		synctest.Wait()
		before := c.disk.commits
		for i := range 100 {
			c.connect(t, fmt.Sprintf("session-%03d", i), stomp.ClientDataHeader, `1`)
		}
		synctest.Wait()
		close(g)
		synctest.Wait()
		time.Sleep(writeEvery)
		synctest.Wait()
		if got := c.disk.commits - before; got != 2 {
			t.Errorf("%d commits", got)
		}
		if got := len(c.told.all()); got != 202 {
			t.Errorf("told %d changes", got)
		}
	})
}

// Sync gathers for that long.
func TestSync(t *testing.T) {
	onComputer(t, Settings{Sync: 50 * time.Millisecond}, func(t *testing.T, c *computer) {
		before := c.disk.commits
		for i := range 10 {
			c.connect(t, fmt.Sprintf("session-%03d", i), stomp.ClientDataHeader, `1`)
			time.Sleep(4 * time.Millisecond)
		}
		if len(c.told.all()) != 0 {
			t.Error("told before the commit")
		}
		time.Sleep(11 * time.Millisecond)
		synctest.Wait()
		if got := c.disk.commits - before; got != 1 || len(c.told.all()) != 20 {
			t.Errorf("%d commits, told %d", got, len(c.told.all()))
		}
	})
}

// A store that fails stops nothing; it is tried again every 5 s, and is then
// given all there is.
func TestStoreFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*Batch) error
		when time.Duration // it counts as failed
	}{
		{"error", func(*Batch) error { return errDisk }, 0},
		{"hangs, then fails", func(*Batch) error { time.Sleep(20 * time.Second); return errDisk }, commitWithin + aliveEvery},
		{"hangs, then succeeds", func(*Batch) error { time.Sleep(20 * time.Second); return nil }, commitWithin + aliveEvery},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onComputer(t, Settings{Grace: time.Hour}, func(t *testing.T, c *computer) {
				if err := c.registry.Health(); err != nil {
					t.Fatal(err)
				}
				peer := c.peer(t, announceAt)
				c.connect(t, "before-01", stomp.ClientDataHeader, `1`)
				gone := c.connect(t, "gone-0001", stomp.ClientDataHeader, `1`)
				settle()
				c.store.hook(tt.fail)
				receipt := make(chan struct{})
				who := c.connect(t, "mina-0001")
				go func() { who.register(`{"clientData":1}`); close(receipt) }()
				gone.disconnect()
				time.Sleep(tt.when)
				synctest.Wait()
				if err := c.registry.Health(); err == nil || tt.when == 0 && !errors.Is(err, errDisk) {
					t.Errorf("Health says %v", err)
				}
				select {
				case <-receipt:
				default:
					t.Error("the registration still waits")
				}
				c.connect(t, "during-01", stomp.ClientDataHeader, `1`)
				settle()
				wantStrings(t, "peer", slices.Sorted(slices.Values(peer.told(t, "a"))),
					"joined before-01", "joined during-01", "joined gone-0001", "joined mina-0001", "left gone-0001")
				if tt.when == 0 {
					commits := c.disk.commits
					time.Sleep(3 * retryEvery)
					synctest.Wait()
					if c.disk.commits != commits || c.registry.Health() == nil {
						t.Error("written all the same")
					}
				}
				c.store.hook(nil)
				time.Sleep(20*time.Second + 2*retryEvery) // what hangs ends
				synctest.Wait()
				if err := c.registry.Health(); err != nil {
					t.Errorf("Health says %v", err)
				}
				if ids := len(c.disk.records); ids != 4 || c.disk.records["gone-0001"] != nil || c.disk.records["during-01"] == nil {
					t.Errorf("%d records are kept", ids)
				}
				if c.disk.seq() != 5 || c.disk.meta.Announced != 5 {
					t.Errorf("kept %+v", c.disk.meta)
				}
				g := c.store.gated()
				c.connect(t, "after-001", stomp.ClientDataHeader, `1`)
				settle()
				if got := c.told.types("after-001"); got != nil {
					t.Errorf("told before the commit: %v", got)
				}
				close(g)
				settle()
				wantTypes(t, "after", c.told.types("after-001"), Connected, Joined)
			})
		})
	}
}

// A store that does not keep up counts as failed before the memory is full.
func TestTooManyWait(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		c.registry.updateEvery = 0
		who := c.connect(t, "mina-0001", stomp.ClientDataHeader, `0`)
		synctest.Wait()
		g := c.store.gated()
		c.registry.mu.Lock()
		for range maxJournal + 2 { // two may be on their way
			e := c.registry.entries["mina-0001"]
			c.registry.changeAll(e, Change{Type: Updated, At: time.Now()})
		}
		waiting := len(c.registry.journal.changes)
		c.registry.mu.Unlock()
		if waiting > maxJournal || c.registry.Health() != errSlowStore {
			t.Errorf("%d wait, Health says %v", waiting, c.registry.Health())
		}
		if got := len(c.told.all()); got != maxJournal+4 {
			t.Errorf("told %d", got)
		}
		close(g)
		who.disconnect()
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		if err := c.registry.Health(); err != nil || len(c.disk.records) != 0 {
			t.Errorf("Health says %v, %d records", err, len(c.disk.records))
		}
	})
}

// A registry may go over to another store, or to none and back, while changes
// flow: each is told once, in order, and what is told is in the store.
func TestSetStoreWhileChangesFlow(t *testing.T) {
	onComputer(t, Settings{Grace: time.Hour}, func(t *testing.T, c *computer) {
		stop, stopped := make(chan struct{}), make(chan struct{})
		slow := func(*Batch) error { time.Sleep(3 * time.Millisecond); return nil }
		c.store.hook(slow)
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				who := c.connect(t, fmt.Sprintf("session-%05d", i), stomp.ClientDataHeader, `1`)
				if i%2 == 0 {
					who.disconnect()
				}
			}
		}()
		for i := range 20 {
			time.Sleep(10 * time.Millisecond)
			var next Store
			if i%4 != 3 {
				p := newMemoryStore().open()
				p.hook(slow)
				next = p
			}
			before := c.registry.SetStore(next)
			if p, ok := before.(*process); ok {
				if p.busy.Load() != 0 {
					t.Error("the store before is still written")
				}
				p.hook(func(*Batch) error { t.Error("the store before is written again"); return nil })
			}
		}
		last := newMemoryStore().open()
		c.registry.SetStore(last)
		close(stop)
		<-stopped
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for i, seq := range seqs(c.told.all()) {
			if seq != uint64(i+1) {
				t.Fatalf("seq %d at %d", seq, i)
			}
		}
		for i := range c.clients {
			types := c.told.types(fmt.Sprintf("session-%05d", i))
			if want := []Type{Connected, Joined, Left}[:3-i%2]; !slices.Equal(types, want) {
				t.Errorf("session %d: told %v", i, types)
			}
		}
		if got, want := len(last.records), c.registry.Known(); got != want || want == 0 {
			t.Errorf("%d records for %d sessions", got, want)
		}
		if last.meta.Seq != last.meta.Announced || last.meta.Stream != streamName {
			t.Errorf("kept %+v", last.meta)
		}
	})
}

func seqs(changes []Change) (seqs []uint64) {
	for _, c := range changes {
		if c.Seq > 0 {
			seqs = append(seqs, c.Seq)
		}
	}
	return seqs
}

// While a registry goes over to a slow store, sessions come and go.
func TestSetStoreBlocksNobody(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		p := newMemoryStore().open()
		g := p.gated()
		done := make(chan struct{})
		go func() { c.registry.SetStore(p); close(done) }()
		synctest.Wait()
		c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`).disconnect() // would hang
		close(g)
		<-done
		synctest.Wait()
		wantTypes(t, "listener", c.told.types("mina-0001"), Connected, Joined, Left)
	})
}

// Health tells why there is no store, until there is one.
func TestDegrade(t *testing.T) {
	onComputer(t, Settings{}, func(t *testing.T, c *computer) {
		c.registry.Degrade(errDisk)
		if err := c.registry.Health(); err != nil {
			t.Errorf("with a store: %v", err)
		}
		c.registry.SetStore(nil)
		c.registry.Degrade(errDisk)
		if err := c.registry.Health(); !errors.Is(err, errDisk) {
			t.Errorf("without: %v", err)
		}
		c.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		wantTypes(t, "in memory", c.told.types("mina-0001"), Connected, Joined)
		c.registry.SetStore(c.store)
		if err := c.registry.Health(); err != nil || c.disk.records["mina-0001"] == nil {
			t.Errorf("with a store again: %v", err)
		}
	})
}
