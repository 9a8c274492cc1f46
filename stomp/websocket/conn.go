package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// conn is a WebSocket connection as a [stomp.Transport].
type conn struct {
	ws  *websocket.Conn
	in  *lateConn
	max int64 // bytes of a message, inflated

	// the reading goroutine's
	receiver stomp.Receiver
	idle     *idle // nil: it waits inside of gorilla's reader
	discard  bool  // the receiver wants no more
	more     bool  // of the message that is being received
	grown    bool  // the stack, probably

	closing atomic.Bool  // Close was called
	due     atomic.Int64 // when its reading ends, in Unix nanoseconds; 0: it has no end

	out *batchConn // of in; last, beside what a quickConn has
}

// closeWait is how long the peer may take for its part of the closing
// handshake (RFC 6455 section 7.1.1: the server closes the connection).
const closeWait = 2 * time.Second

// newConn is a connection, and what it is as a transport.
func newConn(ws *websocket.Conn, in *lateConn, config Config) (*conn, stomp.Transport) {
	if config.WriteTimeout == 0 {
		config.WriteTimeout = 10 * time.Second
	}
	if config.MaxMessage == 0 {
		config.MaxMessage = 16 << 20
	}
	in.timeout = config.WriteTimeout
	// far above: at its own limit gorilla closes without an ERROR before it
	ws.SetReadLimit(16 * config.MaxMessage)
	idle := newIdle(in)
	c, transport := allocate(idle)
	c.ws, c.in, c.out, c.max, c.idle = ws, in, &in.batchConn, config.MaxMessage, idle
	return c, transport
}

// Write implements [stomp.Transport].
func (c *conn) Write(batch []*stomp.Message) error { return c.out.writeMessages(batch) }

// attempt is a [stomp.QuickTransport]'s TryWrite: it collects messages, and has
// write, with c.out.mu held, write what was collected, which says whether some of
// it is left.
func (c *conn) attempt(batch []*stomp.Message, write func() (more bool, err error)) (n int, more bool, err error) {
	out := c.out
	if !out.mu.TryLock() { // the reading goroutine says its last
		return 0, true, nil
	}
	defer out.mu.Unlock()
	if n = out.collect(batch); out.buf == nil {
		return n, false, nil
	}
	more, err = write()
	return n, more, err
}

// Ping implements [stomp.Transport].
func (c *conn) Ping() error {
	if err := c.ws.WriteControl(websocket.PingMessage, nil, time.Time{}); err != nil {
		return err
	}
	return c.out.Flush()
}

// SetSilenceTimeout implements [stomp.SilenceTimeout].
func (c *conn) SetSilenceTimeout(d time.Duration) { setSocketOptions(c.out.Conn, d) }

// maxCloseText is what fits into a close frame beside the code (RFC 6455
// section 5.5).
const maxCloseText = 123

// Close implements [stomp.Transport].
func (c *conn) Close(code int, text string) {
	c.closing.Store(true)
	if code == websocket.CloseAbnormalClosure || code == websocket.CloseNoStatusReceived {
		code = websocket.CloseNormalClosure // neither may be sent
	}
	err := c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, closeText(text)), time.Time{})
	if err == nil {
		err = c.out.Flush()
	}
	if err != nil {
		c.Abort()
		return
	}
	due := time.Now().Add(closeWait)
	c.due.Store(due.UnixNano())
	_ = c.out.SetReadDeadline(due)
}

