package stomp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// bursting is a transport of which a test says what is there to be received, and
// that keeps what is written, which is done at once.
type bursting struct {
	discard
	ahead bool

	mu    sync.Mutex
	lines []string // command, what it names and body of each frame
}

func (t *bursting) Ahead() bool { return t.ahead }

func (t *bursting) Write(batch []*Message) error {
	_, _, err := t.TryWrite(batch)
	return err
}

func (t *bursting) TryWrite(batch []*Message) (int, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range batch {
		head, body, _ := bytes.Cut(m.Data, []byte("\n\n"))
		line, _, _ := bytes.Cut(head, []byte("\n"))
		for _, h := range []string{"subscription:", "destination:", "receipt-id:"} {
			if _, after, ok := bytes.Cut(head, []byte("\n"+h)); ok {
				value, _, _ := bytes.Cut(after, []byte("\n"))
				line = append(bytes.Clone(line), " "+string(value)...)
			}
		}
		t.lines = append(t.lines, string(line)+" "+string(bytes.TrimSuffix(body, []byte{0})))
	}
	return len(batch), false, nil
}

// sees waits until a session's transport got what is queued, and returns it.
func (t *bursting) sees(s *Session) []string {
	for {
		s.out.mu.Lock()
		busy := s.out.writing && s.out.state != outboxClosed
		s.out.mu.Unlock()
		if !busy {
			break
		}
		runtime.Gosched()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.lines
	t.lines = nil
	return lines
}

// without takes what belongs to other subscriptions out: nothing is promised of the
// order of two.
func without(lines []string, subscription string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.HasPrefix(l, "MESSAGE ") && !strings.HasPrefix(l, "MESSAGE "+subscription+" ")
	})
}

// sayOver is say in a buffer that has something else in it afterwards.
func sayOver(s *Session, format string, args ...any) error {
	p := fmt.Appendf(nil, format, args...)
	err := s.Receive(p, false)
	clear(p)
	return err
}

// burstWorld is a sender, and two who read what it sends.
type burstWorld struct {
	sender, exact, wild   *Session
	from, toExact, toWild *bursting
	endpoint              *Endpoint
}

func newBurstWorld(t *testing.T, p Policy) *burstWorld { return burstWorldIn(t, newTestBroker(t), p) }

func burstWorldIn(t *testing.T, b *Broker, p Policy) *burstWorld {
	w := &burstWorld{from: new(bursting), toExact: new(bursting), toWild: new(bursting), endpoint: b.Endpoint("/", p)}
	w.sender, w.exact, w.wild = open(t, w.endpoint, w.from), open(t, w.endpoint, w.toExact), open(t, w.endpoint, w.toWild)
	say(t, w.exact, "SUBSCRIBE\nid:s0\ndestination:/topic/a\n\n\x00")
	say(t, w.wild, "SUBSCRIBE\nid:s0\ndestination:/topic/*\nack:client-individual\n\n\x00")
	w.from.sees(w.sender)
	w.toExact.sees(w.exact)
	w.toWild.sees(w.wild)
	return w
}

func (w *burstWorld) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := w.toExact.sees(w.exact); !slices.Equal(got, want) {
		t.Errorf("%s: the subscriber got %q, not %q", what, got, want)
	}
}

// What is sent in a row comes together, when nothing more is there; what comes in
// between has its effect after what was before.
func TestBurst(t *testing.T) {
	p := unlimited()
	p.Limits.Unacknowledged = 1000
	w := newBurstWorld(t, p)
	w.from.ahead = true
	send := func(body string, header ...string) error {
		return sayOver(w.sender, "SEND\ndestination:/topic/a\n%s\n%s\x00", strings.Join(append(header, ""), "\n"), body)
	}
	for _, body := range []string{"one", "two", "three"} {
		if err := send(body); err != nil {
			t.Fatal(err)
		}
	}
	w.expect(t, "before Settle")
	w.sender.Settle()
	w.expect(t, "after Settle", "MESSAGE s0 /topic/a one", "MESSAGE s0 /topic/a two", "MESSAGE s0 /topic/a three")
	if got := w.toWild.sees(w.wild); !slices.Equal(got, []string{"MESSAGE s0 /topic/a one", "MESSAGE s0 /topic/a two", "MESSAGE s0 /topic/a three"}) {
		t.Errorf("who subscribed to a pattern got %q", got)
	}
	for what, f := range map[string]string{
		"a receipt":           "SEND\ndestination:/topic/a\nreceipt:r\n\nlast\x00",
		"a transaction":       "BEGIN\ntransaction:t\n\n\x00",
		"SUBSCRIBE":           "SUBSCRIBE\nid:2\ndestination:/topic/b\n\n\x00",
		"another destination": "SEND\ndestination:/topic/b\n\nelse\x00",
		"COMMIT":              "COMMIT\ntransaction:t\n\n\x00",
	} {
		t.Run(what, func(t *testing.T) {
			w := newBurstWorld(t, p)
			if what == "COMMIT" {
				say(t, w.sender, "BEGIN\ntransaction:t\n\n\x00")
				say(t, w.sender, "SEND\ndestination:/topic/a\ntransaction:t\n\nlast\x00")
			}
			w.from.ahead = true
			if err := sayOver(w.sender, "SEND\ndestination:/topic/a\n\nfirst\x00"); err != nil {
				t.Fatal(err)
			}
			w.expect(t, "before it")
			if err := sayOver(w.sender, "%s", f); err != nil {
				t.Fatal(err)
			}
			want := []string{"MESSAGE s0 /topic/a first"}
			if what == "a receipt" || what == "COMMIT" {
				want = append(want, "MESSAGE s0 /topic/a last")
			}
			w.expect(t, "after it", want...)
		})
	}
}

