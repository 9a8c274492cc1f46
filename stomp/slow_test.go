package stomp_test

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// A client that does not read: it is ended when too much waits for it, told
// so if it still listens, dropped if not. Nobody else notices.
func TestSlowConsumer(t *testing.T) {
	for _, thaws := range []bool{true, false} {
		t.Run(fmt.Sprint("thaws ", thaws), func(t *testing.T) {
			bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 10_000}}, func(t *testing.T, w *world) {
				slow, pipe, _ := w.connect(t)
				slow.Subscribe("1", "/topic/a")
				reader, _, _ := w.connect(t)
				reader.Subscribe("1", "/topic/a")
				sender, _, _ := w.connect(t)

				pipe.Freeze()
				const n = 50
				start := time.Now()
				for i := range n {
					sender.Publish("/topic/a", body(1000), fmt.Sprintf("n:%d", i))
					reader.Expect(frame.Message, fmt.Sprintf("n:%d", i))
				}
				within(t, "published", time.Since(start), 0, 0)
				e := w.observer.ExpectEnd(t, stomp.ReasonSlowConsumer)
				within(t, "ended", e.At.Sub(start), 0, 0)
				if e.Code != 1013 {
					t.Errorf("code %d", e.Code)
				}
				if dropped := w.Stats().Dropped; dropped == 0 || dropped > n {
					t.Errorf("%d messages counted as dropped of %d", dropped, n)
				}
				if thaws {
					pipe.Thaw()
					f := slow.Receive()
					for f.Command == frame.Message { // was being written
						f = slow.Receive()
					}
					if f.Command != frame.Error || f.Header.Get("message") != "slow consumer" {
						t.Errorf("got %v", f)
					}
					slow.ExpectClose(1013)
				} else {
					time.Sleep(stomp.CloseTimeout + time.Millisecond)
					synctest.Wait()
					if !pipe.State().Aborted || w.Connections() != 2 {
						t.Errorf("%d connections, %+v", w.Connections(), pipe.State())
					}
				}
				sender.ExpectNothing()
				reader.ExpectNothing()
			})
		})
	}
}

// A message larger than the limit is not its reader's fault.
func TestLargeMessageAlone(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 1000}}, func(t *testing.T, w *world) {
		reader, _, _ := w.connect(t)
		reader.Subscribe("1", "/topic/a")
		sender, _, _ := w.connect(t)
		for range 3 {
			sender.Publish("/topic/a", body(50_000))
			if f := reader.Expect(frame.Message); len(f.Body) != 50_000 {
				t.Errorf("%d bytes", len(f.Body))
			}
			synctest.Wait()
		}
		reader.ExpectNothing()
	})
}

// What is allowed to wait is delivered whole and in order once the client
// reads on, and in few writes.
func TestPendingWithinLimit(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		reader, pipe, _ := w.connect(t)
		reader.Subscribe("1", "/topic/a")
		sender, _, _ := w.connect(t)
		pipe.Freeze()
		before := pipe.State().Writes
		const n = 800
		for i := range n {
			sender.Publish("/topic/a", body(1000), fmt.Sprintf("n:%d", i))
		}
		sender.ExpectNothing()
		pipe.Thaw()
		for i := range n {
			reader.Expect(frame.Message, fmt.Sprintf("n:%d", i))
		}
		if writes := pipe.State().Writes - before; writes > 2 {
			t.Errorf("%d writes", writes)
		}
		reader.ExpectNothing()
	})
}

// The bytes that wait are given back when they were written.
func TestPendingIsGivenBack(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Pending: 5000}}, func(t *testing.T, w *world) {
		reader, pipe, _ := w.connect(t)
		reader.Subscribe("1", "/topic/a")
		sender, _, _ := w.connect(t)
		for range 100 {
			pipe.Freeze()
			for range 4 {
				sender.Publish("/topic/a", body(900))
			}
			synctest.Wait()
			pipe.Thaw()
			for range 4 {
				reader.Expect(frame.Message)
			}
			synctest.Wait()
		}
		reader.ExpectNothing()
	})
}

func TestWriteErrors(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason stomp.Reason
	}{
		{syscall.ECONNRESET, stomp.ReasonConnectionLost},
		{syscall.EPIPE, stomp.ReasonConnectionLost},
		{net.ErrClosed, stomp.ReasonConnectionLost},
		{os.ErrDeadlineExceeded, stomp.ReasonSlowConsumer},
		{fmt.Errorf("writing: %w", os.ErrDeadlineExceeded), stomp.ReasonSlowConsumer},
		{&net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, stomp.ReasonSlowConsumer},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, stomp.ReasonConnectionLost},
	} {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			reader, pipe, s := w.connect(t)
			reader.Subscribe("1", "/topic/a")
			sender, _, _ := w.connect(t)
			pipe.Fail(tt.err)
			sender.Publish("/topic/a", "x")
			if e := w.observer.ExpectEnd(t, tt.reason); e.Err == nil {
				t.Errorf("%v: no error in %+v", tt.err, e)
			}
			synctest.Wait()
			if !pipe.State().Aborted || w.Session(s.ID()) != nil {
				t.Errorf("%v: not dropped: %+v", tt.err, pipe.State())
			}
			sender.ExpectNothing()
		})
	}
}
