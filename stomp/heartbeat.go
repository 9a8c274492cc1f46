package stomp

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// clock is the zero of the time stamps below: nanoseconds, monotonic, in eight
// bytes instead of time.Time's 24. It lies so far back that no stamp is
// negative, not even in a test whose time is the year 2000.
var clock = time.Now().Add(-50 * 365 * 24 * time.Hour)

func stamp() int64 { return int64(time.Since(clock)) }

// beat is a session's account of silence in both directions. The stamps are
// written where bytes flow and read by the wheel: one atomic store a message
// is cheaper than moving a timer and a deadline.
type beat struct {
	lastOut, lastIn atomic.Int64
	// lastBytes is lastIn without pongs: a page in a back/forward cache, or
	// one that was frozen, runs no timers any more while its browser answers
	// pings.
	lastBytes atomic.Int64

	in  int64 // the peer is given up after 2 x in + 1s of silence
	out int64 // an EOL is due after that much silence of ours; 0: never
	// agreed says that in was negotiated; otherwise it stands for PingTimeout
	agreed bool
	pinged int64 // the lastIn that was answered with a ping; wheel goroutine only
}

// frozenAfter is how long a client that agreed to send heart-beats may answer
// pings only. Browsers throttle the timers of a hidden page to one a minute.
const frozenAfter = 3 * time.Minute

// frozen is the silence, but for pongs, after which a client that agreed to
// send heart-beats counts as gone.
func (b *beat) frozen() int64 { return max(int64(frozenAfter), 6*b.in) }

const (
	tick = 100 * time.Millisecond
	// margin is how much before its time an EOL is sent or silence noticed,
	// so that the wheel's coarseness never makes it late.
	margin = int64(tick + tick/2)
)

// giveUp is the silence after which the peer counts as gone: 2 x the interval
// + 1 s, the most that the design allows.
func (b *beat) giveUp() int64 { return 2*b.in + int64(time.Second) - margin }

// pingAt is the silence after which the peer is asked, on the WebSocket level,
// whether it is still there: browsers answer even when a page's timers are
// throttled.
func (b *beat) pingAt() int64 { return b.in + b.in/2 }

// outAt is the silence of ours after which an EOL is due.
func (b *beat) outAt() int64 {
	if b.out <= 2*margin {
		return b.out / 2
	}
	return b.out - margin
}

// agree sets the intervals from the client's heart-beat header and what the
// server offers, as STOMP 1.2 "Heart-beating" says: each direction runs at the
// larger of what one side can do and the other wants, or not at all.
func (b *beat) agree(clientSends, clientWants time.Duration, p *Policy) {
	b.in, b.out, b.agreed = 0, 0, false
	if clientWants > 0 && p.HeartBeatSend > 0 {
		b.out = int64(max(p.HeartBeatSend, clientWants))
	}
	if clientSends > 0 && p.HeartBeatReceive > 0 {
		b.in, b.agreed = int64(max(p.HeartBeatReceive, clientSends)), true
	} else {
		b.in = int64(p.PingTimeout-time.Second) / 2
	}
}

// maxHeartBeat keeps what a client asks for from overflowing.
const maxHeartBeat = 24 * time.Hour

// parseHeartBeat reads "<cx>,<cy>" in milliseconds; "" is "0,0".
func parseHeartBeat(v string) (sends, wants time.Duration, err error) {
	if v == "" {
		return 0, 0, nil
	}
	x, y, ok := strings.Cut(v, ",")
	cx, errX := strconv.ParseUint(strings.TrimSpace(x), 10, 63)
	cy, errY := strconv.ParseUint(strings.TrimSpace(y), 10, 63)
	if !ok || errX != nil || errY != nil {
		return 0, 0, protocolErrorf("heart-beat: expected two non-negative numbers of milliseconds like 10000,10000, got %q", v)
	}
	return milliseconds(cx), milliseconds(cy), nil
}

func milliseconds(n uint64) time.Duration {
	if n > uint64(maxHeartBeat/time.Millisecond) {
		return maxHeartBeat
	}
	return time.Duration(n) * time.Millisecond
}

// formatHeartBeat is the server's offer for the CONNECTED frame.
func formatHeartBeat(p *Policy) string {
	ms := func(d time.Duration) string { return strconv.FormatInt(max(0, d.Milliseconds()), 10) }
	return ms(p.HeartBeatSend) + "," + ms(p.HeartBeatReceive)
}
