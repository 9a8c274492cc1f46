package websocket_test

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// audience is receivers on loopback of which some do not read.
type audience struct {
	w      *world
	sender *stomptest.Client
	conns  []*gorilla.Conn

	mu   sync.Mutex
	sent time.Time
	all  []time.Duration
	left sync.WaitGroup
}

func newAudience(b *testing.B, receivers, stalled int) *audience {
	w, url := serve(b, stomp.DefaultPolicy(), websocket.Config{WriteTimeout: time.Hour})
	a := &audience{w: w}
	d := gorilla.Dialer{ReadBufferSize: 1 << 10, NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		if err == nil {
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) // what stalls does so soon
		}
		return c, err
	}}
	b.Cleanup(func() {
		for _, c := range a.conns {
			_ = c.Close()
		}
	})
	for i := range receivers {
		c, resp, err := d.Dial(url, nil)
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
		a.conns = append(a.conns, c)
		for _, f := range []string{
			"CONNECT\naccept-version:1.2\n\n\x00",
			"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00",
		} {
			if err := c.WriteMessage(gorilla.TextMessage, []byte(f)); err != nil {
				b.Fatal(err)
			}
			if _, _, err := c.ReadMessage(); err != nil { // CONNECTED, RECEIPT
				b.Fatal(err)
			}
		}
		if i >= stalled {
			go a.read(c)
		}
	}
	a.sender = stomptest.DialURL(b, url)
	a.sender.Connect()
	return a
}

func (a *audience) read(c *gorilla.Conn) {
	for {
		_, p, err := c.ReadMessage()
		if err != nil {
			return
		}
		now := time.Now()
		if bytes.HasPrefix(p, []byte(frame.Message)) {
			a.mu.Lock()
			a.all = append(a.all, now.Sub(a.sent))
			a.mu.Unlock()
			a.left.Done()
		}
	}
}

// latency is the 99th percentile until whoever reads has a message.
func (a *audience) latency(receivers, messages int) time.Duration {
	a.all = a.all[:0]
	for range messages {
		a.left.Add(receivers)
		a.mu.Lock()
		a.sent = time.Now()
		a.mu.Unlock()
		a.sender.Publish("/topic/a", fmt.Sprintf("%01000d", 0))
		a.left.Wait()
	}
	slices.Sort(a.all)
	return a.all[len(a.all)*99/100]
}

// 1,000 receivers on loopback of which 10 % do not read: what the others see
// of it, as the ratio of the 99th percentiles of latency. The two take turns,
// so that whatever else the machine does strikes both.
func BenchmarkStalledReaders(b *testing.B) {
	const receivers, stalled, messages = 1000, 100, 20
	well, ill := newAudience(b, receivers, 0), newAudience(b, receivers, stalled)
	before := ill.w.Stats().FramesOut
	const fill = 400
	ill.latency(receivers-stalled, fill) // fills the sockets of those who do not read
	if written := ill.w.Stats().FramesOut - before; written > (receivers-stalled/2)*fill {
		b.Fatalf("%d messages were written: nobody is stalled", written)
	}
	var without, with []time.Duration
	for b.Loop() {
		for range 5 {
			without = append(without, well.latency(receivers, messages))
			with = append(with, ill.latency(receivers-stalled, messages))
		}
	}
	if n := ill.w.Stats().Ends[stomp.ReasonSlowConsumer]; n > 0 {
		b.Logf("%d receivers were ended as slow consumers meanwhile", n)
	}
	median := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] }
	b.ReportMetric(float64(median(without).Microseconds()), "p99-µs-all-reading")
	b.ReportMetric(float64(median(with).Microseconds()), "p99-µs-10%-stalled")
	b.ReportMetric(float64(median(with))/float64(median(without)), "ratio")
}
