package stomp

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
)

// directory knows who has which session id: the connected, the recently ended,
// so that an id is not used twice in a row, and, without an id, those who have
// not sent CONNECT yet.
type directory struct {
	seed   maphash.Seed
	shards [directoryShards]directoryShard

	mu         sync.Mutex
	connecting map[*Session]struct{}
}

const (
	directoryShards = 64
	recentPerShard  = 64 // ids of ended sessions
)

type directoryShard struct {
	mu        sync.RWMutex
	connected map[string]*Session
	recent    [recentPerShard]string // ring
	oldest    int
}

func (d *directory) init() {
	d.seed = maphash.MakeSeed()
	d.connecting = make(map[*Session]struct{})
	for i := range d.shards {
		d.shards[i].connected = make(map[string]*Session)
	}
}

func (d *directory) shard(id string) *directoryShard {
	return &d.shards[maphash.String(d.seed, id)%directoryShards]
}

// claim gives id to s unless somebody has it, or, if it is a fresh id, recently
// had it.
func (d *directory) claim(id string, s *Session, fresh bool) bool {
	sh := d.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, taken := sh.connected[id]; taken {
		return false
	}
	if !fresh {
		sh.connected[id] = s
		return true
	}
	for _, recent := range &sh.recent {
		if recent == id {
			return false
		}
	}
	sh.connected[id] = s
	return true
}

// release ends a claim.
func (d *directory) release(id string) {
	sh := d.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.connected, id)
	sh.recent[sh.oldest] = id
	sh.oldest = (sh.oldest + 1) % recentPerShard
}

func (d *directory) get(id string) *Session {
	sh := d.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.connected[id]
}

func (d *directory) all() []*Session {
	var all []*Session
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.RLock()
		for _, s := range sh.connected {
			all = append(all, s)
		}
		sh.mu.RUnlock()
	}
	return all
}

func (d *directory) arrive(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connecting[s] = struct{}{}
}

// depart takes s from those who have not sent CONNECT yet.
func (d *directory) depart(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.connecting, s)
}

// everyone is all, and those who have not sent CONNECT yet.
// The connecting come first: who connects meanwhile is in both, not in none.
func (d *directory) everyone() []*Session {
	d.mu.Lock()
	everyone := slices.Collect(maps.Keys(d.connecting))
	d.mu.Unlock()
	return append(everyone, d.all()...)
}
