package caddymodule

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// httpTransports are the HTTP transports of SockJS.
var httpTransports = []string{"xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp"}

// pollingClient is a STOMP client over an HTTP transport. It asks again until
// it is told that the session is over, as sockjs-client does.
type pollingClient struct {
	t         *testing.T
	transport string
	base      string // the session's URL
	key       string // in it
	session   string
	http      *http.Client
	frames    chan message
	cancel    context.CancelFunc // vanish
	ended     chan struct{}      // closed when nothing more comes
	end       string             // the close frame, or what went wrong
	receipt   int
	asked     atomic.Int64 // responses that carried frames
}

// dialHTTP connects over an HTTP transport, with further header lines of the
// CONNECT frame.
func dialHTTP(t *testing.T, s *server, path, transport string, connect ...string) *pollingClient {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &pollingClient{
		t: t, transport: transport, key: rand.Text(),
		http:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
		frames: make(chan message, 1000), cancel: cancel, ended: make(chan struct{}),
	}
	c.base = strings.Replace(s.http(path), "localhost", "127.0.0.1", 1) + "/000/" + c.key
	t.Cleanup(func() {
		cancel()
		<-c.ended
		c.http.CloseIdleConnections()
	})
	opened := make(chan struct{})
	go c.read(ctx, opened)
	select {
	case <-opened:
	case <-c.ended:
		t.Fatalf("%s: %s", transport, c.end)
	}
	c.send("CONNECT", "", append([]string{"accept-version:1.2", "host:localhost", "heart-beat:0,0"}, connect...)...)
	c.session = c.expect("CONNECTED").header["session"]
	return c
}

func (c *pollingClient) read(ctx context.Context, opened chan struct{}) {
	defer close(c.ended)
	failures := 0
	for ctx.Err() == nil {
		err := c.ask(ctx, func(frame string) { c.frame(frame, opened) })
		switch {
		case c.end != "":
			return
		case err == nil:
			failures = 0
		case failures < 50:
			failures++
			// a connection that the old server closes just as it is used
			time.Sleep(5 * time.Millisecond)
		default:
			c.end = err.Error()
			return
		}
	}
	c.end = "vanished"
}

// ask makes one request that carries frames.
func (c *pollingClient) ask(ctx context.Context, frame func(string)) error {
	method := http.MethodPost
	if c.transport != "xhr" && c.transport != "xhr_streaming" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/"+c.transport+"?c=f", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "gzip") // and get none: it would hold frames back
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Encoding") != "" {
		return fmt.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
	c.asked.Add(1)
	empty := true
	for r := bufio.NewReader(resp.Body); ; empty = false {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			if empty {
				return errors.New("an empty response, which is Caddy's own")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("inside of a frame: %q, %w", line, err)
		}
		line = strings.TrimRight(line, "\r\n")
		switch c.transport {
		case "eventsource":
			line = strings.TrimPrefix(line, "data: ")
		case "htmlfile", "jsonp":
			before := map[string]string{"htmlfile": "p(", "jsonp": "/**/f("}[c.transport]
			script, ok := strings.CutPrefix(line, before)
			if !ok || json.Unmarshal([]byte(strings.TrimSuffix(script, ");")), &line) != nil {
				continue
			}
		}
		if line != "" && strings.Contains("oac", line[:1]) {
			frame(line)
		}
	}
}

func (c *pollingClient) frame(frame string, opened chan struct{}) {
	switch frame[0] {
	case 'o':
		close(opened)
	case 'c':
		c.end = frame
	default:
		var all []string
		if err := json.Unmarshal([]byte(frame[1:]), &all); err != nil {
			c.t.Errorf("%s: %q: %v", c.transport, frame, err)
		}
		for _, f := range all {
			if f != "\n" {
				c.frames <- parseMessage(f)
			}
		}
	}
}

// parseMessage takes a STOMP frame apart.
func parseMessage(f string) message {
	head, body, _ := strings.Cut(strings.TrimSuffix(f, "\x00"), "\n\n")
	lines := strings.Split(head, "\n")
	m := message{lines[0], make(map[string]string), body}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		m.header[name] = strings.ReplaceAll(value, `\c`, ":")
	}
	return m
}

// trySend sends a frame.
func (c *pollingClient) trySend(command, body string, header ...string) error {
	p, err := json.Marshal([]string{command + "\n" + strings.Join(header, "\n") + "\n\n" + body + "\x00"})
	if err != nil {
		return err
	}
	to, kind, payload := "/xhr_send", "text/plain", string(p)
	if c.transport == "jsonp" {
		to, kind, payload = "/jsonp_send", "application/x-www-form-urlencoded", url.Values{"d": {payload}}.Encode()
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		resp, err := c.http.Post(c.base+to, kind, strings.NewReader(payload))
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode < 300 {
				return nil
			}
			err = fmt.Errorf("status %d", resp.StatusCode)
			if resp.StatusCode != http.StatusServiceUnavailable {
				return err
			}
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func (c *pollingClient) send(command, body string, header ...string) {
	c.t.Helper()
	if err := c.trySend(command, body, header...); err != nil {
		c.t.Fatalf("%s: sending %s: %v", c.transport, command, err)
	}
}

func (c *pollingClient) request(command, body string, header ...string) {
	c.t.Helper()
	c.receipt++
	c.send(command, body, append(header, fmt.Sprintf("receipt:r%d", c.receipt))...)
	c.expect("RECEIPT")
}

func (c *pollingClient) subscribe(destination string) {
	c.t.Helper()
	c.request("SUBSCRIBE", "", "id:"+destination, "destination:"+destination)
}

func (c *pollingClient) expect(command string) message {
	c.t.Helper()
	select {
	case m := <-c.frames:
		if m.command != command {
			c.t.Fatalf("%s: expected %s, got %v", c.transport, command, m)
		}
		return m
	case <-c.ended:
		select {
		case m := <-c.frames:
			return m
		default:
			c.t.Fatalf("%s: ended with %s", c.transport, c.end)
		}
	case <-time.After(patience):
		c.t.Fatalf("%s: nothing came", c.transport)
	}
	return message{}
}

// expectEnd waits for the close frame.
func (c *pollingClient) expectEnd(frame string) {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatalf("%s: not closed", c.transport)
	}
	if c.end != frame {
		c.t.Errorf("%s: ended with %s, want %s", c.transport, c.end, frame)
	}
}
