package presence

import (
	"testing"
	"testing/synctest"
	"time"
)

// The time before the next try is doubled up to the most, half of it by chance.
func TestBackoff(t *testing.T) {
	want := firstBackoff
	for failures := 1; failures < 100; failures++ {
		shortest, longest := maxBackoff, time.Duration(0)
		for range 300 {
			d := backoff(failures)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if shortest < want/2 || longest > want {
			t.Errorf("after %d failures it is %v to %v, want %v to %v", failures, shortest, longest, want/2, want)
		}
		if shortest > want*6/10 || longest < want*9/10 {
			t.Errorf("after %d failures it is %v to %v, which is little chance", failures, shortest, longest)
		}
		want = min(2*want, maxBackoff)
	}
}

// A receiver that fails now and then is tried by whoever has something to tell;
// when it has failed for long, by one at a time, and the others wait for how that
// ends.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Circuit
		enter := func(what string, may bool) <-chan struct{} {
			t.Helper()
			wait, changed := c.enter()
			if (wait <= 0) != may {
				t.Errorf("%s: wait for %v", what, wait)
			}
			return changed
		}
		enter("closed", true)
		enter("closed, while another tries", true)
		for n := 1; n < openAfter; n++ {
			if c.failed(0) || c.state() != StateRetrying {
				t.Errorf("open after %d failures", n)
			}
			changed := enter("failed just now", false)
			time.Sleep(maxBackoff)
			select {
			case <-changed:
				t.Error("something is said to have changed")
			default:
			}
			enter("failed some time ago", true)
			enter("failed some time ago, while another tries", true)
		}
		if !c.failed(0) || c.state() != StateOpen {
			t.Error("it is not said to open")
		}
		time.Sleep(maxBackoff)
		enter("just open", true)
		enter("just open, while another tries", false)
		if c.failed(0) {
			t.Error("it is said to open twice")
		}
		for _, end := range []struct {
			name string
			do   func()
			may  bool
		}{
			{"was cut off", c.leave, true},
			{"failed again", func() { c.failed(0) }, false},
		} {
			time.Sleep(maxBackoff)
			enter("open", true)
			changed := enter("open, while another tries", false)
			end.do()
			<-changed
			enter("the try "+end.name, end.may)
			c.leave()
		}
		changed := enter("failed just now", false)
		c.hasten()
		<-changed
		enter("open, but hastened", true)
		changed = enter("open, while another tries", false)
		if !c.ok() || c.state() != StateOK || c.ok() {
			t.Error("that it closes is said once")
		}
		<-changed
		enter("closed again", true)
		enter("closed again, while another tries", true)
	})
}
