package stomp_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

func TestConnectedHeader(t *testing.T) {
	observer := stomptest.NewObserver()
	b := stomp.NewBroker(stomp.Config{Observer: observer, Server: "test/1"})
	e := b.Endpoint("/", stomp.Policy{HeartBeatReceive: -1})
	stomptest.CheckLeaks(t)
	c, _ := stomptest.Dial(t, e, &stomp.Handshake{User: "mina", SessionID: "from-the-url"})
	f := c.Connect()
	want := frame.Header{
		{Name: "version", Value: "1.2"},
		{Name: "session", Value: "from-the-url"},
		{Name: "server", Value: "test/1"},
		{Name: "heart-beat", Value: "10000,0"},
		{Name: "user-name", Value: "mina"},
	}
	if fmt.Sprint(f.Header) != fmt.Sprint(want) {
		t.Errorf("header %v, want %v", f.Header, want)
	}
	if s := b.Session("from-the-url"); s.User() != "mina" || s.Endpoint() != e || s.ConnectedAt().IsZero() {
		t.Errorf("session %+v", s)
	}
}

// CONNECTED has no escapes: what an authenticator put into a name must not
// become header lines of its own.
func TestUserNameInOneLine(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{User: "mina\nsession:spoofed\n\n\x00"})
		if f := c.Connect(); f.Header.Get("user-name") != "mina session:spoofed   " || len(f.Header) != 5 {
			t.Errorf("header %q", f.Header)
		}
		c.ExpectNothing()
	})
}

// Who gets the session id that a URL asks for, and who another.
func TestSessionIDs(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		connect := func(id string) (*stomptest.Client, string) {
			c, _ := stomptest.Dial(t, w.endpoint, &stomp.Handshake{SessionID: id})
			return c, c.Connect().Header.Get("session")
		}
		first, id := connect("abcdefgh")
		if id != "abcdefgh" {
			t.Errorf("got %q", id)
		}
		if _, other := connect("abcdefgh"); other == "abcdefgh" || len(other) != 22 {
			t.Errorf("an id that is in use: got %q", other)
		}
		if s := w.Session("abcdefgh"); s == nil || s.ID() != "abcdefgh" {
			t.Error("the first one has lost its id")
		}
		first.Send(frame.Disconnect, "")
		first.ExpectClose(1000)
		if w.Session("abcdefgh") != nil {
			t.Error("the id leads to a session that has ended")
		}
		if _, other := connect("abcdefgh"); other == "abcdefgh" {
			t.Error("the id of a session that has just ended was given away")
		}
		for _, invalid := range []string{"", "short", strings.Repeat("x", 65), "with.dot", "with space", "s\u00e9ssionid", "id\nsession:x"} {
			if _, got := connect(invalid); got == invalid || len(got) != 22 {
				t.Errorf("%q: got %q", invalid, got)
			}
		}
	})
}

// An id that comes from the dice is 128 bits of them, and never one that is
// taken.
func TestMintedSessionIDs(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		b := stomp.NewBroker(stomp.Config{Rand: strings.NewReader(strings.Repeat("a", 32) + strings.Repeat("b", 16))})
		e := b.Endpoint("/", stomp.Policy{})
		for _, want := range []string{"YWFhYWFhYWFhYWFhYWFhYQ", "YmJiYmJiYmJiYmJiYmJiYg"} {
			c, _ := stomptest.Dial(t, e, nil)
			c.Connect()
			if b.Session(want) == nil {
				t.Errorf("nobody has %q", want)
			}
		}
	})
}

