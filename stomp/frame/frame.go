package frame

import (
	"bytes"
	"slices"
)

// Commands that clients send. STOMP 1.2, Client Frames.
const (
	Connect     = "CONNECT"
	Stomp       = "STOMP" // CONNECT, as clients of 1.1 and later may call it
	Send        = "SEND"
	Subscribe   = "SUBSCRIBE"
	Unsubscribe = "UNSUBSCRIBE"
	Ack         = "ACK"
	Nack        = "NACK"
	Begin       = "BEGIN"
	Commit      = "COMMIT"
	Abort       = "ABORT"
	Disconnect  = "DISCONNECT"
)

// Commands that servers send. STOMP 1.2, Server Frames.
const (
	Connected = "CONNECTED"
	Message   = "MESSAGE"
	Receipt   = "RECEIPT"
	Error     = "ERROR"
)

// Names of the headers that the specifications define. STOMP 1.2, Standard Headers and the frames that follow it.
const (
	HdrAcceptVersion = "accept-version"
	HdrAck           = "ack"
	HdrContentLength = "content-length"
	HdrContentType   = "content-type"
	HdrDestination   = "destination"
	HdrHeartBeat     = "heart-beat"
	HdrHost          = "host"
	HdrID            = "id"
	HdrLogin         = "login"
	HdrMessage       = "message"
	HdrMessageID     = "message-id"
	HdrPasscode      = "passcode"
	HdrReceipt       = "receipt"
	HdrReceiptID     = "receipt-id"
	HdrServer        = "server"
	HdrSession       = "session"
	HdrSubscription  = "subscription"
	HdrTransaction   = "transaction"
	HdrVersion       = "version"
)

// Field is one header line, unescaped.
type Field struct{ Name, Value string }

// Header is the header of a frame in the order of the wire, repeated names included.
type Header []Field

// Get returns the value of the first field with this name, or "" if there is none.
//
// STOMP 1.2, Repeated Header Entries: only the first one counts.
func (h Header) Get(name string) string {
	value, _ := h.Lookup(name)
	return value
}

// Lookup is Get that tells an empty value from an absent field.
func (h Header) Lookup(name string) (string, bool) {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value, true
		}
	}
	return "", false
}

// Clone returns a copy that shares no memory with h but its strings.
func (h Header) Clone() Header { return slices.Clone(h) }

// Frame is one frame, decoded. Body is nil if it is empty.
//
// STOMP 1.2, STOMP Frames.
type Frame struct {
	Command string
	Header  Header
	Body    []byte
}

// Clone returns a copy that outlives the callback of [Decoder.Decode].
//
// The strings of a decoded header are parts of one string, here as in the original: whoever keeps a single one of them for
// long keeps the whole head in memory, unless it is taken out with [strings.Clone].
func (f *Frame) Clone() *Frame {
	return &Frame{Command: f.Command, Header: f.Header.Clone(), Body: bytes.Clone(f.Body)}
}
