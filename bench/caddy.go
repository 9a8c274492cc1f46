//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// caddy is a Caddy that is measured: the product or, with other directives, a
// floor that needs one. It has its admin endpoint on a UNIX socket.
type caddy struct {
	*process
	addr  string // of its site
	admin *http.Client
}

// options of all endpoints: every feature is on; the limits are above what the
// load needs, as all of it comes from one address.
const endpointOptions = `
		allow subscribe /topic/** /app/presence
		allow send /topic/news
		deny send /topic/closed/**
		attribute from {http.request.remote.host}
		ping_timeout 10m
		limits {
			frames_per_second 1000000
			sessions_per_address 100000
			connecting_per_address 20000
			pending 4MiB
		}
`

// listenerWrapper is an option of a server that has sessions under TLS write past
// the scheduler.
const listenerWrapper = "\t\tlistener_wrappers {\n\t\t\tstomp\n\t\t\ttls\n\t\t}"

// caddyBinary is the Caddy to run: what CADDY_BIN names, or bench/caddy, built.
func caddyBinary() (string, error) {
	if bin := os.Getenv("CADDY_BIN"); bin != "" {
		return bin, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "caddy-stomp-bench", "caddy")
	build := exec.Command("go", "build", "-o", bin, "github.com/caddy-stomp/caddy-stomp/bench/caddy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building bench/caddy: %w", err)
	}
	return bin, nil
}

// startCaddy runs Caddy with a site that has these directives, and options of its
// server.
func startCaddy(scheme, directives string, options ...string) (*caddy, error) {
	bin, err := caddyBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if scheme == "https" {
		directives = fmt.Sprintf("\ttls %s/cert.pem %[1]s/key.pem\n", dir) + directives
		if err := writeCertificate(dir); err != nil {
			return nil, err
		}
	}
	config := fmt.Sprintf(`{
	admin unix/%s/admin
	persist_config off
	auto_https disable_redirects
	metrics
	servers {
		protocols h1 h2
%[5]s
	}
}

%[2]s://%[3]s {
	bind 127.0.0.1
	log {
		output file %[1]s/access.log
	}
%[4]s
	respond 404
}
`, dir, scheme, addr, directives, strings.Join(options, "\n"))
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "caddy.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	//nolint:gosec // whoever runs the benchmark says what it runs
	p := &process{Cmd: exec.Command(bin, "run", "--config", filepath.Join(dir, "Caddyfile")), dir: dir}
	p.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	p.Stdout, p.Stderr = log, log
	if err := p.run(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", bin, err)
	}
	c := &caddy{process: p, addr: addr, admin: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin"))
		},
	}}}
	var text []byte
	for range 600 {
		text, _ = os.ReadFile(log.Name())
		if bytes.Contains(text, []byte("serving initial configuration")) { // it listens before endpoints are ready
			return c, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.stop()
	return nil, fmt.Errorf("caddy did not start: %s", bytes.TrimSpace(text))
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// heap is what the Go runtime of a Caddy says.
type heap struct {
	Mallocs    uint64 // objects allocated since the beginning
	HeapAlloc  uint64 // bytes of live objects
	StackInuse uint64
	Goroutines int
}

// heap asks for the figures after a garbage collection; free gives what is not
// used back to the kernel. Only bench/caddy knows how.
func (c *caddy) heap(free bool) (heap, error) {
	var h heap
	resp, err := c.admin.Get(fmt.Sprintf("http://localhost/bench/heap?free=%v", free))
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return h, fmt.Errorf("/bench/heap of the admin endpoint: %s; CADDY_BIN has to be built from bench/caddy", resp.Status)
	}
	return h, json.NewDecoder(resp.Body).Decode(&h)
}
