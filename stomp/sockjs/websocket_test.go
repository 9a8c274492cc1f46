package sockjs

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// raw is a WebSocket on which the frames of SockJS can be seen.
type raw struct {
	*gorilla.Conn
	t *testing.T
}

func (s *server) raw(t *testing.T, session string) *raw {
	t.Helper()
	c, resp, err := gorilla.DefaultDialer.Dial(s.url+"/039/"+session+"/websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return &raw{c, t}
}

func (r *raw) send(frame string) {
	r.t.Helper()
	if err := r.WriteMessage(gorilla.TextMessage, []byte(frame)); err != nil {
		r.t.Fatal(err)
	}
}

// expect reads a frame that begins with start.
func (r *raw) expect(start string) string {
	r.t.Helper()
	kind, p, err := r.ReadMessage()
	if err != nil || kind != gorilla.TextMessage || !strings.HasPrefix(string(p), start) {
		r.t.Fatalf("expected %q, got %q, %v", start, p, err)
	}
	return string(p)
}

func (r *raw) expectClose(code int) {
	r.t.Helper()
	_, p, err := r.ReadMessage()
	var closed *gorilla.CloseError
	if !errors.As(err, &closed) || closed.Code != code {
		r.t.Fatalf("expected close code %d, got %q, %v", code, p, err)
	}
}

const connect = `["CONNECT\naccept-version:1.2\nhost:x\n\n\u0000"]`

func TestFramesOnTheWire(t *testing.T) {
	s := newServer(t, Config{})
	r := s.raw(t, "session-1")
	r.expect("o")
	r.send(connect)
	if got := r.expect(`a["CONNECTED\nversion:1.2\nsession:session-1\n`); !strings.HasSuffix(got, `\n\n\u0000"]`) {
		t.Errorf("frame %q", got)
	}
	r.send(`["SEND\ndestination:/topic/a\nreceipt:1\n","\nx\u0000"]`)
	r.expect(`a["RECEIPT\nreceipt-id:1\n`)
	r.send(`"SEND\ndestination:/topic/a\nreceipt:2\n\nx\u0000"`) // a string alone
	r.expect(`a["RECEIPT\nreceipt-id:2\n`)
	r.send(`["DISCONNECT\nreceipt:3\n\n\u0000"]`)
	r.expect(`a["RECEIPT\nreceipt-id:3\n`)
	if got := r.expect("c"); got != `c[1000,""]` {
		t.Errorf("close frame %q", got)
	}
	r.expectClose(1000)
	s.observer.ExpectEnd(t, stomp.ReasonDisconnect)
}

func TestNothingIsIgnored(t *testing.T) {
	s := newServer(t, Config{})
	r := s.raw(t, "session-1")
	r.expect("o")
	for _, nothing := range []string{"", "[]", `""`, `[""]`, ` [ ] `} {
		r.send(nothing)
	}
	r.send(connect)
	r.expect(`a["CONNECTED`)
	for _, nothing := range []string{"", "[]", `""`, `["",""]`} {
		r.send(nothing)
	}
	r.send(`["DISCONNECT\n\n\u0000"]`)
	r.expect(`c[1000`)
}

func TestBrokenJSON(t *testing.T) {
	s := newServer(t, Config{})
	for _, broken := range []string{`["x`, `{}`, `[1]`, `CONNECT`, "\x00", `["a"] b`} {
		t.Run(broken, func(t *testing.T) {
			for _, connected := range []bool{false, true} {
				r := s.raw(t, "session-"+strings.Repeat("x", len(broken)))
				r.expect("o")
				if connected {
					r.send(connect)
					r.expect(`a["CONNECTED`)
				}
				r.send(broken)
				r.expect(`a["ERROR\nmessage:broken JSON`)
				r.expect(`c[1002,"broken JSON`)
				r.expectClose(1000)
				if connected {
					s.observer.ExpectEnd(t, stomp.ReasonProtocolError)
				}
			}
		})
	}
}

// A message in many WebSocket fragments, over the sizes of all buffers.
func TestFragments(t *testing.T) {
	s := newServer(t, Config{})
	r := s.raw(t, "session-1")
	r.expect("o")
	r.send(connect)
	r.expect(`a["CONNECTED`)
	r.send(`["SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\u0000"]`)
	text := strings.Repeat("0123456789abcdef", 2000)
	for _, size := range []int{1 << 20, 4096, 4095, 100} {
		w, err := r.NextWriter(gorilla.TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		for p := `["SEND\ndestination:/topic/a\n\n` + text + `\u0000"]`; len(p) > 0; {
			n := min(size, len(p))
			if _, err := w.Write([]byte(p[:n])); err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := r.expect(`a["MESSAGE\nsubscription:1\n`); !strings.HasSuffix(got, `\n\n`+text+`\u0000"]`) {
			t.Errorf("fragments of %d: frame %.200q", size, got)
		}
	}
}

// A body that is not UTF-8 cannot travel in a JSON string: it is dropped for
// this reader, and counted.
func TestNotUTF8IsDropped(t *testing.T) {
	s := newServer(t, Config{})
	c := s.dial(t)
	c.Connect()
	c.Subscribe("1", "/topic/a")
	sender := dialBinary(t, s)
	sender.Connect()
	before := s.endpoint.Broker().Stats().Dropped
	sender.Raw("SEND\ndestination:/topic/a\n\n\xff\xfe\x00")
	sender.ExpectNothing()
	c.ExpectNothing()
	if n := s.endpoint.Broker().Stats().Dropped - before; n != 1 {
		t.Errorf("%d messages counted as dropped", n)
	}
}

func TestHandshakeRefused(t *testing.T) {
	s := newServer(t, Config{Open: func(*http.Request, Connection, stomp.Transport) (stomp.Receiver, error) {
		return nil, stomp.ErrDraining
	}})
	r := s.raw(t, "session-1")
	for {
		_, p, err := r.ReadMessage()
		if err == nil {
			if string(p) == "o" || p[0] == 'c' {
				continue
			}
			t.Fatalf("frame %q", p)
		}
		if _, ok := errors.AsType[*gorilla.CloseError](err); !ok {
			t.Fatalf("no closing handshake: %v", err)
		}
		return
	}
}

// The endpoint may be closed between the making of the session and the open
// frame, which must come first nevertheless.
func TestOpenFrameIsFirst(t *testing.T) {
	var s *server
	s = newServer(t, Config{Open: func(_ *http.Request, _ Connection, tr stomp.Transport) (stomp.Receiver, error) {
		closed := make(chan struct{})
		session, err := s.endpoint.NewSession(signalling{tr, closed}, &stomp.Handshake{})
		s.endpoint.Close(1001, "gone")
		select {
		case <-closed:
		case <-time.After(200 * time.Millisecond): // nobody writes before the open frame: good
		}
		return session, err
	}})
	r := s.raw(t, "session-1")
	r.expect("o")
	r.expect(`a["ERROR\nmessage:gone`)
	r.expect(`c[1001,"gone"]`)
	r.expectClose(1000)
}

type signalling struct {
	stomp.Transport
	closed chan struct{}
}

func (s signalling) Close(code int, text string) {
	s.Transport.Close(code, text)
	close(s.closed)
}

func (s signalling) TextOnly() {}
