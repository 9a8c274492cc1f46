package presence

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// call is one of an announcer.
type call struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// callGrace is how long a call may take to return after its context has ended.
const callGrace = time.Second

// finish returns when the call has, or soon after ctx ends.
func (c *call) finish(ctx context.Context) {
	select {
	case <-c.done:
		return
	case <-ctx.Done():
		c.cancel()
	}
	late := time.NewTimer(callGrace)
	defer late.Stop()
	select {
	case <-c.done:
	case <-late.C:
	}
}

// try calls the announcer. With o.mu held, which is released meanwhile.
func (d *delivery) try() {
	d.attempt++
	batch := EventBatch{ID: batchID(d.flight), Attempt: d.attempt, Events: slices.Clone(d.flight)}
	c := &call{done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	d.call = c
	guest, timeout, slots, circuit := d.guest, d.settings.Timeout, d.slots, d.circuit
	d.mu.Unlock()

	took, err := c.carryOut(guest, batch, timeout, slots)

	d.mu.Lock()
	d.call = nil
	interrupted := err != nil && c.ctx.Err() != nil // by us; it is no fault of the receiver
	c.cancel()
	close(c.done)
	if took > 0 {
		d.n.took(took)
	}
	if interrupted || len(d.flight) == 0 { // dropped while the announcer did not return
		d.attempt = max(0, d.attempt-1)
		circuit.leave()
		return
	}
	d.judge(err, circuit)
}

// carryOut makes the call; took is 0 if it was cut off before.
func (c *call) carryOut(a Announcer, b EventBatch, timeout time.Duration, slots chan struct{}) (took time.Duration, err error) {
	if slots != nil {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-c.ctx.Done():
			return 0, c.ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	began := time.Now()
	err = announce(ctx, a, b)
	return max(time.Since(began), 1), err
}

// judge decides what the end of a call means for the batch. With o.mu held,
// which is released meanwhile.
func (d *delivery) judge(err error, circuit *Circuit) {
	d.lastErr, d.lastAt = err, time.Now()
	rejected, isRejected := errors.AsType[*RejectedError](err)
	gone, isGone := errors.AsType[*GoneError](err)
	answered, opened := false, false
	if err == nil || isRejected || isGone {
		answered = circuit.ok()
	}
	switch {
	case err == nil:
		d.n.delivered += uint64(len(d.flight))
		d.let(d.flight)
		d.flight, d.row = nil, 0
	case isGone:
		d.unload()
		d.off = gone
	case isRejected && len(d.flight) > 1:
		n := len(d.flight)
		d.parts = append(d.parts, n-n/2, n/2)
		d.unload()
	case isRejected:
		d.reject(rejected)
	default:
		d.n.retried++
		var after time.Duration
		if retry, ok := errors.AsType[*RetryError](err); ok {
			after = retry.After
		}
		opened = circuit.failed(after)
	}
	switch {
	case isGone:
		d.tell(slog.LevelWarn, "the receiver wants no events any more; until the next configuration it gets none", "error", err)
	case answered:
		d.tell(slog.LevelInfo, "the announcer answers again")
	case opened:
		d.tell(slog.LevelWarn, "the announcer fails; events wait for it", "error", err)
	}
}

// reject makes the batch, which is one event, a dead letter. With o.mu held.
func (d *delivery) reject(err *RejectedError) {
	e := d.flight[0]
	d.bury(e, DeadLetter{Position: e.Position, Status: err.Status, Error: err.Error(), At: d.lastAt})
	d.let(d.flight)
	d.flight = nil
	d.n.rejected++
	d.rejects.add(1, d.outbox)
	if d.row++; d.row > patientFor {
		d.until = time.Now().Add(backoff(d.row - patientFor))
	}
}

// tell logs without the lock. With o.mu held.
func (d *delivery) tell(level slog.Level, message string, args ...any) {
	logger := d.logger
	d.mu.Unlock()
	defer d.mu.Lock()
	logger.Log(context.Background(), level, message, append([]any{"announcer", d.id}, args...)...)
}
