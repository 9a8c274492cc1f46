package stomptest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Pipe is a connection in memory, and the hand on it: a [stomp.Transport] on
// one end, a [Conn] on the other. As a browser does, its client answers pings
// and closes, unless it is told otherwise.
type Pipe struct {
	receiver stomp.Receiver
	up       *inbox[upward]
	down     *inbox[downward]

	mu      sync.Mutex
	changed *sync.Cond
	failure error
	state   PipeState

	frozen, mute, ended bool
}

// PipeState is what the server did to a [Pipe].
type PipeState struct {
	Writes   int // that had something in them
	Messages int // written
	Pings    int
	Aborted  bool // the server dropped the connection
	Blocked  bool // the server waits for the client to read
}

// upward is what the reading goroutine hands to the receiver.
type upward struct {
	data  []byte
	alive bool
	end   *stomp.Ending
}

// downward is what the client gets.
type downward struct {
	data []byte
	end  *Closing
}

// NewPipe connects a client with the receiver that open returns for the other
// end.
func NewPipe(open func(stomp.Transport) (stomp.Receiver, error)) (*Pipe, error) {
	p := &Pipe{up: newInbox[upward](), down: newInbox[downward]()}
	p.changed = sync.NewCond(&p.mu)
	var err error
	if p.receiver, err = open(serverEnd{p}); err != nil {
		return nil, err
	}
	go p.read()
	return p, nil
}

// Dial connects a client to an endpoint, in memory. A nil handshake is an
// anonymous one.
func Dial(t testing.TB, e *stomp.Endpoint, hs *stomp.Handshake) (*Client, *Pipe) {
	t.Helper()
	if hs == nil {
		hs = &stomp.Handshake{Transport: "pipe"}
	}
	p, err := NewPipe(func(tr stomp.Transport) (stomp.Receiver, error) { return e.NewSession(tr, hs) })
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(t, p.Client())
	c.User = hs.User
	return c, p
}

// Client is the client's end.
func (p *Pipe) Client() Conn { return clientEnd{p} }

// forever is longer than any test.
const forever = 1000 * time.Hour

// read is the transport's reading goroutine.
func (p *Pipe) read() {
	discard := false
	for {
		if !p.ahead() {
			p.receiver.Settle()
		}
		u, _ := p.up.take(forever)
		switch {
		case u.end != nil:
			p.receiver.Closed(*u.end)
			return
		case u.alive:
			p.receiver.Alive()
		case !discard:
			discard = p.receiver.Receive(u.data, false) != nil
			clear(u.data) // shows what the receiver keeps of it
		}
	}
}

// ahead says whether the client has sent something that was not received yet.
func (p *Pipe) ahead() bool {
	u, ok := p.up.peek()
	return ok && u.data != nil
}

// Freeze stops the client as SIGSTOP does: it reads nothing, so that writes
// block, and answers nothing.
func (p *Pipe) Freeze() { p.set(func() { p.frozen = true }) }

// Thaw lets a frozen client go on.
func (p *Pipe) Thaw() { p.set(func() { p.frozen = false }) }

// Mute stops the client from answering pings and closes; it still reads.
func (p *Pipe) Mute() { p.set(func() { p.mute = true }) }

// Fail makes the server's writes fail from now on.
func (p *Pipe) Fail(err error) { p.set(func() { p.failure = err }) }

// End ends the connection in a way of the caller's, as if the network or the
// client had.
func (p *Pipe) End(e stomp.Ending) { p.set(func() { p.end(e) }) }

func (p *Pipe) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

// State is what the server has done so far.
func (p *Pipe) State() PipeState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// room waits until the client reads. With p.mu held.
func (p *Pipe) room() error {
	for p.frozen && !p.ended && p.failure == nil {
		p.state.Blocked = true
		p.changed.Wait()
		p.state.Blocked = false
	}
	if p.failure != nil {
		return p.failure
	}
	if p.ended {
		return net.ErrClosed
	}
	return nil
}

// end tells both ends, once. With p.mu held.
func (p *Pipe) end(e stomp.Ending) {
	if p.ended {
		return
	}
	p.ended = true
	p.up.put(upward{end: &e})
	p.down.put(downward{end: &Closing{Code: e.Code, Err: e.Err}})
}

type serverEnd struct{ *Pipe }

// Write implements [stomp.Transport].
func (s serverEnd) Write(batch []*stomp.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(batch) == 0 {
		return s.failure
	}
	if err := s.room(); err != nil {
		return err
	}
	s.state.Writes++
	s.state.Messages += len(batch)
	for _, m := range batch {
		s.down.put(downward{data: m.Data})
	}
	return nil
}

// Ping implements [stomp.Transport].
func (s serverEnd) Ping() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.room(); err != nil {
		return err
	}
	s.state.Pings++
	if !s.mute {
		s.up.put(upward{alive: true})
	}
	return nil
}

// Ahead implements [stomp.AheadTransport].
func (s serverEnd) Ahead() bool { return s.ahead() }

// Close implements [stomp.Transport].
func (s serverEnd) Close(code int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room() != nil {
		return
	}
	s.down.put(downward{end: &Closing{Code: code, Text: text}})
	if !s.mute {
		s.end(stomp.Ending{Code: code})
	}
}

// Abort implements [stomp.Transport].
func (s serverEnd) Abort() {
	s.set(func() {
		s.state.Aborted = true
		s.end(stomp.Ending{Code: 1006, Err: net.ErrClosed})
	})
}

type clientEnd struct{ *Pipe }

// Write implements [Conn].
func (c clientEnd) Write(p []byte) error {
	c.up.put(upward{data: p})
	return nil
}

// Read implements [Conn].
func (c clientEnd) Read() ([]byte, error) {
	d, _ := c.down.take(forever)
	if d.end != nil {
		return nil, d.end
	}
	return d.data, nil
}

// Close implements [Conn].
func (c clientEnd) Close(code int) error {
	c.End(stomp.Ending{Code: code})
	return nil
}

// Abort implements [Conn].
func (c clientEnd) Abort() { c.End(stomp.Ending{Code: 1006, Err: io.ErrUnexpectedEOF}) }

// Pings implements [Conn].
func (c clientEnd) Pings() int { return c.State().Pings }
