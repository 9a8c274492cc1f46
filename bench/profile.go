//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profile writes pprof profiles of Caddy under fan-out: of CPU and mutexes by
// messages in flight, and of the heap while sessions are idle.
func (b *bench) profile() error {
	if err := errors.Join(os.MkdirAll(b.profiles, 0o700), os.Setenv("BENCH_MUTEX", "1")); err != nil {
		return err
	}
	c, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t}\n")
	if err != nil {
		return err
	}
	defer c.stop()
	a, err := productAudience("Caddy", c, target{path: "/ws"}, b.readers, chat)
	if err != nil {
		return err
	}
	defer a.close()
	for _, inFlight := range []int{1, 64} {
		for _, kind := range []string{"profile", "mutex"} {
			if err := b.profileOf(c, a, kind, inFlight); err != nil {
				return err
			}
		}
	}
	more, err := dialAll(max(0, b.sessions-b.readers), target{addr: c.addr, path: "/ws"}.newcomer)
	if err != nil {
		return err
	}
	defer func() {
		for _, conn := range more {
			conn.socket.reset()
		}
	}()
	return c.save("/debug/pprof/heap?gc=1", filepath.Join(b.profiles, fmt.Sprintf("heap-%d.pprof", b.sessions)))
}

// profileOf profiles five seconds of fan-out.
func (b *bench) profileOf(c *caddy, a *audience, kind string, inFlight int) error {
	const seconds = 5
	path := filepath.Join(b.profiles, fmt.Sprintf("%s-%d.pprof", kind, inFlight))
	saved := make(chan error, 1)
	go func() {
		saved <- c.save(fmt.Sprintf("/debug/pprof/%s?seconds=%d", kind, seconds), path)
	}()
	for len(saved) == 0 {
		if _, err := a.inFlight(inFlight, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return <-saved
}

// save writes what the admin endpoint answers to a file.
func (c *caddy) save(uri, path string) error {
	resp, err := c.admin.Get("http://localhost" + uri)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", uri, resp.Status)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // whoever runs it says where
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	fmt.Println("go tool pprof -top", path)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
