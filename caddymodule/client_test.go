package caddymodule

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// client is a STOMP client that remembers what it was sent.
type client struct {
	t         *testing.T
	ws        *websocket.Conn
	session   string
	connected message // the CONNECTED frame
	frames    chan message
	ended     chan struct{} // closed when nothing more comes
	err       error         // why; set before ended is closed
	receipt   int
	messages  []message         // that came while something else was waited for
	news      []json.RawMessage // changes of an announcement that nobody has asked for yet
}

// message is a frame that came.
type message struct {
	command string
	header  map[string]string
	body    string
}

func (m message) String() string { return fmt.Sprintf("%s %v %q", m.command, m.header, m.body) }

var dialer = websocket.Dialer{
	HandshakeTimeout: patience,
	TLSClientConfig:  &tls.Config{InsecureSkipVerify: true},
	Subprotocols:     []string{"v12.stomp"},
	// localhost, without asking for IPv6 first
	NetDial: func(_, addr string) (net.Conn, error) {
		return net.DialTimeout("tcp", strings.Replace(addr, "localhost", "127.0.0.1", 1), patience)
	},
}

// answer is the response to a handshake; status 0 means that there was none.
type answer struct {
	status int
	header http.Header
}

// upgrade makes a WebSocket.
func upgrade(d *websocket.Dialer, url string, header http.Header) (*websocket.Conn, answer, error) {
	ws, resp, err := d.Dial(url, header)
	if resp == nil {
		return ws, answer{}, err
	}
	resp.Body.Close()
	return ws, answer{resp.StatusCode, resp.Header}, err
}

// dialRaw makes a WebSocket that is no session yet.
func dialRaw(t *testing.T, url string, header http.Header) *websocket.Conn {
	t.Helper()
	ws, answer, err := reach(&dialer, url, header)
	if err != nil {
		t.Fatalf("dialing %s: %v (status %d)", url, err, answer.status)
	}
	t.Cleanup(func() { ws.Close() })
	return ws
}

// reach makes a WebSocket, or gets an answer at least. After a (failed) reload
// a listener that Caddy is closing may have got the connection: it gives none,
// or one of the configuration of before, and the empty one of Caddy if that had
// no such endpoint.
func reach(d *websocket.Dialer, url string, header http.Header) (*websocket.Conn, answer, error) {
	ws, answer, err := upgrade(d, url, header)
	for end := time.Now().Add(patience); err != nil && (answer.status == 0 || answer.status == http.StatusOK) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		ws, answer, err = upgrade(d, url, header)
	}
	return ws, answer, err
}

// dial connects, with further header lines of the CONNECT frame.
func dial(t *testing.T, url string, connect ...string) *client {
	t.Helper()
	return dialWith(t, url, nil, connect...)
}

func dialWith(t *testing.T, url string, header http.Header, connect ...string) *client {
	t.Helper()
	c := &client{t: t, ws: dialRaw(t, url, header), frames: make(chan message, 1000), ended: make(chan struct{})}
	go c.read()
	c.send("CONNECT", "", append([]string{"accept-version:1.2", "host:localhost", "heart-beat:0,0"}, connect...)...)
	c.connected = c.expect("CONNECTED")
	c.session = c.connected.header["session"]
	return c
}

func (c *client) read() {
	defer close(c.ended)
	for {
		_, p, err := c.ws.ReadMessage()
		if err != nil {
			c.err = err
			return
		}
		head, body, _ := strings.Cut(strings.TrimSuffix(string(p), "\x00"), "\n\n")
		lines := strings.Split(head, "\n")
		if lines[0] == "" {
			continue // heart-beat
		}
		m := message{lines[0], make(map[string]string), body}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ":")
			if _, repeated := m.header[name]; !repeated {
				m.header[name] = strings.ReplaceAll(value, `\c`, ":")
			}
		}
		c.frames <- m
	}
}

// send sends a frame.
func (c *client) send(command, body string, header ...string) {
	c.t.Helper()
	f := command + "\n" + strings.Join(header, "\n") + "\n\n" + body + "\x00"
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(f)); err != nil {
		c.t.Fatalf("sending %s: %v", command, err)
	}
}

