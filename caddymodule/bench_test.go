package caddymodule

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var idleSessions = flag.Int("idle-sessions", 2000, "how many sessions BenchmarkIdleSession opens")

// BenchmarkIdleSession measures the memory that Caddy needs for one idle
// session: connected, with one subscription, access logs on. Beside it, in the
// same run, what a handler needs that blocks in ServeHTTP on a plain gorilla
// connection, as WebSocket handlers usually do.
//
//	go test ./caddymodule -run '^$' -bench IdleSession -idle-sessions 10000
//
// The server is a process of its own, so that only it is measured: its
// resident set, after all sessions are there, minus before. "rss" is after a
// garbage collection that gave free memory back to the system, "fresh-rss"
// before it; "heap" and "stack" are what the runtime has in use.
func BenchmarkIdleSession(b *testing.B) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		b.Skip("the resident set is read from /proc")
	}
	for _, transport := range []string{"plain", "tls"} {
		b.Run(transport, func(b *testing.B) {
			for range b.N {
				ours := measureIdle(b, transport, "/stomp")
				blocking := measureIdle(b, transport, "/blocking")
				b.ReportMetric(ours.rss, "rss-B/session")
				b.ReportMetric(ours.fresh, "fresh-rss-B/session")
				b.ReportMetric(ours.heap, "heap-B/session")
				b.ReportMetric(ours.stack, "stack-B/session")
				b.ReportMetric(blocking.rss, "blocking-rss-B/session")
				b.ReportMetric(blocking.fresh, "blocking-fresh-rss-B/session")
				b.ReportMetric(blocking.heap, "blocking-heap-B/session")
				b.ReportMetric(blocking.stack, "blocking-stack-B/session")
				b.ReportMetric(blocking.rss/ours.rss, "blocking/ours")
			}
			b.ReportMetric(0, "ns/op") // it is not time that is measured
		})
	}
}

// memory is in bytes; of one session where it is a difference.
type memory struct{ rss, fresh, heap, stack float64 }

func measureIdle(b *testing.B, transport, path string) memory {
	b.Helper()
	s := startIdleServer(b)
	const warm = 50 // what the first few need, all others share
	defer closeAll(openIdle(b, s, transport, path, warm))
	before := s.collected(b)
	defer closeAll(openIdle(b, s, transport, path, *idleSessions))
	fresh := s.rss(b)
	after := s.collected(b)
	n := float64(*idleSessions)
	return memory{
		rss: (after.rss - before.rss) / n, fresh: (fresh - before.rss) / n,
		heap: (after.heap - before.heap) / n, stack: (after.stack - before.stack) / n,
	}
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// openIdle opens sessions, a few at a time, and leaves them alone.
func openIdle(b *testing.B, s *idleServer, transport, path string, n int) []net.Conn {
	b.Helper()
	conns := make([]net.Conn, n)
	errs := make(chan error, n)
	var all sync.WaitGroup
	room := make(chan struct{}, 8)
	for i := range n {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			var err error
			if conns[i], err = openOne(s, transport, path); err != nil {
				errs <- err
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	return conns
}

const subscribeFrame = "SUBSCRIBE\nid:0\ndestination:/topic/news\nreceipt:r\n\n\x00"

// openOne opens one session. Nobody reads from it afterwards.
func openOne(s *idleServer, transport, path string) (net.Conn, error) {
	addr := "127.0.0.1:" + s.plain
	if transport == "tls" {
		addr = "127.0.0.1:" + s.tls
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if transport == "tls" {
		nc = tls.Client(nc, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
	}
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	head := strings.Replace(strings.ReplaceAll(handshake, "$PORT", addr[strings.LastIndex(addr, ":")+1:]), "GET /ws ", "GET "+path+" ", 1)
	for _, step := range []struct{ send, until string }{
		{head + "\r\n", "\r\n\r\n"},
		{string(text(connectFrame)), "\x00"},
		{string(text(subscribeFrame)), "\x00"},
	} {
		if err := exchange(nc, step.send, step.until); err != nil {
			nc.Close()
			return nil, fmt.Errorf("after %.20q: %w", step.send, err)
		}
	}
	return nc, nc.SetDeadline(time.Time{})
}

func exchange(nc net.Conn, send, until string) error {
	if _, err := nc.Write([]byte(send)); err != nil {
		return err
	}
	var got []byte
	var buf [512]byte
	for !bytes.Contains(got, []byte(until)) {
		n, err := nc.Read(buf[:])
		if err != nil {
			return fmt.Errorf("got %q: %w", got, err)
		}
		got = append(got, buf[:n]...)
	}
	return nil
}

// idleServer is this test binary as a server, see serveIdle.
type idleServer struct {
	plain, tls string // ports
	process    *exec.Cmd
	in         *os.File
	out        *bufio.Scanner
}

func startIdleServer(b *testing.B) *idleServer {
	b.Helper()
	s := &idleServer{plain: freePort(b), tls: freePort(b)}
	s.process = exec.Command(os.Args[0])
	s.process.Env = append(os.Environ(), serveIdleEnv+"="+s.plain+","+s.tls+","+b.TempDir())
	var stderr bytes.Buffer
	s.process.Stderr = &stderr
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	s.in, s.process.Stdin = w, r
	stdout, err := s.process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	s.out = bufio.NewScanner(stdout)
	if err := s.process.Start(); err != nil {
		b.Fatal(err)
	}
	r.Close()
	b.Cleanup(func() { // it ends with its input
		w.Close()
		_ = s.process.Wait()
	})
	if !s.out.Scan() {
		_ = s.process.Wait()
		b.Fatalf("the server did not start: %s", stderr.String())
	}
	return s
}

// rss reads the resident set of the server.
func (s *idleServer) rss(b *testing.B) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	fields := strings.Fields(rest)
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) * 1024
}

// collected reads the server's memory after a garbage collection.
func (s *idleServer) collected(b *testing.B) (m memory) {
	b.Helper()
	if _, err := s.in.WriteString("collect\n"); err != nil {
		b.Fatal(err)
	}
	if !s.out.Scan() {
		b.Fatal("the server is gone")
	}
	if _, err := fmt.Sscan(s.out.Text(), &m.heap, &m.stack); err != nil {
		b.Fatal(err)
	}
	m.rss = s.rss(b)
	return m
}
