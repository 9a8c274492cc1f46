package presence

import "sync"

// errands are done one after the other, in order, by a goroutine that lives
// while there are any: whoever sends one waits for none, and may hold
// Registry.mu.
type errands struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

func (e *errands) do(errand func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, errand)
	if !e.running {
		e.running = true
		go e.run()
	}
}

func (e *errands) run() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 {
		now := e.queue
		e.queue = nil
		e.mu.Unlock()
		for i, errand := range now {
			now[i] = nil
			errand()
		}
		e.mu.Lock()
	}
	e.running = false
}
