//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
)

// What the environment says of another node does not lead to it.
func TestRabbitEnvIsItsOwn(t *testing.T) {
	theirs := []string{
		"PATH=/bin", "HOME=/root", "NOTIFY_SOCKET=/run/notify", "RABBITMQ_NODENAME=rabbit@production", "RABBITMQ_MNESIA_DIR=/var/lib/rabbitmq",
		"RABBITMQ_CTL_DIST_PORT_MIN=1", "ERL_EPMD_PORT=4369", "ERL_LIBS=/opt", "LANG=C",
	}
	env := rabbitEnv(theirs, "/dir", rabbitPorts{"1", "2", "3"})
	if !slices.Equal(env[:2], []string{"PATH=/bin", "LANG=C"}) {
		t.Errorf("it begins with %q", env[:2])
	}
	known := make(map[string]bool)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if known[name] {
			t.Errorf("%s is there twice", name)
		}
		known[name] = true
		file := strings.Contains(value, "/") && name != "PATH"
		if file && value != "/dir" && !strings.HasPrefix(value, "/dir/") {
			t.Errorf("%s is not in its directory", e)
		}
	}
	for _, want := range []string{"HOME=/dir", "ERL_EPMD_PORT=3", "RABBITMQ_DIST_PORT=2", "RABBITMQ_NODENAME=bench@localhost"} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
}

// Nothing listens but on a port of its own, for this machine.
func TestRabbitConfigIsOfLoopback(t *testing.T) {
	config := rabbitConfig(rabbitPorts{webSTOMP: "1234"})
	listens := 0
	for line := range strings.Lines(config) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			t.Errorf("%q is no setting", line)
		}
		if strings.Contains(key, "listeners") && value != "none" || strings.HasSuffix(key, ".ip") && value != "127.0.0.1" {
			t.Errorf("%q", line)
		}
		if strings.HasSuffix(key, ".port") {
			if listens++; value != "1234" {
				t.Errorf("%q", line)
			}
		}
	}
	if listens != 1 {
		t.Errorf("it listens on %d ports: %s", listens, config)
	}
}
