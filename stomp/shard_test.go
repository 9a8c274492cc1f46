package stomp

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// valve is a transport that can write without waiting, as far as there is room.
type valve struct {
	room func() int // for how many messages; fewer than there are: it is full

	mu     sync.Mutex
	got    []string
	tries  int
	writes int
	left   bool // of what was tried: only Write may follow
	wait   chan struct{}
	wrong  []string
}

// ample is the room of a socket that is never full.
func ample() int { return 1 << 30 }

func (v *valve) TryWrite(batch []*Message) (int, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tries++
	if v.left {
		v.wrong = append(v.wrong, "tried again before the rest was written")
	}
	n := min(v.room(), len(batch))
	v.take(batch[:n])
	v.left = n < len(batch)
	return n, v.left, nil
}

func (v *valve) Write(batch []*Message) error {
	v.mu.Lock()
	wait := v.wait
	v.mu.Unlock()
	if wait != nil {
		<-wait
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writes++
	v.left = false
	v.take(batch)
	return nil
}

func (v *valve) take(batch []*Message) {
	for _, m := range batch {
		if head, body, _ := strings.Cut(string(m.Data), "\n\n"); !strings.HasPrefix(head, "CONNECTED") {
			command, _, _ := strings.Cut(head, "\n")
			v.got = append(v.got, command+" "+strings.TrimSuffix(body, "\x00"))
		}
	}
}

func (v *valve) note(what string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.got = append(v.got, what)
	return nil
}

func (v *valve) Ping() error              { return v.note("ping") }
func (v *valve) Close(code int, _ string) { _ = v.note(fmt.Sprint("close ", code)) }
func (v *valve) Abort()                   {}

// opens says how much room there is from now on, and what Write waits for.
func (v *valve) opens(room func() int, wait chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.room, v.wait = room, wait
}

// counts are how often TryWrite and Write were called since the last time.
func (v *valve) counts() (tries, writes int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	tries, writes = v.tries, v.writes
	v.tries, v.writes = 0, 0
	return tries, writes
}

func (v *valve) expect(t *testing.T, want ...string) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Equal(v.got, want) {
		t.Errorf("got %q, want %q", v.got, want)
	}
	if v.wrong != nil {
		t.Error(v.wrong)
	}
	v.got = nil
}

// subscriber is a session that reads /topic/a through the transport.
func subscriber(t testing.TB, e *Endpoint, transport Transport) *Session {
	t.Helper()
	s := open(t, e, transport)
	say(t, s, "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00")
	return s
}

// A session whose socket is full is written to by a goroutine of its own, until
// all is written; then by its worker again. The order stays.
func TestFullSocketIsHandedOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := NewBroker(Config{})
		e := b.Endpoint("/", unlimited())
		v := &valve{room: ample}
		subscriber(t, e, v)
		sender := open(t, e, discard{})
		publish := func(bodies ...string) {
			for _, body := range bodies {
				say(t, sender, "SEND\ndestination:/topic/a\n\n%s\x00", body)
			}
			synctest.Wait()
		}
		for round := range 3 {
			v.opens(ample, nil)
			synctest.Wait() // until CONNECTED is written
			v.counts()
			publish("1")
			if tries, writes := v.counts(); tries != 1 || writes != 0 {
				t.Errorf("round %d: %d tries, %d writes with room", round, tries, writes)
			}
			full := make(chan struct{})
			v.opens(func() int { return 0 }, full)
			publish("2")
			publish("3", "4")
			if tries, writes := v.counts(); tries != 1 || writes != 0 {
				t.Errorf("round %d: %d tries, %d writes when it is full", round, tries, writes)
			}
			v.expect(t, "MESSAGE 1")
			v.opens(ample, full)
			close(full)
			synctest.Wait()
			v.expect(t, "MESSAGE 2", "MESSAGE 3", "MESSAGE 4")
			if tries, writes := v.counts(); tries != 0 || writes != 2 {
				t.Errorf("round %d: %d tries, %d writes when there is room again", round, tries, writes)
			}
			publish("5")
			v.expect(t, "MESSAGE 5")
			if tries, writes := v.counts(); tries != 1 || writes != 0 {
				t.Errorf("round %d: %d tries, %d writes afterwards", round, tries, writes)
			}
		}
	})
}