// request sends a frame and waits for its receipt.
func (c *client) request(command, body string, header ...string) {
	c.t.Helper()
	c.receipt++
	c.send(command, body, append(header, fmt.Sprintf("receipt:r%d", c.receipt))...)
	c.expect("RECEIPT")
}

// subscribe subscribes with the destination as id.
func (c *client) subscribe(destination string) {
	c.t.Helper()
	c.request("SUBSCRIBE", "", "id:"+destination, "destination:"+destination)
}

// expect waits for the next frame. A MESSAGE may come before a frame that was
// asked for, and waits then until somebody expects it.
func (c *client) expect(command string) message {
	c.t.Helper()
	if command == "MESSAGE" && len(c.messages) > 0 {
		m := c.messages[0]
		c.messages = c.messages[1:]
		return m
	}
	m := c.next()
	for m.command == "MESSAGE" && command == "RECEIPT" {
		c.messages = append(c.messages, m)
		m = c.next()
	}
	if m.command != command {
		c.t.Fatalf("expected %s, got %v", command, m)
	}
	return m
}

func (c *client) next() message {
	c.t.Helper()
	timeout := time.After(patience)
	select {
	case m := <-c.frames:
		return m
	case <-c.ended:
		select {
		case m := <-c.frames:
			return m
		default:
			c.t.Fatalf("the connection ended: %v", c.err)
		}
	case <-timeout:
		c.t.Fatal("nothing came")
	}
	return message{}
}

// expectClose waits for a close frame with a code, after whatever frames come
// before, and returns these.
func (c *client) expectClose(code int) []message {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatal("the connection was not closed")
	}
	var ce *websocket.CloseError
	if !errors.As(c.err, &ce) || ce.Code != code {
		c.t.Errorf("closed with %v, want code %d", c.err, code)
	}
	close(c.frames)
	before := c.messages
	for m := range c.frames {
		before = append(before, m)
	}
	return before
}

// alive fails unless the session still answers.
func (c *client) alive() {
	c.t.Helper()
	c.request("SEND", "still here", "destination:/topic/alive")
}

// change is what an announcement says.
type change struct {
	Seq        int             `json:"seq"`
	Type       string          `json:"type"`
	SessionID  string          `json:"sessionId"`
	User       string          `json:"user"`
	ClientData json.RawMessage `json:"clientData"`
	Reason     string          `json:"reason"`
	Code       int             `json:"code"`
	Clean      bool            `json:"clean"`
}

// nextChange waits for the next change of another session than c's own: what
// is announced of that may come, or have come before c subscribed.
func (c *client) nextChange() (change, string) {
	c.t.Helper()
	for {
		for len(c.news) == 0 {
			m := c.expect("MESSAGE")
			if err := json.Unmarshal([]byte(m.body), &c.news); err != nil {
				c.t.Fatalf("announcement %s: %v", m.body, err)
			}
		}
		raw := c.news[0]
		c.news = c.news[1:]
		var next change
		if err := json.Unmarshal(raw, &next); err != nil {
			c.t.Fatalf("announcement of %s: %v", raw, err)
		}
		if next.SessionID != c.session {
			return next, string(raw)
		}
	}
}

// expectChange waits for the announcement of a change.
func (c *client) expectChange(kind, session string) change {
	c.t.Helper()
	next, raw := c.nextChange()
	if next.Type != kind || next.SessionID != session {
		c.t.Fatalf("announced: %s, want %s of %s", raw, kind, session)
	}
	return next
}

// quiet fails if there is a frame that nobody has asked for.
func (c *client) quiet() {
	c.t.Helper()
	c.alive() // what was sent before has come by now
	for _, m := range c.messages {
		c.t.Errorf("unexpected: %v", m)
	}
	for _, raw := range c.news {
		c.t.Errorf("unexpected: %s", raw)
	}
	select {
	case m := <-c.frames:
		c.t.Errorf("unexpected: %v", m)
	default:
	}
}
