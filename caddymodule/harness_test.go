package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// The tests of this package that need a whole Caddy run one in this process,
// one after the other.

// server is the Caddy of a test: $PORT and $PORT2 in its Caddyfiles are free
// ports, $DIR is a directory, $GLOBAL global options, $TLS the argument of tls.
type server struct {
	t           *testing.T
	port, port2 string
	dir         string
}

const global = `admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	storage file_system $DIR/storage
	grace_period 1s
	log {
		output file $DIR/caddy.log {
			roll_disabled
		}
		format json
		level DEBUG
	}`

// run starts Caddy; it is stopped when the test ends, and must then have
// given back all brokers.
func run(t *testing.T, config string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "caddymodule")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, port: freePort(t), port2: freePort(t), dir: dir}
	// Caddy may still be writing a certificate
	t.Cleanup(func() { eventually(t, "removing "+dir, func() bool { return os.RemoveAll(dir) == nil }) })
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if pool := references(); len(pool) > 0 {
			t.Errorf("brokers that nobody has given back: %v", pool)
		}
		var stacks string
		defer func() {
			if stacks != "" {
				t.Logf("goroutines: %s", stacks)
			}
		}()
		eventually(t, "no goroutine of ours to be left", func() bool { stacks = ourGoroutines(); return stacks == "" })
	})
	s.load(config)
	return s
}

// ourGoroutines are the stacks of the goroutines that sessions, brokers and
// event queues have started.
func ourGoroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var ours []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, "caddy-stomp/stomp") || strings.Contains(stack, "caddy-stomp/presence") ||
			strings.Contains(stack, "eventQueue") {
			ours = append(ours, stack)
		}
	}
	return strings.Join(ours, "\n\n")
}

func (s *server) load(config string) {
	s.t.Helper()
	if err := s.tryLoad(config); err != nil {
		s.t.Fatalf("loading: %v", err)
	}
}

func (s *server) tryLoad(config string) error {
	s.t.Helper()
	return caddy.Load([]byte(s.adapt(config)), true)
}

func (s *server) adapt(config string) string {
	s.t.Helper()
	adapted, err := adapt(s.expand(config))
	if err != nil {
		s.t.Fatal(err)
	}
	return adapted
}

func (s *server) expand(config string) string {
	config = strings.ReplaceAll(config, "$GLOBAL", global)
	if strings.Contains(config, "$TLS") {
		config = strings.ReplaceAll(config, "$TLS", s.certificate())
	}
	return strings.NewReplacer("$PORT2", s.port2, "$PORT", s.port, "$DIR", s.dir).Replace(config)
}

// stop stops Caddy before the test ends.
func (s *server) stop() {
	s.t.Helper()
	if err := caddy.Stop(); err != nil {
		s.t.Errorf("stopping: %v", err)
	}
}

// ws is the URL of a WebSocket on the first port.
func (s *server) ws(path string) string { return "ws://localhost:" + s.port + path }

func (s *server) http(path string) string { return "http://localhost:" + s.port + path }

// get asks without a connection that is kept.
func (s *server) get(url string) (status int, body string) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(url)
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		// after a reload a listener that Caddy is closing may have got the
		// connection
		resp, err = client.Get(url)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// logged returns the log entries that a function picks.
func (s *server) logged(pick func(entry map[string]any) bool) []map[string]any {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, "caddy.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	var picked []map[string]any
	for line := range strings.Lines(string(raw)) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && pick(entry) {
			picked = append(picked, entry)
		}
	}
	return picked
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// patience is how long tests wait for what must happen.
const patience = 30 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// references are those of the pool, by broker.
func references() map[string]int {
	names := make(map[string]int)
	brokers.Range(func(key, _ any) bool {
		names[key.(string)] = 0
		return true
	})
	for name := range names {
		names[name], _ = brokers.References(name)
	}
	return names
}

func wantReferences(t *testing.T, want map[string]int) {
	t.Helper()
	if got := references(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("references to brokers: %v, want %v", got, want)
	}
}

// live is a broker that is running.
func live(t *testing.T, name string) *running {
	t.Helper()
	var found *running
	brokers.Range(func(key, value any) bool {
		if key == name {
			found = value.(*running)
		}
		return found == nil
	})
	if found == nil {
		t.Fatalf("no broker %q", name)
	}
	return found
}