// closeText cuts a close reason to its length, not inside of a character.
func closeText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for len(s) > maxCloseText {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// Abort implements [stomp.Transport].
func (c *conn) Abort() { _ = c.out.Conn.Close() }

// reads are the buffers of connections that have something to read.
var reads = sync.Pool{New: func() any { b := make([]byte, 4<<10); return &b }}

// start begins to read.
func (c *conn) start(receiver stomp.Receiver) {
	c.receiver = receiver
	c.ws.SetPingHandler(func(data string) error {
		c.out.pong.Store(&data)
		receiver.Alive()
		receiver.Flush()
		return nil
	})
	c.ws.SetPongHandler(func(string) error {
		receiver.Alive()
		return nil
	})
	c.ws.SetCloseHandler(func(int, string) error { return nil }) // answered in end
	if c.idle != nil {
		c.readAhead()
	}
	go c.read()
}

// read is the reading goroutine, the only one that an idle connection has.
func (c *conn) read() {
	for c.idle == nil || !c.grown {
		if c.idle != nil && c.in.empty() {
			c.wait()
		}
		if err := c.messages(); err != nil {
			c.end(c.receiver, err)
			return
		}
	}
	c.grown = false
	go c.read() // see idle
}

// maxAhead is how many messages are received at most before the receiver settles:
// those who send without end would have what they sent first wait for as long.
const maxAhead = 64

// messages passes on what comes, until there is nothing to read, or something
// ends it.
func (c *conn) messages() (err error) {
	defer func() {
		if v := recover(); v != nil { // ours or gorilla's: the session's own it recovers itself
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			c.receiver.Fail(err)
			_, _ = io.Copy(io.Discard, c.out.Conn) // until the session has closed it
		}
	}()
	for n := 1; ; n++ {
		_, r, err := c.ws.NextReader()
		if err == nil {
			err = c.message(r)
		}
		if err != nil {
			return err
		}
		if c.idle != nil {
			c.readAhead()
			if n%maxAhead == 0 || !c.Ahead() {
				c.receiver.Settle()
			}
			if c.in.empty() {
				return nil
			}
		}
	}
}

// Ahead implements [stomp.AheadTransport]: a whole message that is in one frame.
// Where messages may be deflated nothing is known of what follows: one that says
// early that it ends (RFC 1951 section 3.2.3) leaves the rest of its frame unread.
func (c *conn) Ahead() bool {
	if c.idle == nil || c.more || c.out.deflate { // it waits where nobody can say so
		return false
	}
	head, n := c.in.lead, c.in.br.Buffered()
	if n > 0 {
		head, _ = c.in.br.Peek(min(n, maxHead))
	}
	size := frameSize(head)
	return size > 0 && size <= n+len(c.in.lead)
}

// maxHead is the most bytes of a frame before its payload (RFC 6455 section 5.2).
const maxHead = 2 + 8 + 4

// frameSize is the size of the frame that begins with head, if it is a whole message
// from a client, of less than 64 KiB. Otherwise, or if that is not known yet, 0.
func frameSize(head []byte) int {
	const length, mask = 0x7f, 4
	if len(head) < 2 || head[0]&fin == 0 {
		return 0
	}
	if opcode := int(head[0] & 0xf); opcode != websocket.TextMessage && opcode != websocket.BinaryMessage {
		return 0
	}
	switch n := int(head[1] & length); {
	case n < 126:
		return 2 + mask + n
	case n == 126 && len(head) >= 4:
		return 4 + mask + int(binary.BigEndian.Uint16(head[2:]))
	default:
		return 0
	}
}

// message passes one message on. After an error of the receiver what comes is
// read and discarded, so that the kernel has no reason to reset the connection
// before the peer has read why it is closed.
func (c *conn) message(r io.Reader) error {
	buf := reads.Get().(*[]byte)
	defer reads.Put(buf)
	var size int64
	for {
		n, err := fill(r, *buf, c.receiver)
		if n > 1 && !c.grown { // it is more than a heart-beat
			c.grown = true
			growStack()
		}
		if size += int64(n); size > c.max && !c.discard { // gorilla counts what is deflated
			e := stomp.LimitExceeded("message_size", c.max)
			e.Code = websocket.CloseMessageTooBig
			c.receiver.Fail(e)
			c.discard = true
		}
		c.more = err == nil
		if !c.more && !errors.Is(err, io.EOF) {
			return err
		}
		if !c.discard && (n > 0 || !c.more) {
			c.discard = c.receiver.Receive((*buf)[:n], c.more) != nil
		}
		if !c.more {
			return nil
		}
	}
}

// growStack has the stack grow to what handling a frame takes: at once, and while
// there is little on it that has to be copied. It would grow twice otherwise,
// below more and more calls.
//
//go:noinline
func growStack() {
	var frame [4 << 10]byte
	runtime.KeepAlive(&frame)
}

// fill reads until p is full; io.EOF says that the message ends. However slowly
// it comes, it is a sign of life.
func fill(r io.Reader, p []byte, receiver stomp.Receiver) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		if n += m; n < len(p) && err == nil {
			receiver.Alive()
		}
	}
	return n, err
}

func (c *conn) end(receiver stomp.Receiver, err error) {
	ending := stomp.Ending{Code: websocket.CloseAbnormalClosure, Err: err}
	var ce *websocket.CloseError
	switch {
	case errors.As(err, &ce) && ce.Code != websocket.CloseAbnormalClosure:
		ending = stomp.Ending{Code: ce.Code}
	case errors.Is(err, websocket.ErrReadLimit):
		ending = stomp.Ending{Code: websocket.CloseMessageTooBig}
	case !isNetwork(err):
		ending = stomp.Ending{Code: websocket.CloseProtocolError, Err: err}
	}
	receiver.Closed(ending)
	if ce != nil && !c.closing.Load() {
		// the peer's close, answered (RFC 6455 section 5.5.1)
		_ = c.out.Conn.SetWriteDeadline(time.Now().Add(closeWait)) // also of a write under way
		if c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(ce.Code, ""), time.Time{}) == nil {
			_ = c.out.Flush()
		}
	} else if !isNetwork(err) {
		_ = c.out.Flush() // what gorilla said about a violation
	}
	_ = c.out.Conn.Close()
}

// isNetwork tells a connection that broke from a peer that broke the rules.
func isNetwork(err error) bool {
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &ne) || websocket.IsCloseError(err, websocket.CloseAbnormalClosure)
}
