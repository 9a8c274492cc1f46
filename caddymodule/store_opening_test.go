package caddymodule

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// hangingOpener opens when the disk answers.
type hangingOpener struct {
	answers, closed chan struct{}
}

func (o hangingOpener) Open(string) (presence.Store, io.Closer, error) {
	<-o.answers
	return nil, o, nil
}

func (o hangingOpener) Close() error {
	close(o.closed)
	return nil
}

// A disk that does not answer does not keep a configuration from its start: the
// broker says that it is degraded, and what is opened late is closed.
func TestStoreThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := hangingOpener{make(chan struct{}), make(chan struct{})}
		c := &claim{opener: o, drain: time.Second, logger: slog.New(slog.DiscardHandler)}
		began := time.Now()
		if err := c.take("a store that does not open"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != openTimeout {
			t.Errorf("it took %s to start", took)
		}
		if err := c.running.registry.Health(); !errors.Is(err, errOpenTimeout) {
			t.Errorf("Health says %v", err)
		}
		c.release(false)
		close(o.answers)
		synctest.Wait()
		select {
		case <-o.closed:
		default:
			t.Error("what was opened late stays open")
		}
	})
}
