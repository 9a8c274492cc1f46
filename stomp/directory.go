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
	connecting map[*Session]string // their address
	addresses  map[string]int      // how many of connecting
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
	d.connecting = make(map[*Session]string)
	d.addresses = make(map[string]int)
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

// arrive counts a new connection, unless a limit says no.
func (d *directory) arrive(s *Session, l *Limits) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	address := s.handshake.Address
	if err := d.full(address, l); err != nil {
		return err
	}
	d.connecting[s] = address
	count(d.addresses, address, 1)
	return nil
}

// full says which limit one more connection would be beyond, if any. With d.mu
// held.
func (d *directory) full(address string, l *Limits) error {
	if n := l.Connecting; n >= 0 && len(d.connecting) >= n {
		return busy("connecting", n)
	}
	if n := l.ConnectingPerAddress; n >= 0 && address != "" && d.addresses[address] >= n {
		return busy("connecting_per_address", n)
	}
	return nil
}

// busy is a limit that a client need only wait for.
func busy(limit string, max int) error {
	e := LimitExceeded(limit, max)
	e.Code = 1013
	return e
}

// depart takes s from those who have not sent CONNECT yet: it has, or is gone.
func (d *directory) depart(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if address, ok := d.connecting[s]; ok {
		delete(d.connecting, s)
		count(d.addresses, address, -1)
	}
}

// everyone is all, and those who have not sent CONNECT yet.
// The connecting come first: who connects meanwhile is in both, not in none.
func (d *directory) everyone() []*Session {
	d.mu.Lock()
	everyone := slices.Collect(maps.Keys(d.connecting))
	d.mu.Unlock()
	return append(everyone, d.all()...)
}