// The end of a session comes after what it has sent, however it ends.
func TestBurstBeforeTheEnd(t *testing.T) {
	for what, end := range map[string]func(s *Session){
		"DISCONNECT":      func(s *Session) { _ = sayOver(s, "DISCONNECT\nreceipt:r\n\n\x00") },
		"an error":        func(s *Session) { _ = sayOver(s, "NONSENSE\n\n\x00") },
		"a refused frame": func(s *Session) { _ = sayOver(s, "SEND\ndestination:/nowhere\n\nx\x00") },
		"no frame":        func(s *Session) { _ = sayOver(s, "SEND\nnonsense\n\n\x00") },
		"too many": func(s *Session) {
			p := *s.endpoint.Policy()
			p.Limits.FramesPerSecond = 1
			s.endpoint.SetPolicy(p)
			for sayOver(s, "SEND\ndestination:/topic/a\n\nx\x00") == nil {
			}
		},
		"the transport":  func(s *Session) { s.Fail(protocolErrorf("no")) },
		"the connection": func(s *Session) { s.Closed(Ending{Code: 1006}) },
		"another's doing": func(s *Session) {
			s.End(End{Reason: ReasonPolicy})
			_ = sayOver(s, "SEND\ndestination:/topic/a\n\nx\x00")
		},
		"nothing but time": func(s *Session) { s.End(End{Reason: ReasonHeartBeatTimeout}); s.Settle() },
	} {
		t.Run(what, func(t *testing.T) {
			w := newBurstWorld(t, unlimited())
			w.from.ahead = true
			if err := sayOver(w.sender, "SEND\ndestination:/topic/a\n\nfirst\x00"); err != nil {
				t.Fatal(err)
			}
			w.expect(t, "before it")
			end(w.sender)
			if got := w.toExact.sees(w.exact); len(got) == 0 || got[0] != "MESSAGE s0 /topic/a first" {
				t.Errorf("the subscriber got %q", got)
			}
		})
	}
}

// A burst is bounded, in messages and in bytes.
func TestBurstIsBounded(t *testing.T) {
	for _, tt := range []struct{ size, most int }{{1, maxBurst}, {maxBurstBytes / 4, 4}} {
		w := newBurstWorld(t, unlimited())
		w.from.ahead = true
		body := strings.Repeat("x", tt.size)
		for range tt.most - 1 {
			if err := sayOver(w.sender, "SEND\ndestination:/topic/a\n\n%s\x00", body); err != nil {
				t.Fatal(err)
			}
		}
		w.expect(t, "before the last")
		if err := sayOver(w.sender, "SEND\ndestination:/topic/a\n\n%s\x00", body); err != nil {
			t.Fatal(err)
		}
		if got := w.toExact.sees(w.exact); len(got) != tt.most {
			t.Errorf("%d messages of %d bytes: %d came", tt.most, tt.size, len(got))
		}
	}
}

// Attack: owe for all that one may, on many connections. One that is refused in the
// middle of a burst is refused once, not for each message that is left of it.
func TestBurstRefusesOnce(t *testing.T) {
	p := unlimited()
	p.Limits.Unacknowledged = 1
	w := newBurstWorld(t, p)
	w.from.ahead = true
	for range maxBurst - 1 {
		if err := sayOver(w.sender, "SEND\ndestination:/topic/a\n\nx\x00"); err != nil {
			t.Fatal(err)
		}
	}
	w.wild.mu.Lock() // who ends it waits
	before := runtime.NumGoroutine()
	w.sender.Settle()
	started := runtime.NumGoroutine() - before
	w.wild.mu.Unlock()
	if started > maxBurst/4 {
		t.Errorf("%d goroutines end one session", started)
	}
	if got := w.toExact.sees(w.exact); len(got) != maxBurst-1 {
		t.Errorf("another subscriber got %d messages", len(got))
	}
}

// unhurried is an interceptor.
type unhurried struct{}

func (unhurried) Intercept(*Session, *frame.Frame) (bool, error) { return false, nil }

// Where somebody looks at frames, who may take his time, nothing waits.
func TestNoBurstWithInterceptors(t *testing.T) {
	w := newBurstWorld(t, unlimited())
	w.from.ahead = true
	_ = sayOver(w.sender, "SEND\ndestination:/topic/a\n\nbefore\x00")
	w.expect(t, "before")
	p := *w.endpoint.Policy()
	p.Interceptors = []Interceptor{unhurried{}}
	w.endpoint.SetPolicy(p)
	_ = sayOver(w.sender, "SEND\ndestination:/topic/a\n\nafter\x00")
	w.expect(t, "after", "MESSAGE s0 /topic/a before", "MESSAGE s0 /topic/a after")
}

