package boltstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/presence/boltstore"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// wire is a client's connection that goes nowhere.
type wire struct {
	session *stomp.Session
	once    sync.Once
	write   func([]*stomp.Message)
}

func (w *wire) Write(batch []*stomp.Message) error {
	if w.write != nil {
		w.write(batch)
	}
	return nil
}
func (*wire) Ping() error { return nil }
func (w *wire) Close(code int, _ string) {
	go w.once.Do(func() { w.session.Closed(stomp.Ending{Code: code}) })
}
func (w *wire) Abort() { w.Close(1006, "") }

func (w *wire) connect(endpoint *stomp.Endpoint, user string, connect []byte) (err error) {
	w.session, err = endpoint.NewSession(w, &stomp.Handshake{User: user, RemoteAddr: "192.0.2.1:4711", Transport: "websocket"})
	if err != nil {
		return err
	}
	return w.session.Receive(connect, false)
}

// connectFrame is CONNECT with client data, or without.
func connectFrame(data string) []byte {
	h := frame.Header{{Name: frame.HdrAcceptVersion, Value: "1.2"}, {Name: frame.HdrHost, Value: "test"}}
	if data != "" {
		h = append(h, frame.Field{Name: stomp.ClientDataHeader, Value: data})
	}
	return frame.Append(nil, frame.V12, &frame.Frame{Command: frame.Connect, Header: h})
}

var whoIsThere = connectFrame(`{"name":"somebody","color":"#aabbcc"}`)

// A dialer connects the i-th client, who says in the CONNECT frame who it is.
// What it returns ends the connection.
type dialer func(i int) (hangUp func(), err error)

// inMemory connects without a network.
func inMemory(_ testing.TB, endpoint *stomp.Endpoint) dialer {
	return func(i int) (func(), error) {
		w := new(wire)
		err := w.connect(endpoint, fmt.Sprint("user-", i), whoIsThere)
		return w.Abort, err
	}
}

// webSockets connects over the loopback.
func webSockets(tb testing.TB, endpoint *stomp.Endpoint) dialer {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := websocket.Accept(w, r, websocket.Config{}, func(t stomp.Transport) (stomp.Receiver, error) {
			return endpoint.NewSession(t, &stomp.Handshake{User: r.Header.Get("User"), RemoteAddr: r.RemoteAddr, Transport: "websocket"})
		})
		if err != nil {
			tb.Error(err)
		}
	}))
	tb.Cleanup(server.Close)
	return func(i int) (func(), error) {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			return nil, err
		}
		buf := make([]byte, 1<<10)
		for _, say := range [][]byte{
			fmt.Appendf(nil, "GET /ws HTTP/1.1\r\nHost: test\r\nUser: user-%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", i),
			append([]byte{0x81, 0x80 | 126, byte(len(whoIsThere) >> 8), byte(len(whoIsThere)), 0, 0, 0, 0}, whoIsThere...),
		} {
			if _, err := conn.Write(say); err != nil {
				return nil, err
			}
			if _, err := conn.Read(buf); err != nil { // 101, CONNECTED
				return nil, err
			}
		}
		return func() { _ = conn.Close() }, nil
	}
}

// connects is how long it takes until n connections are told of to somebody who
// listens.
func connects(tb testing.TB, store presence.Store, n int, over func(testing.TB, *stomp.Endpoint) dialer) (wall, cpu time.Duration) {
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
	var told atomic.Int64
	all := make(chan struct{})
	listener := &wire{write: func(batch []*stomp.Message) {
		here := 0
		for _, m := range batch {
			here += bytes.Count(m.Data, []byte(`"type":"joined"`))
		}
		if here > 0 && told.Add(int64(here)) == int64(n) {
			close(all)
		}
	}}
	err = errors.Join(listener.connect(endpoint, "", connectFrame("")), listener.session.Receive(frame.Append(nil, frame.V12, &frame.Frame{
		Command: frame.Subscribe, Header: frame.Header{{Name: frame.HdrDestination, Value: "/topic/presence"}, {Name: frame.HdrID, Value: "p"}},
	}), false))
	if err != nil {
		tb.Fatal(err)
	}
	dial, hangUps := over(tb, endpoint), make([]func(), n)
	runtime.GC()
	cpu, begin := processorTime(tb), time.Now()
	var next atomic.Int64
	var dialers sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		dialers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				hangUp, err := dial(i)
				if err != nil {
					tb.Error(err)
					return
				}
				hangUps[i] = hangUp
			}
		})
	}
	dialers.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
	<-all
	wall, cpu = time.Since(begin), processorTime(tb)-cpu
	if store != nil {
		if err := r.Health(); err != nil {
			tb.Fatal(err)
		}
	}
	r.SetStore(nil) // what is kept there stays
	listener.Abort()
	for _, hangUp := range hangUps {
		hangUp()
	}
	for len(b.Sessions()) > 0 {
		time.Sleep(time.Millisecond)
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
	for _, bb := range []struct {
		name string
		n    int
		over func(testing.TB, *stomp.Endpoint) dialer
	}{{"memory", 20_000, inMemory}, {"websocket", 5_000, webSockets}} {
		b.Run(bb.name, func(b *testing.B) {
			var wall, cpu [2]time.Duration
			connects(b, nil, bb.n, bb.over) // warms up
			rounds := 0
			for b.Loop() {
				rounds++
				for i, store := range []presence.Store{nil, openFile(b, path(b)).Store("test")} {
					w, c := connects(b, store, bb.n, bb.over)
					wall[i] += w
					cpu[i] += c
				}
			}
			all := float64(rounds * bb.n)
			b.ReportMetric(all/wall[0].Seconds(), "without/s")
			b.ReportMetric(all/wall[1].Seconds(), "with/s")
			b.ReportMetric(float64(cpu[0].Microseconds())/all, "without-cpu-µs")
			b.ReportMetric(float64(cpu[1].Microseconds())/all, "with-cpu-µs")
			b.ReportMetric(wall[0].Seconds()/wall[1].Seconds(), "wall-ratio")
			b.ReportMetric(cpu[0].Seconds()/cpu[1].Seconds(), "cpu-ratio")
		})
	}
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
			store := openFile(b, path(b)).Store("test")
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
