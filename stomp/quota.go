package stomp

import "sync"

// quota counts the sessions of a broker, by user and by address.
type quota struct {
	mu               sync.Mutex
	sessions, max    int // max 0: no limit
	users, addresses map[string]int
}

func (q *quota) init() { q.users, q.addresses = make(map[string]int), make(map[string]int) }

// enter counts a session, unless a limit says no.
func (q *quota) enter(hs *Handshake, l *Limits) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.max > 0 && q.sessions >= q.max {
		return LimitExceeded("sessions of the broker", q.max)
	}
	if n := l.SessionsPerUser; n >= 0 && hs.User != "" && q.users[hs.User] >= n {
		return LimitExceeded("sessions_per_user", n)
	}
	if n := l.SessionsPerAddress; n >= 0 && hs.Address != "" && q.addresses[hs.Address] >= n {
		return LimitExceeded("sessions_per_address", n)
	}
	q.sessions++
	count(q.users, hs.User, 1)
	count(q.addresses, hs.Address, 1)
	return nil
}

func (q *quota) leave(hs *Handshake) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sessions--
	count(q.users, hs.User, -1)
	count(q.addresses, hs.Address, -1)
}

func (q *quota) limit(max int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.max = max
}

func count(m map[string]int, key string, n int) {
	if key == "" {
		return
	}
	if m[key] += n; m[key] == 0 {
		delete(m, key)
	}
}
