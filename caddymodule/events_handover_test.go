package caddymodule

import (
	"sync"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// A reload puts another listener in force and then closes the event queue of
// the old configuration. A change that is just being told must have been told
// by then, or its event is lost: when SetListener has returned nobody is in
// the old listener any more.
func TestEventHandoverWaitsForTheOldListener(t *testing.T) {
	s := run(t, withLimit("1"))
	registry := live(t, "chat").registry
	old := &slowListener{entered: make(chan struct{}), release: make(chan struct{})}
	registry.SetListener(old)
	var all sync.WaitGroup
	defer all.Wait()
	defer close(old.release)
	all.Go(func() { comeAndGo(s.ws("/ws")) })
	<-old.entered

	replaced := make(chan struct{})
	all.Go(func() {
		registry.SetListener(nil)
		close(replaced)
	})
	select {
	case <-replaced:
		t.Error("SetListener returned while the old listener was being told of a change")
	case <-time.After(200 * time.Millisecond): // long enough for what does not wait
	}
}

type slowListener struct {
	once             sync.Once
	entered, release chan struct{}
}

func (l *slowListener) Changed(presence.Change) {
	l.once.Do(func() { close(l.entered) })
	<-l.release
}
