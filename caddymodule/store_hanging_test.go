package caddymodule

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// hangingCloser closes when the disk answers.
type hangingCloser chan struct{}

func (c hangingCloser) Close() error {
	<-c
	return nil
}

// A disk that does not answer stops neither a reload nor an exit.
func TestStoreThatDoesNotClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(hangingCloser)
		defer close(hangs)
		began := time.Now()
		(&openStore{closer: hangs}).close()
		if took := time.Since(began); took > storeTimeout {
			t.Errorf("closing took %s", took)
		}
		if err := inTime(hangs.Close); !errors.Is(err, errStoreTimeout) {
			t.Errorf("emptying: %v", err)
		}
		if err := inTime(func() error { return errNoSpace }); !errors.Is(err, errNoSpace) {
			t.Errorf("an answer: %v", err)
		}
	})
}
