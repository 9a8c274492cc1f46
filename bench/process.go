package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a server that is measured.
type process struct {
	*exec.Cmd
	stdin io.WriteCloser
	addr  string
	dir   string
}

// startCaddy runs the binary that CADDY_BIN names, with one endpoint at /ws.
func startCaddy(broker string) (*process, error) {
	bin := os.Getenv("CADDY_BIN")
	if bin == "" {
		return nil, fmt.Errorf("CADDY_BIN does not name a Caddy with this module")
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	//nolint:gosec // whoever runs the benchmark says what it runs
	p := &process{Cmd: exec.Command(bin, "run", "--config", filepath.Join(dir, "Caddyfile")), addr: "127.0.0.1:" + port, dir: dir}
	config := fmt.Sprintf(`{
	admin off
	persist_config off
}

http://%s {
	log {
		output file %s
	}
	stomp /ws {
		limits {
			frames_per_second 1000000
		}
%s
	}
}
`, p.addr, filepath.Join(dir, "access.log"), broker)
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	p.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	log, err := os.Create(filepath.Join(dir, "caddy.log"))
	if err != nil {
		return nil, err
	}
	p.Stdout, p.Stderr = log, log
	if err := p.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		if resp, err := http.Get("http://" + p.addr + "/"); err == nil {
			return p, resp.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop()
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("caddy did not start: %s", bytes.TrimSpace(text))
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// stop ends the process and removes its files.
func (p *process) stop() {
	_ = p.Process.Kill()
	_ = p.Wait()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// cpu is the time that the process has used: utime and stime of proc(5), in
// clock ticks of 10 ms.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// rss is the memory of the process in bytes.
func (p *process) rss() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n << 10
		}
	}
	return 0
}

// startFloor runs this program as the floor.
func startFloor() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{Cmd: exec.Command(self, "floor")}
	p.Stderr = os.Stderr
	if p.stdin, err = p.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	p.addr, err = bufio.NewReader(out).ReadString('\n')
	p.addr = strings.TrimSpace(p.addr)
	return p, err
}

// floorMain accepts connections and, for each line of sizes that it reads,
// writes as many bytes to each of them: one write(2) a size and connection.
func floorMain() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	conns := make(chan net.Conn, 1<<20)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	var all []net.Conn
	for lines.Scan() {
		for len(conns) > 0 {
			all = append(all, <-conns)
		}
		var sizes []int
		largest := 0
		for field := range strings.FieldsSeq(lines.Text()) {
			n, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			sizes = append(sizes, n)
			largest = max(largest, n)
		}
		if err := writeAll(all, make([]byte, largest), sizes); err != nil {
			return err
		}
	}
	return lines.Err()
}

// writers is as many as the server has processors to write with.
const writers = 2

func writeAll(all []net.Conn, p []byte, sizes []int) error {
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			errs <- func() error {
				for _, size := range sizes {
					for i := w; i < len(all); i += writers {
						if _, err := all[i].Write(p[:size]); err != nil {
							return err
						}
					}
				}
				return nil
			}()
		}()
	}
	var err error
	for range writers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}
