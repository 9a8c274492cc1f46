package sockjs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// receiver is the receiving half of a client of an HTTP transport: it asks
// again as long as it is not told that the session is over.
type receiver struct {
	carrier
	s    *server
	path string
	body string // of the requests that ask

	mu     sync.Mutex
	cancel context.CancelFunc // of the response that is open
	gone   bool               // and asks for no other
	resp   *http.Response
	r      *bufio.Reader
	opened int // responses
}

func (s *server) receiver(c carrier, path string) *receiver {
	return &receiver{carrier: c, s: s, path: path}
}

// next reads the next frame, in as many responses as that takes.
func (c *receiver) next() (string, error) {
	for {
		if c.resp == nil {
			if err := c.ask(); err != nil {
				return "", err
			}
		}
		frame, err := c.read()
		if err == nil {
			return frame, nil
		}
		_ = c.resp.Body.Close()
		c.resp = nil
		if !errors.Is(err, io.EOF) {
			return "", err
		}
	}
}

func (c *receiver) ask() error {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	c.cancel = cancel
	if c.gone {
		cancel()
	}
	c.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, c.method, c.s.url+c.url(c.path), strings.NewReader(c.body))
	if err != nil {
		return err
	}
	resp, err := c.s.client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		_ = resp.Body.Close()
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	c.resp, c.r = resp, bufio.NewReader(resp.Body)
	c.opened++
	for range c.prelude {
		if _, err := c.r.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// read reads one frame; io.EOF says that the response ended where one may.
func (c *receiver) read() (string, error) {
	var p []byte
	for !bytes.HasSuffix(p, []byte(c.after)) {
		b, err := c.r.ReadByte()
		if err != nil {
			if len(p) > 0 {
				err = fmt.Errorf("inside of a frame, after %q: %w", p, errors.Join(io.ErrUnexpectedEOF, err))
				return "", errors.New(err.Error())
			}
			return "", err
		}
		p = append(p, b)
	}
	frame, ok := strings.CutPrefix(strings.TrimSuffix(string(p), c.after), c.before)
	if !ok {
		return "", fmt.Errorf("frame %q", p)
	}
	if c.script {
		if err := json.Unmarshal([]byte(frame), &frame); err != nil {
			return "", fmt.Errorf("frame %q: %w", p, err)
		}
	}
	return frame, nil
}

// abort gives the open response up.
func (c *receiver) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if c.cancel != nil {
		c.cancel()
	}
}

// expect reads the next frame.
func (c *receiver) expect(frame string) {
	c.s.t.Helper()
	if got, err := c.next(); err != nil || got != frame {
		c.s.t.Fatalf("got %.300q, %v, want %.300q", got, err, frame)
	}
}

// messages reads until there are some.
func (c *receiver) messages() ([]string, error) {
	for {
		frame, err := c.next()
		switch {
		case err != nil:
			return nil, err
		case frame[0] == 'a':
			var m []string
			return m, json.Unmarshal([]byte(frame[1:]), &m)
		case frame != "o" && frame != "h":
			return nil, fmt.Errorf("frame %q", frame)
		}
	}
}

// push sends messages as the client of the transport does.
func (c *receiver) push(messages ...string) error {
	p, err := json.Marshal(messages)
	if err != nil {
		return err
	}
	url_, kind, body := c.path+"/xhr_send", "text/plain", string(p)
	if c.name == "jsonp" {
		url_, kind, body = c.path+"/jsonp_send", "application/x-www-form-urlencoded", url.Values{"d": {body}}.Encode()
	}
	resp, err := c.s.client.Post(c.s.url+url_, kind, strings.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 300 {
		return fmt.Errorf("status %d %q, %w", resp.StatusCode, b, err)
	}
	return nil
}
