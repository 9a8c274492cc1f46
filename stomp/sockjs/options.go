package sockjs

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// Transports are the names of all transports, as [Config.Transports] has them.
// The raw websocket is always there with websocket, and each transport comes
// with what its client sends with.
func Transports() []string {
	return []string{"websocket", "xhr_streaming", "xhr", "eventsource", "htmlfile", "jsonp"}
}

// Config configures a [Handler].
type Config struct {
	// Prefix is the path that the URLs of the protocol are below, without a
	// trailing slash. Default: "", the root.
	Prefix string

	// Open is called with every new connection and returns its receiver. The
	// request is valid during the call only. It must be set.
	Open func(r *http.Request, c Connection, t stomp.Transport) (stomp.Receiver, error)

	// Owner says to whom a request belongs, such as the authenticated user: a
	// session of an HTTP transport can be used by its owner only. Default:
	// everybody is the same.
	Owner func(r *http.Request) string

	// Sessions of the HTTP transports. Default: sessions of the handler's own.
	Sessions *Sessions

	// WebSocket configures the websocket transports. Its Origins hold for
	// every request, its MaxMessage, by default 512 KiB, for every payload.
	WebSocket websocket.Config

	// Transports that are served. Default: all.
	Transports []string

	// Heartbeat is how long a response may be idle before it carries an "h".
	// Default: 25s.
	Heartbeat time.Duration

	// DisconnectDelay is how long a client of an HTTP transport may be without
	// a response before its session is lost. Default: 5s.
	DisconnectDelay time.Duration

	// ResponseLimit is how many bytes a streaming response carries. Default:
	// 128 KiB.
	ResponseLimit int

	// Buffer is how many bytes may wait for a response. Default: 128 KiB.
	Buffer int

	// ClientLibraryURL is where the iframe page loads the client library from.
	// Default: none, there is no iframe page.
	ClientLibraryURL string

	// CookieNeeded sets a JSESSIONID cookie, for load balancers that keep a
	// client on a server by it.
	CookieNeeded bool
}

// Connection describes a new connection.
type Connection struct {
	// Transport is "websocket" for the raw websocket, "sockjs-websocket", or
	// "sockjs-" and the name of an HTTP transport.
	Transport string
	// Server and Session are the segments of the URL; empty for the raw
	// websocket. Where the session is the key to an HTTP transport it must
	// not be told to anybody.
	Server, Session string
}

// HTTP says whether the session segment is the key to an HTTP transport.
func (c *Connection) HTTP() bool {
	return c.Transport != "websocket" && c.Transport != "sockjs-websocket"
}

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	for _, t := range c.Transports {
		if !slices.Contains(Transports(), t) {
			return fmt.Errorf("unknown SockJS transport %q; there are %v", t, Transports())
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Sessions == nil {
		c.Sessions = NewSessions()
	}
	if c.Transports == nil {
		c.Transports = Transports()
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 25 * time.Second
	}
	if c.DisconnectDelay == 0 {
		c.DisconnectDelay = 5 * time.Second
	}
	if c.ResponseLimit == 0 {
		c.ResponseLimit = 128 << 10
	}
	if c.Buffer == 0 {
		c.Buffer = 128 << 10
	}
	if c.WebSocket.MaxMessage == 0 {
		c.WebSocket.MaxMessage = 512 << 10
	}
	return c
}

func (c *Config) serves(transport string) bool { return slices.Contains(c.Transports, transport) }