// An interceptor may change a destination, and be there only after it was looked
// whether a burst ends: a new policy is in force at once.
func TestBurstIsOfOneDestination(t *testing.T) {
	w := newBurstWorld(t, unlimited())
	w.from.ahead = true
	_ = sayOver(w.sender, "SEND\ndestination:/topic/a\n\nfirst\x00")
	w.sender.publish("/topic/b", &frame.Frame{Command: frame.Send}, newPublication(nil, []byte("second")))
	w.sender.Settle()
	w.expect(t, "a burst", "MESSAGE s0 /topic/a first")
	if got := w.toWild.sees(w.wild); !slices.Equal(got, []string{"MESSAGE s0 /topic/a first", "MESSAGE s0 /topic/b second"}) {
		t.Errorf("who subscribed to a pattern got %q", got)
	}
}

// Who has no room is ended as he would be by each message alone, all of which are
// counted.
func TestBurstToASlowConsumer(t *testing.T) {
	p := unlimited()
	p.Limits.Pending = 100
	b := newTestBroker(t)
	e := b.Endpoint("/", p)
	from, slow := &bursting{ahead: true}, stuck{released: make(chan struct{})}
	sender, reader := open(t, e, from), open(t, e, slow)
	t.Cleanup(func() { close(slow.released) })
	say(t, reader, "SUBSCRIBE\nid:s0\ndestination:/topic/a\n\n\x00")
	before := b.Stats().Dropped
	for range 5 {
		_ = sayOver(sender, "SEND\ndestination:/topic/a\n\n%s\x00", strings.Repeat("x", 60))
	}
	sender.Settle()
	for !reader.gone.Load() {
		runtime.Gosched()
	}
	reader.mu.Lock()
	phase := reader.phase
	reader.mu.Unlock()
	if dropped := b.Stats().Dropped - before; phase != phaseEnded || dropped < 4 {
		t.Errorf("phase %d, %d dropped", phase, dropped)
	}
}

// Whatever a client sends, in whatever pieces it is there: with bursts everybody
// gets what he would get without.
func TestBurstsChangeNothing(t *testing.T) {
	b := newTestBroker(t)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // it is a test
		frames := make([]string, 60)
		open := 0
		for i := range frames {
			destination := []string{"/topic/a", "/topic/a", "/topic/a", "/topic/b", "/queue/q", "/user/none/x"}[r.IntN(6)]
			switch n := r.IntN(20); {
			case n == 0:
				frames[i] = fmt.Sprintf("SUBSCRIBE\nid:s%d\ndestination:/topic/%c\n\n\x00", i, 'a'+rune(r.IntN(2)))
			case n == 1:
				frames[i] = "\n"
			case n == 2:
				open = i
				frames[i] = fmt.Sprintf("BEGIN\ntransaction:t%d\n\n\x00", i)
			case n == 3 && open > 0:
				frames[i] = fmt.Sprintf("COMMIT\ntransaction:t%d\nreceipt:c%d\n\n\x00", open, i)
				open = 0
			case n < 7 && open > 0:
				frames[i] = fmt.Sprintf("SEND\ndestination:%s\ntransaction:t%d\n\n%d\x00", destination, open, i)
			case n < 10:
				frames[i] = fmt.Sprintf("SEND\ndestination:%s\nreceipt:%d\n\n%d\x00", destination, i, i)
			case n == 19 && i > 40:
				frames[i] = "NONSENSE\n\n\x00"
			default:
				frames[i] = fmt.Sprintf("SEND\ndestination:%s\n\n%d\x00", destination, i)
			}
		}
		var got [2][3][]string
		for i, bursts := range []bool{false, true} {
			t.Run(fmt.Sprint(seed, bursts), func(t *testing.T) {
				w := burstWorldIn(t, b, unlimited())
				for _, f := range frames {
					w.from.ahead = bursts && r.IntN(4) > 0
					if sayOver(w.sender, "%s", f) != nil {
						break
					}
					if !w.from.ahead {
						w.sender.Settle()
					}
				}
				w.sender.Settle()
				got[i] = [3][]string{w.from.sees(w.sender), w.toExact.sees(w.exact), w.toWild.sees(w.wild)}
			})
		}
		for who := range got[0] {
			for sub := range len(frames) {
				sub := fmt.Sprint("s", sub)
				if alone, together := without(got[0][who], sub), without(got[1][who], sub); !slices.Equal(alone, together) {
					t.Fatalf("seed %d, subscription %s of %d: got\n%q with bursts, and\n%q without", seed, sub, who, together, alone)
				}
			}
			if len(got[0][who]) != len(got[1][who]) {
				t.Fatalf("seed %d: %d got %d frames with bursts, and %d without", seed, who, len(got[1][who]), len(got[0][who]))
			}
		}
	}
}
