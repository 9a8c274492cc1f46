package presence

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

const (
	registerAt = "/ws"
	announceAt = "/topic/presence"
	streamName = "stream-1"
)

// server is a broker with a registry and one endpoint, and no network.
type server struct {
	registry *Registry
	broker   *stomp.Broker
	endpoint *stomp.Endpoint
	told     *listener

	mu      sync.Mutex
	clients []*client
	decoded map[*stomp.Message]*frame.Frame
}

// testPolicy is one under which nobody is given up for being silent, nor is
// one too many.
func testPolicy() stomp.Policy {
	p := stomp.DefaultPolicy()
	p.PingTimeout = time.Hour
	p.Limits.Sessions = 1 << 30
	p.Limits.FramesPerSecond, p.Limits.SessionsPerUser, p.Limits.SessionsPerAddress = -1, -1, -1
	return p
}

func newServer(t testing.TB, observe func(*Registry) stomp.Observer) *server {
	t.Helper()
	return newServerWith(t, Settings{}, observe)
}

// newServerWith is newServer with settings, but for the destinations.
func newServerWith(t testing.TB, settings Settings, observe func(*Registry) stomp.Observer) *server {
	t.Helper()
	settings.Register, settings.Announce = registerAt, cmp.Or(settings.Announce, announceAt)
	raw, err := base64.RawURLEncoding.DecodeString(streamName)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRegistry(Config{
		Settings: settings,
		Rand:     io.MultiReader(bytes.NewReader(raw), rand.Reader), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{registry: r, told: new(listener), decoded: make(map[*stomp.Message]*frame.Frame)}
	r.SetListener(s.told)
	s.broker = stomp.NewBroker(stomp.Config{Name: "test", Observer: observe(r), Logger: slog.New(slog.DiscardHandler)})
	s.broker.SetMounts(r)
	r.Bind(s.broker)
	s.endpoint = s.broker.Endpoint("test", testPolicy())
	return s
}

// all is the scope of all sessions.
func (s *server) all() *scope {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	return s.registry.scope("", nil)
}

func (s *server) configure(t testing.TB, settings Settings) {
	t.Helper()
	if settings.Register == "" {
		settings.Register = registerAt
	}
	if settings.Announce == "" {
		settings.Announce = announceAt
	}
	if err := s.registry.Configure(settings); err != nil {
		t.Fatal(err)
	}
}

func registryItself(r *Registry) stomp.Observer { return r }

// inBubbleWith is inBubble with settings.
func inBubbleWith(t *testing.T, settings Settings, test func(t *testing.T, s *server)) {
	t.Helper()
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, settings)
		test(t, s)
	})
}

// morning is when tests in a bubble begin. A bubble's own beginning, in 2000, is
// before the process started, and the stamps of package stomp do not go there.
var morning = time.Date(2100, 1, 1, 10, 0, 0, 0, time.UTC)

// inBubble runs a test with a server, where time passes only when everybody
// waits. It begins in the [morning].
func inBubble(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(morning))
		s := newServer(t, registryItself)
		defer s.close()
		test(t, s)
	})
}

// close ends what is left, so that no goroutine stays in the bubble.
func (s *server) close() {
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	for _, c := range clients {
		c.Abort()
	}
	settle()
	time.Sleep(time.Second) // the broker's goroutine for silence goes with its last session
}

// settle lets everything happen that is under way, announcements included.
func settle() {
	synctest.Wait()
	time.Sleep(4 * maxHold)
	synctest.Wait()
}

// roster is what the registry holds, oldest first.
func (s *server) roster() []*View {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	var views []*View
	all := s.registry.scope("", nil)
	for m := all.roster.next; m != &all.roster; m = m.next {
		views = append(views, m.view)
	}
	return views
}

// clientData is what the registry has of a session.
func (s *server) clientData(id string) string {
	if v := s.registry.Get(id); v != nil {
		return string(v.ClientData)
	}
	return "no session " + id
}

func (s *server) setClientDataLimit(n int) {
	p := testPolicy()
	p.Limits.Frame.Named = map[string]int{stomp.ClientDataHeader: n}
	p.Limits.Frame.Frame = n + 64<<10
	s.endpoint.SetPolicy(p)
}

// listener remembers the changes.
type listener struct {
	mu      sync.Mutex
	changes []Change
}

func (l *listener) Changed(c Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = append(l.changes, c)
}

func (l *listener) all() []Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Change(nil), l.changes...)
}

// of are the changes of one session.
func (l *listener) of(id string) []Change {
	var of []Change
	for _, c := range l.all() {
		if c.SessionID == id {
			of = append(of, c)
		}
	}
	return of
}

// types are the kinds of changes of one session, in order.
func (l *listener) types(id string) []Type {
	var types []Type
	for _, c := range l.of(id) {
		types = append(types, c.Type)
	}
	return types
}
