package presence

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

var sessions = flag.Int("sessions", 10_000, "how many sessions TestBytesPerSession has, up to a million")

// mute is a transport that holds nothing, so that what is measured is ours.
type mute struct{ written *atomic.Int64 }

func (m mute) Write(batch []*stomp.Message) error {
	m.written.Add(int64(len(batch)))
	return nil
}

func (m mute) TryWrite(batch []*stomp.Message) (int, bool, error) {
	return len(batch), false, m.Write(batch)
}

func (mute) Ping() error       { return nil }
func (mute) Close(int, string) {}
func (mute) Abort()            {}

// What broker and registry hold together for a session with a user that has
// registered 200 bytes of client data and subscribed: about 1.5 KiB, however many
// there are. Maps double, so that it is a tenth more or less at times.
//
//	go test -run BytesPerSession -v ./presence -sessions 1000000
func TestBytesPerSession(t *testing.T) {
	const most = 1664
	s := newServer(t, registryItself)
	s.registry.SetListener(nil)
	var written atomic.Int64
	all := make([]*stomp.Session, *sessions)
	say := func(c *stomp.Session, frame string) {
		t.Helper()
		if err := c.Receive([]byte(frame), false); err != nil {
			t.Fatal(err)
		}
	}
	total := heapDelta(func() any {
		for i := range all {
			c, err := s.endpoint.NewSession(mute{&written}, &stomp.Handshake{User: fmt.Sprint("user-", i), RemoteAddr: "192.0.2.1:40000"})
			if err != nil {
				t.Fatal(err)
			}
			all[i] = c
			name := fmt.Sprintf(`{"name":"somebody %d","about":"`, i)
			data := name + strings.Repeat("x", 198-len(name)) + `"}`
			say(c, "CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\nclient-data:"+data+"\n\n\x00")
			say(c, "SUBSCRIBE\nid:1\ndestination:/topic/news\n\n\x00")
		}
		s.quiet()
		for written.Load() < int64(len(all)) { // CONNECTED
			time.Sleep(time.Millisecond)
		}
		s.all().feed = stomp.NewFeed(stomp.FeedConfig{}) // its past is bounded, whoever is there
		return s
	})
	if n := s.broker.Stats().Subscriptions; n != len(all) {
		t.Errorf("%d subscriptions", n)
	}
	each := total / int64(len(all))
	t.Logf("%d sessions hold %d bytes each", len(all), each)
	if each > most {
		t.Errorf("%d bytes a session, want %d at most", each, most)
	}

	say(all[0], "SUBSCRIBE\nid:2\ndestination:/topic/alone\n\n\x00")
	const rounds = 1000
	start := time.Now()
	for range rounds {
		say(all[0], "SEND\ndestination:/topic/alone\n\nx\x00")
	}
	t.Logf("a SEND to one of them takes %v", time.Since(start)/rounds)
	for _, c := range all {
		c.Closed(stomp.Ending{Code: 1006})
	}
	s.quiet()
}
