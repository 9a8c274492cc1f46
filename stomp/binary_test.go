package stomp_test

import (
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// textTransport is one that carries text only, as SockJS does.
type textTransport struct{ stomp.Transport }

func (textTransport) TextOnly() {}

// kinds remembers what was binary.
type kinds struct {
	stomp.Transport
	binary map[string]bool // by body, which is the end of the message
}

func (k *kinds) Write(batch []*stomp.Message) error {
	for _, m := range batch {
		if len(m.Data) > 3 {
			k.binary[string(m.Data[len(m.Data)-3:len(m.Data)-1])] = m.Binary
		}
	}
	return k.Transport.Write(batch)
}

func textOnly(t *testing.T, w *world) *stomptest.Client {
	t.Helper()
	p, err := stomptest.NewPipe(func(tr stomp.Transport) (stomp.Receiver, error) {
		return w.endpoint.NewSession(textTransport{tr}, new(stomp.Handshake))
	})
	if err != nil {
		t.Fatal(err)
	}
	c := stomptest.NewClient(t, p.Client())
	c.Connect()
	return c
}

// A body that is not UTF-8 is marked, so that a WebSocket carries it in a
// binary message; what is UTF-8 is not.
func TestBinaryIsMarked(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		k := &kinds{binary: make(map[string]bool)}
		p, err := stomptest.NewPipe(func(tr stomp.Transport) (stomp.Receiver, error) {
			k.Transport = tr
			return w.endpoint.NewSession(k, new(stomp.Handshake))
		})
		if err != nil {
			t.Fatal(err)
		}
		c := stomptest.NewClient(t, p.Client())
		c.Connect()
		for _, d := range []string{"/topic/a", "/queue/a"} {
			consume(c, d, d, "auto")
			for body, want := range map[string]bool{"\xff\xfe": true, "ok": false, "\u00e9": false, "\xc3\x28": true, "\x00\x01": false} {
				c.Publish(d, body)
				expectBodies(t, c, body)
				synctest.Wait()
				if got := k.binary[body]; got != want {
					t.Errorf("%s: %q is binary: %v", d, body, got)
				}
			}
		}
	})
}

// Whoever can carry text only is not given a binary body; it is counted, and
// the session lives on.
func TestBinaryForTextOnly(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		sender, binary, text := w.client(t), w.client(t), textOnly(t, w)
		for _, c := range []*stomptest.Client{binary, text} {
			c.Subscribe("1", "/topic/a")
		}
		sender.Publish("/topic/a", "\xff")
		sender.Publish("/topic/a", "text")
		sender.ExpectNothing()
		wantBodies(t, "who can carry it", binary, "\xff", "text")
		wantBodies(t, "who cannot", text, "text")
		if n := w.Stats().Dropped; n != 1 {
			t.Errorf("%d counted as dropped", n)
		}
		text.Send(frame.Disconnect, "", "receipt:1")
		text.Expect(frame.Receipt)
	})
}
