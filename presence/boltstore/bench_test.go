package boltstore_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/presence/boltstore"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// wire is a client's connection that goes nowhere.
type wire struct {
	session *stomp.Session
	once    sync.Once
}

func (*wire) Write([]*stomp.Message) error { return nil }
func (*wire) Ping() error                  { return nil }
func (w *wire) Close(code int, _ string) {
	go w.once.Do(func() { w.session.Closed(stomp.Ending{Code: code}) })
}
func (w *wire) Abort() { w.Close(1006, "") }

// connects is a broker with a registry, and how long it takes until that many
// connections, each of which says who it is in its CONNECT frame, are told of.
func connects(tb testing.TB, store presence.Store, n int) (wall, cpu time.Duration) {
	tb.Helper()
	r, err := presence.NewRegistry(presence.Config{
		Settings: presence.Settings{Register: "/ws", Announce: "/topic/presence"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	b := stomp.NewBroker(stomp.Config{Name: "test", Observer: r, Logger: slog.New(slog.DiscardHandler)})
	b.SetMounts(r)
	r.Bind(b)
	policy := stomp.DefaultPolicy()
	policy.Limits.Sessions = 1 << 30
	policy.Limits.FramesPerSecond, policy.Limits.SessionsPerUser, policy.Limits.SessionsPerAddress = -1, -1, -1
	endpoint := b.Endpoint("test", policy)
	if store != nil {
		r.Open(store)
	}
	connect := frame.Append(nil, frame.V12, &frame.Frame{Command: frame.Connect, Header: frame.Header{
		{Name: frame.HdrAcceptVersion, Value: "1.2"}, {Name: frame.HdrHost, Value: "test"},
		{Name: stomp.ClientDataHeader, Value: `{"name":"somebody","color":"#aabbcc"}`},
	}})
	wires := make([]*wire, n)
	runtime.GC()
	cpu, begin := processorTime(tb), time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				w := new(wire)
				wires[i] = w
				session, err := endpoint.NewSession(w, &stomp.Handshake{User: fmt.Sprint("user-", i), RemoteAddr: "192.0.2.1:4711", Transport: "websocket"})
				if err != nil {
					tb.Error(err)
					return
				}
				w.session = session
				if err := session.Receive(connect, false); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	all.Wait()
	for r.Announced() < uint64(n) {
		if tb.Failed() {
			tb.FailNow()
		}
		time.Sleep(100 * time.Microsecond)
	}
	wall, cpu = time.Since(begin), processorTime(tb)-cpu
	if store != nil {
		if err := r.Health(); err != nil {
			tb.Fatal(err)
		}
	}
	r.SetStore(nil) // what is kept there stays
	for _, w := range wires {
		w.once.Do(func() { w.session.Closed(stomp.Ending{Code: 1006}) })
	}
	r.Close()
	return wall, cpu
}

func openFile(tb testing.TB, path string) *boltstore.File {
	tb.Helper()
	f, err := boltstore.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f
}

// Connects per second with the file and without, in turn.
func BenchmarkConnects(b *testing.B) {
	const n = 20_000
	var wall, cpu [2]time.Duration
	connects(b, nil, n) // warms up
	for b.Loop() {
		for i, store := range []presence.Store{nil, openFile(b, filepath.Join(b.TempDir(), "presence.db")).Store("test")} {
			w, c := connects(b, store, n)
			wall[i] += w
			cpu[i] += c
		}
	}
	perSecond := func(d time.Duration) float64 { return float64(b.N*n) / d.Seconds() }
	b.ReportMetric(perSecond(wall[0]), "without/s")
	b.ReportMetric(perSecond(wall[1]), "with/s")
	b.ReportMetric(wall[0].Seconds()/wall[1].Seconds(), "wall-ratio")
	b.ReportMetric(cpu[0].Seconds()/cpu[1].Seconds(), "cpu-ratio")
}

func benchBatch(first, n int) *presence.Batch {
	at := time.Date(2030, 1, 2, 3, 4, 5, 678901234, time.UTC)
	batch := &presence.Batch{Meta: presence.Meta{Stream: "stream-1", Key: make([]byte, 32), Seq: uint64(first + n), Announced: uint64(first), Alive: at}}
	for i := range n {
		r := &presence.Record{
			SessionID: fmt.Sprintf("session-%017d", (first+i)%10_000), User: fmt.Sprint("user-", i), ConnectedAt: at, Broker: "test", Endpoint: "test",
			ClientData: json.RawMessage(`{"name":"somebody","color":"#aabbcc"}`), Transport: "websocket", Version: "1.2", RemoteAddr: "192.0.2.1:4711", Epoch: 1,
		}
		batch.Put = append(batch.Put, r)
		batch.Changes = append(batch.Changes, &presence.KeptChange{Session: r, Type: presence.Joined, Seq: uint64(first + i + 1), At: at, UserSessions: 1})
	}
	return batch
}

// A commit of so many sessions that have joined, while those before are marked
// as announced.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			store := openFile(b, filepath.Join(b.TempDir(), "presence.db")).Store("test")
			b.ReportAllocs()
			cpu := processorTime(b)
			first := 0
			for b.Loop() {
				if err := store.Commit(benchBatch(first, n)); err != nil {
					b.Fatal(err)
				}
				first += n
			}
			b.ReportMetric(float64((processorTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}
