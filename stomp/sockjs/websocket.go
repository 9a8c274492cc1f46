package sockjs

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// websocket serves the websocket transport: the protocol's frames, each in a
// message of a WebSocket.
func (h *Handler) websocket(w http.ResponseWriter, r *http.Request, server, session string) {
	switch {
	case r.Method == http.MethodConnect: // Accept has the words for it
	case r.Method != http.MethodGet:
		notAllowed(w, "GET")
		return
	case !websocket.IsUpgrade(r):
		http.Error(w, `Can "Upgrade" only to "WebSocket".`, http.StatusBadRequest)
		return
	}
	c := Connection{Transport: "sockjs-websocket", Server: server, Session: session}
	_ = websocket.Accept(w, r, h.config.WebSocket, func(t stomp.Transport) (stomp.Receiver, error) {
		// before there is anybody else who could write
		if err := t.Write([]*stomp.Message{openFrame}); err != nil {
			return nil, err
		}
		f := &framed{Transport: t, idle: h.config.Heartbeat}
		var transport stomp.Transport = f
		if quick, ok := t.(stomp.QuickTransport); ok {
			transport = &quickFramed{f, quick}
		}
		receiver, err := h.config.Open(r, c, transport)
		f.Receiver = receiver
		if err == nil {
			f.startHeartbeat()
		}
		return f, err
	})
}

var (
	openFrame      = &stomp.Message{Data: []byte("o")}
	heartbeatFrame = []*stomp.Message{{Data: []byte("h")}}
)

// framed puts the frames of the protocol between a WebSocket and a receiver:
// "a[...]" and "h" out, arrays of strings in.
type framed struct {
	stomp.Transport
	stomp.Receiver
	partial []byte // a message that comes in pieces

	writing   sync.Mutex // the receiver's writer and the heartbeat take turns
	idle      time.Duration
	wrote     time.Time
	heartbeat *time.Timer
	over      atomic.Bool // no more heartbeats
}

func (f *framed) startHeartbeat() {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.wrote = time.Now()
	f.heartbeat = time.AfterFunc(f.idle, f.beat)
}

// beat sends a heartbeat if nothing was written for long.
func (f *framed) beat() {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.over.Load() {
		return
	}
	rest := f.idle - time.Since(f.wrote)
	if rest <= 0 {
		if err := f.Transport.Write(heartbeatFrame); err != nil {
			f.Transport.Abort()
			return
		}
		f.wrote, rest = time.Now(), f.idle
	}
	f.heartbeat.Reset(rest)
}

// Closed implements [stomp.Receiver].
func (f *framed) Closed(e stomp.Ending) {
	f.over.Store(true)
	f.heartbeat.Stop() // one that is being set again finds that it is over
	f.Receiver.Closed(e)
}

// TextOnly implements [stomp.TextOnly]: messages are JSON strings.
func (f *framed) TextOnly() {}

// Ahead implements [stomp.AheadTransport].
func (f *framed) Ahead() bool {
	t, ok := f.Transport.(stomp.AheadTransport)
	return ok && t.Ahead()
}

// SetSilenceTimeout implements [stomp.SilenceTimeout].
func (f *framed) SetSilenceTimeout(d time.Duration) {
	if t, ok := f.Transport.(stomp.SilenceTimeout); ok {
		t.SetSilenceTimeout(d)
	}
}

var batches = sync.Pool{New: func() any { return new([]*stomp.Message) }}

// Write implements [stomp.Transport].
func (f *framed) Write(batch []*stomp.Message) error {
	arrays := arraysOf(batch)
	defer release(arrays)
	f.writing.Lock()
	defer f.writing.Unlock()
	err := f.Transport.Write(*arrays)
	if len(batch) > 0 { // a pong alone is no frame
		f.wrote = time.Now()
	}
	return err
}

// quickFramed is framed over a WebSocket that can write without waiting.
type quickFramed struct {
	*framed
	quick stomp.QuickTransport
}

// TryWrite implements [stomp.QuickTransport].
func (f *quickFramed) TryWrite(batch []*stomp.Message) (n int, more bool, err error) {
	if !f.writing.TryLock() { // a heartbeat, which may have to wait
		return 0, true, nil
	}
	defer f.writing.Unlock()
	arrays := arraysOf(batch)
	defer release(arrays)
	if len(batch) > 0 {
		f.wrote = time.Now()
	}
	return f.quick.TryWrite(*arrays)
}

// arraysOf is a batch in the protocol's form, from the pool.
func arraysOf(batch []*stomp.Message) *[]*stomp.Message {
	arrays := batches.Get().(*[]*stomp.Message)
	for _, m := range batch {
		*arrays = append(*arrays, m.Form(stomp.FormSockJS, encodeArray))
	}
	return arrays
}

func release(arrays *[]*stomp.Message) {
	clear(*arrays)
	*arrays = (*arrays)[:0]
	batches.Put(arrays)
}

// Ping implements [stomp.Transport].
func (f *framed) Ping() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	return f.Transport.Ping()
}

// Close implements [stomp.Transport]: the code and the reason travel in the
// protocol's close frame, the WebSocket is closed with 1000.
func (f *framed) Close(code int, text string) {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.over.Store(true)
	if err := f.Transport.Write([]*stomp.Message{{Data: closeFrame(code, text)}}); err != nil {
		f.Abort()
		return
	}
	f.Transport.Close(1000, "")
}

var errBrokenJSON = stomp.Malformed("broken JSON encoding: a SockJS message is an array of strings")

// Receive implements [stomp.Receiver].
func (f *framed) Receive(p []byte, more bool) error {
	if more || f.partial != nil {
		f.partial = append(f.partial, p...)
		if more {
			f.Receiver.Alive()
			return nil
		}
		p, f.partial = f.partial, nil
	}
	messages, err := decodePayload(p)
	if err != nil {
		f.Receiver.Fail(err)
		return err
	}
	for _, m := range messages {
		if err := f.Receiver.Receive([]byte(m), false); err != nil {
			return err
		}
	}
	return nil
}

// decodePayload reads what a client sends: an array of strings, or one string.
// Nothing, and an empty array, are no messages.
func decodePayload(p []byte) ([]string, error) {
	if len(p) == 0 {
		return nil, nil
	}
	if p[0] == '"' {
		var one string
		if err := json.Unmarshal(p, &one); err != nil {
			return nil, errBrokenJSON
		}
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(p, &many); err != nil || many == nil {
		return nil, errBrokenJSON
	}
	return many, nil
}