// Without dice nobody gets in, and nothing is left behind.
func TestNoRandomness(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		broken := errors.New("no entropy")
		b := stomp.NewBroker(stomp.Config{Rand: iotest.ErrReader(broken), Observer: w.observer})
		e := b.Endpoint("/", stomp.Policy{})
		c, _ := stomptest.Dial(t, e, nil)
		c.Send(frame.Connect, "", "accept-version:1.2", "host:x")
		if _, closing := c.ExpectError("session id"); closing.Code != 1011 {
			t.Error(closing)
		}
		if e.Sessions() != 0 || len(b.Sessions()) != 0 {
			t.Errorf("%d sessions, %d in the directory", e.Sessions(), len(b.Sessions()))
		}
	})
}

func TestSessionsLimit(t *testing.T) {
	bubble(t, stomp.Policy{Limits: stomp.Limits{Sessions: 2}}, func(t *testing.T, w *world) {
		c, _, _ := w.connect(t)
		w.connect(t)
		w.dial(t) // counts only once it is connected
		for range 3 {
			refused, _ := w.dial(t)
			refused.Send(frame.Connect, "", "accept-version:1.2", "host:x")
			if _, closing := refused.ExpectError("sessions 2"); closing.Code != 1008 {
				t.Error(closing)
			}
		}
		c.Send(frame.Disconnect, "")
		c.ExpectClose(1000)
		w.connect(t) // there is room again
		if n := w.endpoint.Sessions(); n != 2 {
			t.Errorf("%d sessions", n)
		}
	})
}

// An Error becomes the frame that it knows, wrapped or not.
func TestErrors(t *testing.T) {
	e := &stomp.Error{Message: "no", Detail: "and why", Err: io.EOF}
	if e.Error() != "no: and why" || !errors.Is(e, io.EOF) {
		t.Errorf("%v", e)
	}
	for _, tt := range []struct {
		err     error
		message string
		code    int
		reason  stomp.Reason
	}{
		{stomp.Refuse("not %s", "you"), "not you", 1008, stomp.ReasonPolicy},
		{stomp.Malformed("bad %d", 1), "bad 1", 1002, stomp.ReasonProtocolError},
		{stomp.LimitExceeded("client_data", 4096), "limit exceeded: client_data 4096", 1008, stomp.ReasonPolicy},
		{&stomp.Error{Message: "plain"}, "plain", 1002, stomp.ReasonProtocolError},
		{&stomp.Error{Message: "later", Reason: stomp.ReasonServerShutdown, Code: 1013}, "later", 1013, stomp.ReasonServerShutdown},
		{fmt.Errorf("wrapped: %w", stomp.Refuse("inside")), "inside", 1008, stomp.ReasonPolicy},
		{io.ErrUnexpectedEOF, "internal error", 1011, stomp.ReasonInternalError}, // its text is not for the client
	} {
		bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
			w.SetMounts(mounts{"/mount": refuse{tt.err}})
			c, _, _ := w.connect(t)
			c.Publish("/mount", "x", "receipt:7")
			f := c.Expect(frame.Error, "message:"+tt.message, "receipt-id:7")
			c.ExpectClose(tt.code)
			e := w.observer.ExpectEnd(t, tt.reason)
			if !errors.Is(e.Err, tt.err) || e.Code != tt.code {
				t.Errorf("%v: %+v, %v", tt.err, e, f)
			}
		})
	}
}

// mounts are mounts by destination; those with a feed are broadcasts.
type mounts map[string]stomp.Mount

func (ms mounts) Mount(destination string) stomp.Mount {
	for mounted, m := range ms {
		if stomp.WithoutSlash(mounted) == destination {
			return m
		}
	}
	return nil
}

func (ms mounts) Broadcasts(_ *stomp.Session, pattern string) (all []stomp.Broadcast) {
	for destination, m := range ms {
		if b, ok := m.(interface{ Feed() *stomp.Feed }); ok && stomp.Matches(pattern, destination) {
			all = append(all, stomp.Broadcast{Destination: destination, Feed: b.Feed()})
		}
	}
	return all
}

type refuse struct{ err error }

func (r refuse) Send(*stomp.Session, *frame.Frame) error { return r.err }
func (r refuse) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	return nil, nil, r.err
}
