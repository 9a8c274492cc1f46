package stomptest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Conn is a connection as its client sees it: messages with STOMP in them,
// whatever carries them.
type Conn interface {
	// Write sends one message. It is called by one goroutine at a time.
	Write(p []byte) error
	// Read returns the next message, and at the end a *Closing.
	Read() ([]byte, error)
	// Close starts the closing handshake. Read says when it is over.
	Close(code int) error
	// Abort drops the connection without one.
	Abort()
	// Pings is how many pings below STOMP the server has sent.
	Pings() int
}

// Closing is how the server closed the connection: an RFC 6455 close code,
// 1006 if there was no closing handshake, and a reason.
type Closing struct {
	Code int
	Text string
	Err  error
}

// Error makes it the error of Conn.Read.
func (c *Closing) Error() string { return fmt.Sprintf("closed with %d %q %v", c.Code, c.Text, c.Err) }

// Unwrap returns what went wrong, if anything did.
func (c *Closing) Unwrap() error { return c.Err }

// Client is a STOMP client. Its sending methods may be called from any
// goroutine, its receiving ones from one at a time.
type Client struct {
	// Patience is how long the receiving methods wait. Default: 10s.
	Patience time.Duration
	// User is what the server should say in user-name, if anything.
	User string

	chosen  string // the session id that its URL asks for
	t       testing.TB
	conn    Conn
	events  *inbox[event]
	version atomic.Uint32

	mu    sync.Mutex // writes
	syncs int

	beatMu sync.Mutex
	beats  []time.Time
	beat   chan struct{} // one for each, as far as there is room
}

// event is a frame, or the end.
type event struct {
	frame   *frame.Frame
	closing *Closing
}

// NewClient returns a client over a connection, which is dropped when the test
// ends.
func NewClient(t testing.TB, conn Conn) *Client {
	c := &Client{Patience: 10 * time.Second, t: t, conn: conn, events: newInbox[event](), beat: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read()
	}()
	t.Cleanup(func() {
		conn.Abort()
		<-done
	})
	return c
}

func (c *Client) read() {
	var d frame.Decoder
	d.SetLimits(&frame.Limits{HeaderLine: 1 << 20, Headers: 1 << 10, Frame: 1 << 28})
	for {
		p, err := c.conn.Read()
		if err == nil {
			c.heartBeat(p)
			err = d.Decode(p, func(f *frame.Frame) error {
				if f.Command == frame.Connected {
					v, _ := frame.ParseVersion(f.Header.Get(frame.HdrVersion))
					d.SetVersion(v)
					c.version.Store(uint32(v))
				}
				c.events.put(event{frame: f.Clone()})
				return nil
			})
		}
		if err != nil {
			var closing *Closing
			if !errors.As(err, &closing) {
				c.conn.Abort()
				closing = &Closing{Code: 1006, Err: err}
			}
			c.events.put(event{closing: closing})
			return
		}
	}
}

func (c *Client) heartBeat(p []byte) {
	if len(p) == 1 && p[0] == '\n' {
		c.beatMu.Lock()
		c.beats = append(c.beats, time.Now())
		c.beatMu.Unlock()
		select {
		case c.beat <- struct{}{}:
		default:
		}
	}
}

// WaitHeartBeats waits until the server has sent n EOLs.
func (c *Client) WaitHeartBeats(n int) {
	c.t.Helper()
	patience := time.NewTimer(c.Patience)
	defer patience.Stop()
	for len(c.HeartBeats()) < n {
		select {
		case <-c.beat:
		case <-patience.C:
			c.t.Fatalf("%d heart-beats in %v, want %d", len(c.HeartBeats()), c.Patience, n)
		}
	}
}

// HeartBeats is when the server sent an EOL and nothing else.
func (c *Client) HeartBeats() []time.Time {
	c.beatMu.Lock()
	defer c.beatMu.Unlock()
	return append([]time.Time(nil), c.beats...)
}

// Pings is how many pings below STOMP the server has sent.
func (c *Client) Pings() int { return c.conn.Pings() }

// Frame makes a frame of headers written "name:value".
func Frame(command, body string, header ...string) *frame.Frame {
	f := &frame.Frame{Command: command}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ":")
		f.Header = append(f.Header, frame.Field{Name: name, Value: value})
	}
	if body != "" {
		f.Body = []byte(body)
	}
	return f
}

// Send sends a frame with headers written "name:value".
func (c *Client) Send(command, body string, header ...string) {
	c.t.Helper()
	f := Frame(command, body, header...)
	c.Raw(string(frame.Append(nil, frame.Version(c.version.Load()), f)))
}