// The close comes after everything that was queued, whoever writes it.
func TestCloseAfterEverything(t *testing.T) {
	for _, room := range []int{0, 1, 1 << 30} {
		t.Run(fmt.Sprint("room for ", room), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				e := NewBroker(Config{}).Endpoint("/", unlimited())
				v := &valve{room: func() int { return room }, wait: make(chan struct{})}
				s, sender := subscriber(t, e, v), open(t, e, discard{})
				say(t, sender, "SEND\ndestination:/topic/a\n\n1\x00SEND\ndestination:/topic/a\n\n2\x00")
				s.End(End{Reason: ReasonPolicy, Text: "enough"})
				close(v.wait)
				synctest.Wait()
				v.expect(t, "MESSAGE 1", "MESSAGE 2", "ERROR ", "close 1008")
			})
		})
	}
}

// Pings may have to wait, hence they are not the worker's.
func TestPingOfAQuickTransport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := unlimited()
		p.PingTimeout = 30 * time.Second
		e := NewBroker(Config{}).Endpoint("/", p)
		v := &valve{room: ample}
		s := open(t, e, v)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		v.expect(t, "ping")
		s.Alive()
		say(t, s, "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\x00")
		synctest.Wait()
		v.expect(t, "RECEIPT ")
	})
}

// quickBrittle is a valve that panics when it writes a MESSAGE.
type quickBrittle struct {
	*valve
	aborted *atomic.Bool
}

func (q quickBrittle) Abort() { q.aborted.Store(true) }

func (q quickBrittle) TryWrite(batch []*Message) (int, bool, error) {
	for _, m := range batch {
		if bytes.HasPrefix(m.Data, []byte("MESSAGE")) {
			panic("brittle")
		}
	}
	return q.valve.TryWrite(batch)
}

// A panic in a worker ends the session whose turn it was, and no other one's.
func TestPanicInAWorker(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := new(bytes.Buffer)
		b := NewBroker(Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
		b.shards.all = b.shards.all[:1]
		e := b.Endpoint("/", unlimited())
		var aborted atomic.Bool
		before, after := &valve{room: ample}, &valve{room: ample}
		subscriber(t, e, before)
		fragile := subscriber(t, e, quickBrittle{&valve{room: ample}, &aborted})
		subscriber(t, e, after)
		sender := open(t, e, discard{})
		for range 2 {
			say(t, sender, "SEND\ndestination:/topic/a\n\nx\x00")
			synctest.Wait()
		}
		if !aborted.Load() || fragile.connectedNow() || b.Stats().Ends[ReasonInternalError] != 1 {
			t.Errorf("aborted %v, connected %v, %v", aborted.Load(), fragile.connectedNow(), b.Stats().Ends)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "brittle") {
			t.Errorf("%d errors were logged: %s", n, log)
		}
		before.expect(t, "MESSAGE x", "MESSAGE x")
		after.expect(t, "MESSAGE x", "MESSAGE x")
	})
}

// endless is a valve whose session is given another message with each that is
// written, until it is told to stop.
type endless struct {
	*valve
	session *Session
	stop    atomic.Bool
}

func (e *endless) TryWrite(batch []*Message) (int, bool, error) {
	if !e.stop.Load() {
		e.session.send(&Message{Data: []byte("MESSAGE\n\nmore\x00")})
	}
	return e.valve.TryWrite(batch)
}

// Whoever always has something queued has a turn like the others of the shard.
func TestEndlessBacklogLeavesOthersTheirTurn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := NewBroker(Config{})
		b.shards.all = b.shards.all[:1]
		e := b.Endpoint("/", unlimited())
		busy := &endless{valve: &valve{room: ample}}
		s, err := e.NewSession(busy, &Handshake{})
		if err != nil {
			t.Fatal(err)
		}
		busy.session = s
		t.Cleanup(func() { s.Closed(Ending{Code: 1000}) })
		say(t, s, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00") // from here on it is written to

		other := &valve{room: ample}
		subscriber(t, e, other)
		sender := open(t, e, discard{})
		say(t, sender, "SEND\ndestination:/topic/a\n\nx\x00")
		for told := false; !told; runtime.Gosched() {
			other.mu.Lock()
			told = len(other.got) > 0
			other.mu.Unlock()
		}
		busy.stop.Store(true)
		synctest.Wait()
		other.expect(t, "MESSAGE x")
	})
}

