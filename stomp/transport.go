package stomp

import (
	"sync/atomic"
	"time"
)

// Transport is the sending half of a connection, as its session sees it.
//
// Write, Ping and Close are called by one goroutine at a time, not always the
// same. Abort may be
// called from any goroutine, also while another one is blocked in Write, and
// makes that one return.
type Transport interface {
	// Write sends the messages in order, in as few system calls as it can,
	// together with whatever the transport itself has to say (a pong). An
	// empty batch sends only the latter. It may block for as long as the
	// peer does not read, up to the transport's own write timeout; any error
	// means that the connection is of no more use.
	Write(batch []*Message) error

	// Ping asks the peer for a sign of life below STOMP (RFC 6455 section
	// 5.5.2), which Receiver.Alive reports.
	Ping() error

	// Close starts the closing handshake with an RFC 6455 close code and a
	// reason, after everything written before, and returns without waiting
	// for the peer. Receiver.Closed follows when the connection is gone.
	Close(code int, text string)

	// Abort drops the connection at once.
	Abort()
}

// QuickTransport is implemented by a [Transport] that can write without waiting
// for the peer.
type QuickTransport interface {
	Transport

	// TryWrite is Write, except that it does not wait, and takes no more than
	// goes out in one system call or, encrypted, in a few: n messages were
	// taken; more says that not all of them could be written, so that the next
	// call has to be Write, which begins with what is left of them. It counts
	// as Write for who may call it when.
	TryWrite(batch []*Message) (n int, more bool, err error)
}

// AheadTransport is implemented by a [Transport] that knows what it will pass on
// next.
type AheadTransport interface {
	Transport

	// Ahead says, while the receiver receives, whether the next message is
	// there already. The transport calls Receiver.Settle before it waits for
	// one, and after some that it did not wait for.
	Ahead() bool
}

// Receiver is the receiving half: what a transport calls. All methods are
// called by the transport's reading goroutine only.
type Receiver interface {
	// Receive takes bytes in order; more says that the message they came in
	// goes on in the next call. The bytes are valid during the call only.
	// After an error the transport reads on and discards until the
	// connection is closed.
	Receive(p []byte, more bool) error

	// Settle publishes what was held back because more was to follow at
	// once: see [AheadTransport]. No other transport need call it.
	Settle()

	// Alive reports a sign of life without bytes, such as a pong.
	Alive()

	// Flush asks that Transport.Write be called soon, because the transport
	// has something to write itself.
	Flush()

	// Fail reports that the peer broke the rules of the transport. The
	// receiver closes the connection.
	Fail(err error)

	// Closed reports the end of the connection: once, last.
	Closed(Ending)
}

// Ending is how a connection ended, as the transport saw it.
type Ending struct {
	// Code is the close code that the peer sent, 1005 if it sent none, 1006
	// if there was no closing handshake (RFC 6455 section 7.1.5).
	Code int
	// Err is what went wrong, if anything did. An *Error in it decides the
	// reason of the session's end.
	Err error
	// Waited is how long the transport has waited for the peer to come back,
	// if it is one whose clients do.
	Waited time.Duration
}

// Message is a frame as it goes out: encoded once, shared by all sessions
// that it is sent to, never changed.
type Message struct {
	// Data is the whole frame, NUL included, or a single LF.
	Data []byte
	// Binary says that Data is not valid UTF-8, so that it cannot travel in
	// a WebSocket text frame.
	Binary bool

	forms [numForms]atomic.Pointer[Message]
}

// Form is what a transport makes of a message's bytes.
type Form uint8

// The forms that there are.
const (
	FormSockJS   Form = iota // an array of strings
	FormDeflated             // RFC 7692, without context takeover
	numForms
)

// Form is the message in a form of the transport's, made once and then shared
// like the message. It may be called from any goroutine.
func (m *Message) Form(form Form, encode func(data []byte) []byte) *Message {
	if f := m.forms[form].Load(); f != nil {
		return f
	}
	f := &Message{Data: encode(m.Data), Binary: m.Binary}
	m.forms[form].Store(f)
	return f
}

// SilenceTimeout is implemented by a [Transport] that can be told how long the
// peer may be silent, so that the system gives up on it as well. It is called
// once, by the reading goroutine, when heart-beats were agreed.
type SilenceTimeout interface {
	SetSilenceTimeout(d time.Duration)
}

// TextOnly is implemented by a [Transport] that cannot carry messages with
// Binary set. They are not sent to it, but counted as dropped.
type TextOnly interface {
	TextOnly()
}

// heartBeat is the EOL that keeps a quiet connection known to be alive (STOMP
// 1.2, "Heart-beating").
var heartBeat = &Message{Data: []byte{'\n'}}
