package websocket

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// opened is a server whose connections are given to the test.
func opened(t testing.TB) (*server, stomp.Transport, *stomptest.Client) {
	transports := make(chan stomp.Transport, 1)
	s := newServer(t, Config{}, nil)
	s.open = func(tr stomp.Transport) { transports <- tr }
	c, _ := s.dial(t)
	return s, <-transports, c
}

// messages are n frames of that many bytes.
func messages(n, size int) []*stomp.Message {
	all := make([]*stomp.Message, n)
	for i := range all {
		all[i] = &stomp.Message{Data: frame.Append(nil, frame.V12, stomptest.Frame(frame.Message, strings.Repeat("x", size), fmt.Sprintf("n:%d", i)))}
	}
	return all
}

// What is queued goes out together: law 6 of the design.
func TestOneWriteABatch(t *testing.T) {
	s, transport, c := opened(t)
	for _, tt := range []struct{ n, size, most int }{
		{1, 10, 1},
		{1, 10_000, 1},
		{100, 100, 1},
		{1000, 100, 5}, // 150 KB, in parts of 64 KiB
		{3, 60_000, 4},
	} {
		before := s.writes.Load()
		if err := transport.Write(messages(tt.n, tt.size)); err != nil {
			t.Fatal(err)
		}
		if writes := s.writes.Load() - before; writes == 0 || writes > int64(tt.most) {
			t.Errorf("%d messages of %d bytes went out in %d writes, want %d at most", tt.n, tt.size, writes, tt.most)
		}
		for i := range tt.n {
			if f := c.Expect(frame.Message, fmt.Sprintf("n:%d", i)); len(f.Body) != tt.size {
				t.Fatalf("message %d has %d bytes", i, len(f.Body))
			}
		}
	}
}

// While one write is under way messages pile up, and then go out together.
func TestFewWritesUnderLoad(t *testing.T) {
	s := newServer(t, Config{}, nil)
	reader, _ := s.dial(t)
	reader.Connect()
	reader.Subscribe("1", "/topic/a")
	sender, _ := s.dial(t)
	sender.Connect()
	const n = 5000
	before := s.writes.Load()
	sender.Raw(strings.Repeat("SEND\ndestination:/topic/a\n\nhello\x00", n))
	for range n {
		reader.Expect(frame.Message)
	}
	writes := s.writes.Load() - before
	t.Logf("%d messages went out in %d writes", n, writes)
	if writes > n/2 {
		t.Errorf("%d messages went out in %d writes", n, writes)
	}
}

// A connection with nothing to write holds no buffer.
func TestIdleHoldsNoBuffer(t *testing.T) {
	_, transport, c := opened(t)
	if err := transport.Write(messages(100, 1000)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c.Expect(frame.Message)
	}
	out := transport.(*conn).out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.buf != nil {
		t.Errorf("a buffer of %d bytes is kept", cap(*out.buf))
	}
}

func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, transport, c := opened(b)
			c.Connect()
			batch := messages(n, 100)
			var received sync.WaitGroup
			received.Go(func() {
				for range b.N * n {
					c.Receive()
				}
			})
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := transport.Write(batch); err != nil {
					b.Fatal(err)
				}
			}
			received.Wait()
		})
	}
}