// Raw sends bytes as they are, in one message.
func (c *Client) Raw(p string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.Write([]byte(p)); err != nil {
		c.t.Errorf("writing %.60q: %v", p, err)
	}
}

// Connect sends CONNECT, for version 1.2 unless the headers say otherwise, and
// returns CONNECTED.
func (c *Client) Connect(header ...string) *frame.Frame {
	c.t.Helper()
	// the first of repeated headers counts
	c.Send(frame.Connect, "", append(header, "accept-version:1.2", "host:localhost")...)
	return c.Expect(frame.Connected)
}

// Receive returns the next frame.
func (c *Client) Receive() *frame.Frame {
	c.t.Helper()
	e := c.next()
	if e.closing != nil {
		c.t.Fatalf("expected a frame, got the end: %v", e.closing)
	}
	return e.frame
}

func (c *Client) next() event {
	c.t.Helper()
	e, ok := c.events.take(c.Patience)
	if !ok {
		c.t.Fatalf("nothing came for %v", c.Patience)
	}
	return e
}

// Expect returns the next frame, which must have this command and these
// headers.
func (c *Client) Expect(command string, header ...string) *frame.Frame {
	c.t.Helper()
	f := c.Receive()
	if f.Command != command {
		c.t.Fatalf("expected %s, got %s", command, Show(f))
	}
	for _, line := range header {
		name, want, _ := strings.Cut(line, ":")
		if got, ok := f.Header.Lookup(name); !ok || got != want {
			c.t.Fatalf("expected the header %q in %s", line, Show(f))
		}
	}
	return f
}

// ExpectClose returns how the connection ends; no frame may come before. Code
// 0 stands for any.
func (c *Client) ExpectClose(code int) *Closing {
	c.t.Helper()
	e := c.next()
	if e.frame != nil {
		c.t.Fatalf("expected the end, got %s", Show(e.frame))
	}
	if code != 0 && e.closing.Code != code {
		c.t.Fatalf("expected close code %d, got %v", code, e.closing)
	}
	return e.closing
}

// ExpectError returns the ERROR that must come next, with text somewhere in
// it, and the end of the connection after it.
func (c *Client) ExpectError(text string) (*frame.Frame, *Closing) {
	c.t.Helper()
	f := c.Expect(frame.Error)
	if !strings.Contains(Show(f), text) {
		c.t.Errorf("expected an ERROR about %q, got %s", text, Show(f))
	}
	if f.Header.Get(frame.HdrMessage) == "" {
		c.t.Errorf("ERROR without message: %s", Show(f))
	}
	closing := c.ExpectClose(0)
	if closing.Code == 1006 {
		c.t.Errorf("ERROR without closing handshake: %v", closing)
	}
	return f, closing
}

// Sync returns the frames that arrive before the RECEIPT of a message that it
// sends to nobody: all that the server had to say by then.
func (c *Client) Sync() []*frame.Frame {
	c.t.Helper()
	c.mu.Lock()
	c.syncs++
	id := fmt.Sprintf("sync-%d", c.syncs)
	c.mu.Unlock()
	c.Send(frame.Send, "", "destination:/topic/stomptest-nobody", "receipt:"+id)
	var before []*frame.Frame
	for {
		f := c.Receive()
		if f.Command == frame.Receipt && f.Header.Get(frame.HdrReceiptID) == id {
			return before
		}
		before = append(before, f)
	}
}

// ExpectNothing fails if the server has said anything by now.
func (c *Client) ExpectNothing() {
	c.t.Helper()
	for _, f := range c.Sync() {
		c.t.Errorf("expected nothing, got %s", Show(f))
	}
}

// Subscribe sends SUBSCRIBE and waits until it took effect.
func (c *Client) Subscribe(id, destination string) {
	c.t.Helper()
	c.Send(frame.Subscribe, "", "id:"+id, "destination:"+destination, "receipt:subscribed-"+id)
	c.Expect(frame.Receipt, "receipt-id:subscribed-"+id)
}

// Publish sends a SEND.
func (c *Client) Publish(destination, body string, header ...string) {
	c.t.Helper()
	c.Send(frame.Send, body, append([]string{"destination:" + destination}, header...)...)
}

// Close starts the closing handshake.
func (c *Client) Close(code int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.Close(code); err != nil {
		c.t.Errorf("closing: %v", err)
	}
}

// Abort drops the connection.
func (c *Client) Abort() { c.conn.Abort() }

// Show is a frame in readable form.
func Show(f *frame.Frame) string {
	return fmt.Sprintf("%.300q", frame.Append(nil, frame.V10, f))
}
