//go:build unix

package stomp

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// beats is a transport that counts the EOLs.
type beats struct {
	discard
	n *atomic.Int64
}

func (c beats) Write(batch []*Message) error {
	for _, m := range batch {
		if len(m.Data) == 1 {
			c.n.Add(1)
		}
	}
	return nil
}

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// 10,000 sessions with heart-beats of 10 s in both directions, and nothing
// else: the wheel, the EOLs of the server up to the transport, and those of the
// clients from there. What it costs, in real time, of one core.
func BenchmarkHeartBeats(b *testing.B) {
	const sessions, interval = 10_000, 10 * time.Second
	br := NewBroker(Config{})
	e := br.Endpoint("/", DefaultPolicy())
	var out atomic.Int64
	all := make([]*Session, sessions)
	for i := range all {
		s, err := e.NewSession(beats{n: &out}, new(Handshake))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Closed(Ending{Code: 1000}) })
		say(b, s, "CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\x00")
		all[i] = s
	}
	time.Sleep(100 * time.Millisecond) // CONNECTED is written
	now := stamp()
	for i, s := range all { // as if they had come one by one
		s.beat.lastIn.Store(now - int64(interval)*int64(i)/sessions)
		s.beat.lastOut.Store(now - s.beat.outAt()*int64(i)/sessions)
		br.wheel.schedule(s, s.beat.lastOut.Load()+s.beat.outAt())
	}
	var used, took time.Duration
	next := sessions - 1 // the one that was silent longest
	for b.Loop() {
		before, start, sent := cpu(b), time.Now(), 0
		for time.Since(start) < 4*time.Second {
			time.Sleep(10 * time.Millisecond)
			for ; sent < int(time.Since(start)*sessions/interval); sent++ {
				say(b, all[next], "\n")
				next = (next + sessions - 1) % sessions
			}
		}
		used += cpu(b) - before
		took += time.Since(start)
	}
	if n := len(br.Sessions()); n != sessions {
		b.Errorf("%d sessions are left of %d", n, sessions)
	}
	if rate := float64(out.Load()) / took.Seconds(); rate < 0.8*sessions/interval.Seconds() || rate > 1.3*sessions/interval.Seconds() {
		b.Errorf("%.0f heart-beats a second", rate)
	}
	b.ReportMetric(100*used.Seconds()/took.Seconds(), "%-of-a-core")
	b.ReportMetric(float64(out.Load())/took.Seconds(), "beats/s")
}
