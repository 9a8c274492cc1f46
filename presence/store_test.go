package presence

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// memoryStore is what outlives a process: a disk. It keeps everything as a file
// would, encoded.
type memoryStore struct {
	mu      sync.Mutex
	meta    Meta
	records map[string][]byte
	changes map[uint64][]byte
	events  map[uint64][]byte
	states  [][]byte // of announcers
	commits int
	clears  int

	loading error // what Load says
}

func newMemoryStore() *memoryStore {
	return &memoryStore{records: make(map[string][]byte), changes: make(map[uint64][]byte), events: make(map[uint64][]byte)}
}

// process is a store as one process has it open.
type process struct {
	*memoryStore
	// before is called before a batch is durable: it may take its time, or
	// fail.
	before atomic.Pointer[func(*Batch) error]
	dead   atomic.Bool
	busy   atomic.Int32
}

var errDead = errors.New("the process is dead")

func (m *memoryStore) open() *process { return &process{memoryStore: m} }

func (p *process) hook(before func(*Batch) error) {
	if before == nil {
		p.before.Store(nil)
		return
	}
	p.before.Store(&before)
}

func (p *process) enter() func() {
	if p.busy.Add(1) != 1 {
		panic("two at a time")
	}
	return func() { p.busy.Add(-1) }
}

func (p *process) Load() (*Kept, error) {
	defer p.enter()()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loading != nil {
		return nil, p.loading
	}
	kept := &Kept{Meta: p.meta}
	for _, id := range slices.Sorted(maps.Keys(p.records)) {
		kept.Records = append(kept.Records, decoded[Record](p.records[id]))
	}
	for _, seq := range slices.Sorted(maps.Keys(p.changes)) {
		kept.Changes = append(kept.Changes, decoded[KeptChange](p.changes[seq]))
	}
	for _, position := range slices.Sorted(maps.Keys(p.events)) {
		kept.Events = append(kept.Events, decoded[Event](p.events[position]))
	}
	for _, state := range p.states {
		kept.Announcers = append(kept.Announcers, decoded[AnnouncerState](state))
	}
	return kept, nil
}

func (p *process) Commit(b *Batch) error {
	defer p.enter()()
	if before := p.before.Load(); before != nil {
		if err := (*before)(b); err != nil {
			return err
		}
	}
	if p.dead.Load() {
		return errDead
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.Reset {
		clear(p.records)
		clear(p.changes)
		clear(p.events)
		p.states = nil
	}
	p.meta = b.Meta
	p.commits++
	for _, r := range b.Put {
		p.records[r.SessionID] = encoded(r)
	}
	for _, id := range b.Delete {
		delete(p.records, id)
	}
	for _, c := range b.Changes {
		p.changes[c.Seq] = encoded(c)
	}
	for _, position := range b.DeleteEvents {
		delete(p.events, position)
	}
	for _, e := range b.PutEvents {
		p.events[e.Position] = encoded(e)
	}
	if b.Announcers != nil {
		p.states = nil
		for _, state := range b.Announcers {
			p.states = append(p.states, encoded(state))
		}
	}
	maps.DeleteFunc(p.changes, func(seq uint64, _ []byte) bool { return seq <= b.Meta.Announced })
	return nil
}

func (p *process) Clear() error {
	defer p.enter()()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clears++
	p.meta = Meta{}
	clear(p.records)
	clear(p.changes)
	clear(p.events)
	p.states = nil
	return nil
}

// seq is that of the last change that is durable.
func (m *memoryStore) seq() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta.Seq
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func decoded[T any](b []byte) *T {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		panic(err)
	}
	return v
}

// computer is where processes run one after the other, with one disk.
type computer struct {
	disk     *memoryStore
	settings Settings
	*server
	store      *process
	dead       []*server
	announcers []AnnouncerConfig // of the next process
	logged     *logLines         // what processes log; nil: nobody looks
}

func newComputer(t testing.TB, settings Settings) *computer {
	t.Helper()
	c := &computer{disk: newMemoryStore(), settings: settings}
	c.boot(t)
	return c
}

func (c *computer) boot(t testing.TB) {
	t.Helper()
	c.server = newServerWith(t, c.settings, registryItself)
	c.store = c.disk.open()
	if c.logged != nil {
		c.registry.SetLogger(c.logged.logger())
	}
	c.registry.SetAnnouncers(c.announcers)
	c.registry.Open(c.store)
}

// crash ends the process: what it does afterwards, nobody sees.
func (c *computer) crash() {
	c.store.dead.Store(true)
	c.registry.SetListener(nil)
	c.registry.mu.Lock()
	c.registry.silent, c.registry.closed = true, true
	c.registry.mu.Unlock()
	cut(c.registry)
	c.dead = append(c.dead, c.server)
	c.server.close()
}

// exit ends the process as planned.
func (c *computer) exit() bool {
	kept := c.registry.Keep()
	for _, s := range c.broker.Sessions() {
		s.End(stomp.End{Reason: stomp.ReasonServerShutdown})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if kept {
		c.registry.StopAnnouncers(ctx)
	}
	c.registry.Close()
	c.registry.StopAnnouncers(ctx)
	c.dead = append(c.dead, c.server)
	c.server.close()
	return kept
}

func onComputer(t *testing.T, settings Settings, test func(t *testing.T, c *computer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(morning))
		c := newComputer(t, settings)
		defer func() {
			c.registry.Close()
			cut(c.registry)
			c.server.close()
		}()
		test(t, c)
	})
}

// cut ends what the registry has to do with its announcers, at once.
func cut(r *Registry) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.StopAnnouncers(ctx)
}
