package caddymodule

import (
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

func init() { caddy.RegisterModule(new(faultyModule)) }

var errNoSpace = errors.New("no space left on the test's device")

// faultyStore is a store in memory that fails as a test says.
type faultyStore struct {
	mu                         sync.Mutex
	open, load, commit, health error
	commits                    int
	meta                       presence.Meta
	records                    map[string]*presence.Record
	changes                    []*presence.KeptChange // that were not told
}

// faulty is the store that faultyModule opens.
var faulty *faultyStore

func newFaultyStore() *faultyStore {
	faulty = &faultyStore{records: make(map[string]*presence.Record)}
	return faulty
}

func (s *faultyStore) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *faultyStore) Load() (*presence.Kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.load != nil {
		return nil, s.load
	}
	return &presence.Kept{Meta: s.meta, Records: slices.Collect(maps.Values(s.records)), Changes: s.changes}, nil
}

func (s *faultyStore) Commit(b *presence.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	if s.commit != nil {
		return s.commit
	}
	if b.Reset {
		clear(s.records)
	}
	s.meta = b.Meta
	for _, r := range b.Put {
		s.records[r.SessionID] = r
	}
	for _, id := range b.Delete {
		delete(s.records, id)
	}
	return nil
}

func (s *faultyStore) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.records)
	return nil
}

func (s *faultyStore) Health() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// faultyModule is the module of it.
type faultyModule struct{}

func (*faultyModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.stores.stomptest_faulty", New: func() caddy.Module { return new(faultyModule) }}
}

func (*faultyModule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (*faultyModule) Open(string) (presence.Store, io.Closer, error) {
	faulty.mu.Lock()
	defer faulty.mu.Unlock()
	if faulty.open != nil {
		return nil, nil, faulty.open
	}
	return faulty, io.NopCloser(nil), nil
}
