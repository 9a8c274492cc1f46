package presence

import (
	"net"
	"sync"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// client is a STOMP client and its connection, in memory. It is the
// [stomp.Transport] of its session.
type client struct {
	server *server

	reading turn // stands for the goroutine that reads from a socket
	session *stomp.Session
	gone    bool

	aborted chan struct{}
	abort   sync.Once

	mu      sync.Mutex
	stalled chan struct{} // the client does not read until it is closed
	deaf    bool          // what is written is counted only
	writes  int
	got     []*stomp.Message
	code    int // with which the server closed
}

// turn is a mutex for which a bubble can wait.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// dial is a connection before CONNECT.
func (s *server) dial(t testing.TB, hs stomp.Handshake) *client {
	t.Helper()
	return s.dialAt(t, s.endpoint, hs)
}

func (s *server) dialAt(t testing.TB, endpoint *stomp.Endpoint, hs stomp.Handshake) *client {
	t.Helper()
	c := &client{server: s, reading: make(turn, 1), aborted: make(chan struct{})}
	c.reading.Lock()
	defer c.reading.Unlock()
	session, err := endpoint.NewSession(c, &hs)
	if err != nil {
		t.Fatal(err)
	}
	c.session = session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
	return c
}

// connect is a connection with that session id; header are further ones of the
// CONNECT frame.
func (s *server) connect(t testing.TB, id string, header ...string) *client {
	t.Helper()
	return s.connectAs(t, stomp.Handshake{SessionID: id}, header...)
}

func (s *server) connectAs(t testing.TB, hs stomp.Handshake, header ...string) *client {
	t.Helper()
	c := s.dial(t, hs)
	if err := c.connect(header...); err != nil {
		t.Fatalf("CONNECT: %v", err)
	}
	if hs.SessionID != "" && c.session.ID() != hs.SessionID {
		t.Fatalf("session id %q, want %q", c.session.ID(), hs.SessionID)
	}
	return c
}

func (c *client) connect(header ...string) error {
	return c.send(frame.Connect, "", append([]string{frame.HdrAcceptVersion, "1.2", frame.HdrHost, "test"}, header...)...)
}

// send sends a frame: header are names and values in turn.
func (c *client) send(command, body string, header ...string) error {
	f := frame.Frame{Command: command, Body: []byte(body)}
	for i := 0; i < len(header); i += 2 {
		f.Header = append(f.Header, frame.Field{Name: header[i], Value: header[i+1]})
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.gone {
		return net.ErrClosed
	}
	return c.session.Receive(frame.Append(nil, frame.V12, &f), false)
}

func (c *client) register(body string, header ...string) error {
	return c.send(frame.Send, body, append([]string{frame.HdrDestination, registerAt}, header...)...)
}

func (c *client) subscribe(destination, id string) error {
	return c.send(frame.Subscribe, "", frame.HdrDestination, destination, frame.HdrID, id)
}

func (c *client) unsubscribe(id string) error {
	return c.send(frame.Unsubscribe, "", frame.HdrID, id)
}

func (c *client) disconnect() error { return c.send(frame.Disconnect, "") }

// hangUp ends the connection with a close code from the client; 1006 for none.
func (c *client) hangUp(code int) {
	c.abort.Do(func() { close(c.aborted) })
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.gone {
		c.gone = true
		c.session.Closed(stomp.Ending{Code: code})
	}
}

// stall makes the client stop reading.
func (c *client) stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = make(chan struct{})
}

func (c *client) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.stalled)
	c.stalled = nil
}

// forget makes the client keep nothing of what it reads.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
}

// Write implements [stomp.Transport].
func (c *client) Write(batch []*stomp.Message) error {
	c.mu.Lock()
	stalled := c.stalled
	c.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-c.aborted:
			return net.ErrClosed
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes += len(batch)
	if !c.deaf {
		c.got = append(c.got, batch...)
	}
	return nil
}

// Ping implements [stomp.Transport].
func (c *client) Ping() error { return nil }

// Close implements [stomp.Transport]: the client answers.
func (c *client) Close(code int, _ string) {
	c.mu.Lock()
	c.code = code
	c.mu.Unlock()
	go c.hangUp(code)
}

// Abort implements [stomp.Transport].
func (c *client) Abort() {
	c.abort.Do(func() { close(c.aborted) })
	go c.hangUp(1006)
}

// received is what came so far.
func (c *client) received() []*stomp.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*stomp.Message(nil), c.got...)
}

// frames are the frames that came so far. Those that many clients get are
// decoded once.
func (c *client) frames(t testing.TB) []*frame.Frame {
	t.Helper()
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	var frames []*frame.Frame
	for _, m := range c.received() {
		f := c.server.decoded[m]
		if f == nil {
			var d frame.Decoder
			d.SetVersion(frame.V12)
			d.SetLimits(&frame.Limits{Frame: 16 << 20})
			if err := d.Decode(m.Data, func(one *frame.Frame) error { f = one.Clone(); return nil }); err != nil {
				t.Fatalf("%.200q: %v", m.Data, err)
			}
			if f == nil { // a heart-beat
				continue
			}
			c.server.decoded[m] = f
		}
		frames = append(frames, f)
	}
	return frames
}

// bodies are those of the MESSAGE frames of a subscription.
func (c *client) bodies(t testing.TB, subscription string) [][]byte {
	t.Helper()
	var bodies [][]byte
	for _, f := range c.frames(t) {
		if f.Command == frame.Message && f.Header.Get(frame.HdrSubscription) == subscription {
			bodies = append(bodies, f.Body)
		}
	}
	return bodies
}

// refusal is the message of the ERROR frame, empty if there was none.
func (c *client) refusal(t testing.TB) string {
	t.Helper()
	for _, f := range c.frames(t) {
		if f.Command == frame.Error {
			return f.Header.Get(frame.HdrMessage)
		}
	}
	return ""
}

func (c *client) closeCode() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}
