//go:build unix

package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// BenchmarkHangingWebhook measures what a receiver that never answers costs
// clients: in rounds that take turns, at two brokers of one Caddy of which one
// has such a webhook, how long it takes 100 sessions to connect, tell client data
// and leave, alone and until each of 100 readers has been told of all of them.
// "ratio" is the median of that of each two rounds, with the webhook to without,
// and "cpu-ratio" that of the processor time of all of them, clients included:
// what else the machine does has less of a part in it.
//
//	go test ./caddymodule -run '^$' -bench HangingWebhook -benchtime 200x
func BenchmarkHangingWebhook(b *testing.B) {
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	b.Cleanup(func() { hangs.CloseClientConnections(); hangs.Close() })
	port := freePort(b)
	config := strings.NewReplacer("$PORT", port, "$DIR", b.TempDir(), "$HOOK", hangs.URL).Replace(
		strings.Replace("{\n"+strings.Replace(global, "level DEBUG", "level WARN", 1)+"\n}\nhttp://localhost:$PORT {\nstomp /without {\nname without\ndrain 100ms\nping_timeout 10m\n$LIMITS\n}\n"+
			"stomp /with {\nname with\ndrain 100ms\nping_timeout 10m\nwebhook $HOOK\n$LIMITS\n}\n}\n", "$LIMITS", "limits {\nsessions_per_address 100000\nconnecting_per_address 100000\n}", 2))
	adapted, err := adapt(config)
	if err != nil {
		b.Fatal(err)
	}
	if err := caddy.Load([]byte(adapted), true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = caddy.Stop() })

	const sessions = 100
	for _, readers := range []int{0, 100} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			took, cpu := make(map[string][]time.Duration), make(map[string]time.Duration)
			paths := []string{"/without", "/with"}
			audiences := make(map[string]*audience)
			for _, path := range paths {
				audiences[path] = newAudience(b, port, path, readers)
			}
			for range b.N {
				for _, path := range paths {
					a := audiences[path]
					a.all.Add(readers)
					a.expect(sessions)
					began, used := time.Now(), processorTime(b)
					joinAndLeave(b, port, path, sessions)
					a.all.Wait()
					if err := a.failed.Load(); err != nil {
						b.Fatal(*err)
					}
					took[path] = append(took[path], time.Since(began))
					cpu[path] += processorTime(b) - used
				}
				slices.Reverse(paths)
			}
			ratios := make([]float64, b.N)
			for i := range ratios {
				ratios[i] = took["/with"][i].Seconds() / took["/without"][i].Seconds()
			}
			slices.Sort(ratios)
			for _, path := range paths {
				audiences[path].close()
				slices.Sort(took[path])
			}
			without, with := took["/without"][b.N/2], took["/with"][b.N/2]
			b.ReportMetric(sessions/without.Seconds(), "without/s")
			b.ReportMetric(sessions/with.Seconds(), "with/s")
			b.ReportMetric(ratios[b.N/2], "ratio")
			b.ReportMetric(float64(cpu["/with"])/float64(cpu["/without"]), "cpu-ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchSession opens a session that tells client data, or none.
func benchSession(port, path, frames string) (net.Conn, error) {
	nc, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(5 * time.Minute))
	head := strings.Replace(strings.ReplaceAll(handshake, "$PORT", port), "GET /ws ", "GET "+path+" ", 1)
	err = exchange(nc, head+"\r\n", "\r\n\r\n")
	if err == nil {
		err = exchange(nc, frames, "\x00")
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// joinAndLeave has so many sessions come and go, a few at a time.
func joinAndLeave(b *testing.B, port, path string, n int) {
	b.Helper()
	var all sync.WaitGroup
	errs := make(chan error, n)
	for range 4 {
		all.Go(func() {
			for range n / 4 {
				nc, err := benchSession(port, path, string(text("CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\nclient-data:{\"name\":\"Mina\"}\n\n\x00")))
				if err == nil {
					_, err = nc.Write(text("DISCONNECT\n\n\x00"))
					_ = nc.Close()
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
}

// audience is sessions that are told who joins.
type audience struct {
	conns  []net.Conn
	want   []chan int
	all    sync.WaitGroup // until each has been told
	failed atomic.Pointer[error]
}

func newAudience(b *testing.B, port, path string, n int) *audience {
	b.Helper()
	a := new(audience)
	for range n {
		nc, err := benchSession(port, path, string(text("CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\n\n\x00")))
		if err == nil {
			err = exchange(nc, string(text("SUBSCRIBE\nid:0\ndestination:/topic/presence\nreceipt:r\n\n\x00")), "\x00")
		}
		if err != nil {
			b.Fatal(err)
		}
		want := make(chan int)
		a.conns, a.want = append(a.conns, nc), append(a.want, want)
		go a.read(nc, want)
	}
	return a
}

// expect has each reader wait for so many who join.
func (a *audience) expect(n int) {
	for _, want := range a.want {
		want <- n
	}
}

func (a *audience) read(nc net.Conn, want <-chan int) {
	joined, buf, kept := []byte(`"type":"joined"`), make([]byte, 64<<10), 0
	for n := range want {
		for n > 0 {
			read, err := nc.Read(buf[kept:])
			if err != nil {
				a.failed.Store(&err)
				break
			}
			got := buf[:kept+read]
			n -= bytes.Count(got, joined)
			tail := got[max(0, len(got)-len(joined)+1):]
			kept = copy(buf, tail)
		}
		a.all.Done()
	}
}

func (a *audience) close() {
	for i, nc := range a.conns {
		close(a.want[i])
		_ = nc.Close()
	}
}
