//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// rabbitMQ is a RabbitMQ that is measured: a node of its own with Web-STOMP, on
// loopback, whose files are all in one directory. Who runs it needs no rights,
// and that of the system, if there is one, is not touched.
type rabbitMQ struct {
	family
	node, epmd *process
	scripts    string   // a directory
	env        []string // of the node, and of what talks to it
	addr       string
	name       string // with its version
}

// rabbitPorts are what a node listens on, all on 127.0.0.1.
type rabbitPorts struct {
	webSTOMP, distribution, epmd string
}

// startRabbitMQ returns when a session can be made. RABBITMQ_SCRIPTS names the
// directory of rabbitmq-server and rabbitmqctl, if it is not that of Debian.
func startRabbitMQ() (*rabbitMQ, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	var ports rabbitPorts
	for _, port := range []*string{&ports.webSTOMP, &ports.distribution, &ports.epmd} {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		_, *port, _ = net.SplitHostPort(addr)
	}
	for name, text := range map[string]string{"rabbitmq.conf": rabbitConfig(ports), "enabled_plugins": "[rabbitmq_web_stomp].\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	r := &rabbitMQ{
		scripts: cmp.Or(os.Getenv("RABBITMQ_SCRIPTS"), "/usr/lib/rabbitmq/bin"),
		env:     rabbitEnv(os.Environ(), dir, ports),
		addr:    net.JoinHostPort("127.0.0.1", ports.webSTOMP),
	}
	if err := r.start(dir, ports.epmd); err != nil {
		r.stop()
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("starting RabbitMQ, which make compare installs: %w", err)
	}
	return r, nil
}

func (r *rabbitMQ) start(dir, epmdPort string) error {
	log, err := os.Create(filepath.Join(dir, "console.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	run := func(p *process) error {
		p.Env, p.Dir, p.Stdout, p.Stderr = r.env, dir, log, log
		if err := p.run(); err != nil {
			return err
		}
		r.family = append(r.family, p)
		return nil
	}
	// The node would leave a daemon behind.
	epmd := &process{Cmd: exec.Command("epmd", "-address", "127.0.0.1", "-port", epmdPort)} //nolint:gosec // a port
	if err := run(epmd); err != nil {
		return err
	}
	r.epmd = epmd
	node := &process{Cmd: exec.Command(filepath.Join(r.scripts, "rabbitmq-server")), dir: dir} //nolint:gosec // whoever runs the benchmark says what it runs
	if err := run(node); err != nil {
		return err
	}
	r.node = node
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		c, err := r.target().dial()
		if err == nil {
			c.socket.reset()
			break
		}
		if time.Since(began) > time.Minute {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("no session: %w; %s", err, bytes.TrimSpace(text))
		}
	}
	version, err := r.ctl("version")
	r.name = "RabbitMQ " + strings.TrimSpace(version)
	return err
}

// stop ends the processes, and removes their files.
func (r *rabbitMQ) stop() {
	for _, p := range []*process{r.node, r.epmd} {
		if p != nil {
			p.stop()
		}
	}
}

// target is how to connect: as guest, whom only loopback knows.
func (r *rabbitMQ) target() target {
	return target{
		addr: r.addr, path: "/ws", host: "/",
		login: frame.Header{{Name: "login", Value: "guest"}, {Name: "passcode", Value: "guest"}},
	}
}

// rabbitConfig is the file rabbitmq.conf: what Debian's has by default, but for
// the ports, and for sessions that are not closed as they say nothing.
func rabbitConfig(ports rabbitPorts) string {
	return `listeners.tcp = none
stomp.listeners.tcp = none
web_stomp.tcp.ip = 127.0.0.1
web_stomp.tcp.port = ` + ports.webSTOMP + `
web_stomp.ws_opts.idle_timeout = 3600000
`
}

// rabbitEnv is the environment of a node whose files are in dir. What would lead
// it elsewhere is left out.
func rabbitEnv(environ []string, dir string, ports rabbitPorts) []string {
	const loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
	var env []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if name != "HOME" && name != "NOTIFY_SOCKET" && !strings.HasPrefix(name, "RABBITMQ_") && !strings.HasPrefix(name, "ERL_") {
			env = append(env, e)
		}
	}
	return append(env,
		"HOME="+dir,                  // of the cookie
		"RUNNING_UNDER_SYSTEMD=true", // no shell remains between
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT="+ports.epmd,
		"ERL_CRASH_DUMP="+filepath.Join(dir, "crash.dump"),
		"RABBITMQ_NODENAME=bench@localhost",
		"RABBITMQ_DIST_PORT="+ports.distribution,
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+loopback,
		"RABBITMQ_CTL_ERL_ARGS="+loopback,
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(dir, "none"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"),
	)
}

// ctl runs rabbitmqctl.
func (r *rabbitMQ) ctl(command string) (string, error) {
	var out bytes.Buffer
	p := &process{Cmd: exec.Command(filepath.Join(r.scripts, "rabbitmqctl"), command)} //nolint:gosec // whoever runs the benchmark says what it runs
	p.Env, p.Stdout, p.Stderr = r.env, &out, &out
	err := p.run()
	if err == nil {
		err = p.Wait()
		p.stop()
	}
	if err != nil {
		err = fmt.Errorf("rabbitmqctl %s: %w: %s", command, err, bytes.TrimSpace(out.Bytes()))
	}
	return out.String(), err
}

// heap waits until the node has done what there was to do, as it removes the
// queues of who left, and lets all of its Erlang processes collect garbage if
// what is free is to be given back. It knows no figures of Go.
func (r *rabbitMQ) heap(free bool) (heap, error) {
	if err := r.calm(); err != nil || !free {
		return heap{}, err
	}
	if _, err := r.ctl("force_gc"); err != nil {
		return heap{}, err
	}
	return heap{}, r.calm()
}

// calm returns when the node uses little of a processor.
func (r *rabbitMQ) calm() error {
	const window = 200 * time.Millisecond
	for began := time.Now(); time.Since(began) < time.Minute; {
		before, err := r.cpu()
		if err != nil {
			return err
		}
		time.Sleep(window)
		after, err := r.cpu()
		if err != nil {
			return err
		}
		if after-before < window/20 {
			return nil
		}
	}
	return errors.New("RabbitMQ does not come to rest")
}