// The worker waits for nobody who has a session's lock: that of one that reads a
// feed is asked for, and a goroutine waits for it.
func TestWorkerWaitsForNoSession(t *testing.T) {
	b := newTestBroker(t)
	b.shards.all = b.shards.all[:1]
	e := b.Endpoint("/", unlimited())
	b.SetMounts(mounted{"/feed": feedMount{NewFeed(FeedConfig{})}})
	held, other := &valve{room: ample}, &valve{room: ample}
	s := subscriber(t, e, held)
	say(t, s, "SUBSCRIBE\nid:2\ndestination:/feed\n\n\x00")
	subscriber(t, e, other)
	sender := open(t, e, discard{})

	arrived := func(v *valve, n int) {
		t.Helper()
		for start := time.Now(); ; runtime.Gosched() {
			v.mu.Lock()
			got := len(v.got)
			v.mu.Unlock()
			if got == n {
				return
			}
			if time.Since(start) > 30*time.Second {
				t.Fatalf("%d messages arrived, want %d", got, n)
			}
		}
	}
	s.mu.Lock()
	for i := range 3 {
		say(t, sender, "SEND\ndestination:/topic/a\n\n%d\x00", i)
		arrived(other, i+1)
	}
	s.mu.Unlock()
	arrived(held, 3)
	held.expect(t, "MESSAGE 0", "MESSAGE 1", "MESSAGE 2")
}

// Many publish to many whose sockets are full now and then: everybody gets
// everything once, what one published in its order.
func TestShardsUnderLoad(t *testing.T) {
	b := newTestBroker(t)
	e := b.Endpoint("/", unlimited())
	b.SetDestinations(DefaultDestinations())
	const readers, senders, each = 50, 4, 200
	valves := make([]*valve, readers)
	for i := range valves {
		valves[i] = &valve{room: func() int {
			if rand.IntN(4) > 0 {
				return 1 << 30
			}
			return rand.IntN(3)
		}}
		subscriber(t, e, valves[i])
	}
	var wg sync.WaitGroup
	for i := range senders {
		s := open(t, e, discard{})
		wg.Go(func() {
			for n := range each {
				say(t, s, "SEND\ndestination:/topic/a\n\n%d %d\x00", i, n)
			}
		})
	}
	wg.Wait()
	for i, v := range valves {
		for start := time.Now(); ; runtime.Gosched() {
			v.mu.Lock()
			n := len(v.got)
			v.mu.Unlock()
			if n == senders*each {
				break
			}
			if n > senders*each || time.Since(start) > 30*time.Second {
				t.Fatalf("reader %d has %d messages of %d", i, n, senders*each)
			}
		}
		var next [senders]int
		for _, m := range v.got {
			var sender, n int
			if _, err := fmt.Sscanf(m, "MESSAGE %d %d", &sender, &n); err != nil || n != next[sender] {
				t.Fatalf("reader %d: %q, want number %d", i, m, next[sender])
			}
			next[sender]++
		}
		if v.wrong != nil {
			t.Error(v.wrong)
		}
	}
}

// sink is a quick transport that counts.
type sink struct {
	discard
	n *atomic.Int64
}

func (s sink) TryWrite(batch []*Message) (int, bool, error) {
	s.n.Add(int64(len(batch)))
	return len(batch), false, nil
}

// A message allocates for itself; its way to a thousand sockets, nothing.
func TestAllocationsUpToTheSocket(t *testing.T) {
	const readers = 1000
	b := newTestBroker(t)
	e := b.Endpoint("/", unlimited())
	var written atomic.Int64
	for range readers {
		subscriber(t, e, sink{n: &written})
	}
	sender := open(t, e, discard{})
	send := []byte("SEND\ndestination:/topic/a\n\nhello\x00")
	publish := func() {
		want := written.Load() + readers
		if err := sender.Receive(send, false); err != nil {
			t.Fatal(err)
		}
		for written.Load() < want {
			runtime.Gosched()
		}
	}
	for written.Load() < readers { // CONNECTED
		runtime.Gosched()
	}
	publish()
	allocs := testing.AllocsPerRun(100, publish)
	t.Logf("%v allocations a message to %d", allocs, readers)
	if raceEnabled {
		return // sync.Pool drops things at random
	}
	// queues that are in use at the same time come from the pool, which a
	// garbage collection empties
	if allocs > readers/4 {
		t.Errorf("%v allocations a message to %d", allocs, readers)
	}
}

// A message to a thousand sessions, until the last transport has it.
func BenchmarkFanOut(b *testing.B) {
	const readers = 1000
	broker := newTestBroker(b)
	e := broker.Endpoint("/", unlimited())
	var written atomic.Int64
	for range readers {
		subscriber(b, e, sink{n: &written})
	}
	sender := open(b, e, discard{})
	send := fmt.Appendf(nil, "SEND\ndestination:/topic/a\n\n%0128d\x00", 0)
	for written.Load() < readers { // CONNECTED
		runtime.Gosched()
	}
	b.ReportAllocs()
	for b.Loop() {
		want := written.Load() + readers
		if err := sender.Receive(send, false); err != nil {
			b.Fatal(err)
		}
		for written.Load() < want {
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*readers), "ns/delivery")
}
