package stomp

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// publication is a message before it is addressed. It is encoded once for
// each variant of its receivers, not for each receiver.
type publication struct {
	header frame.Header // what is passed on of the sender's headers
	body   []byte
	size   int  // of both as they are encoded, at least
	binary bool // the body is not UTF-8

	mu       sync.Mutex
	variants []encodedVariant // of a feed's entries, which many read at different times
}

// variant is all that may differ between the receivers of one message.
type variant struct {
	version      frame.Version
	subscription string
	ack          bool // the receiver acknowledges
	redelivered  bool // somebody else may have had it
}

func newPublication(header frame.Header, body []byte) *publication {
	p := &publication{header: header, body: body, size: len(body), binary: !utf8.Valid(body)}
	for _, f := range header {
		p.size += len(f.Name) + len(f.Value) + len(":\n")
	}
	return p
}

type encodedVariant struct {
	variant
	destination string
	message     *Message
}

// maxVariants bounds what a publication that is kept remembers. Pages use a
// handful of subscription ids; whoever makes one up per client has his
// messages encoded for each.
const maxVariants = 8

// encode makes the MESSAGE frame (STOMP 1.2, "MESSAGE"). Two allocations,
// shared by all receivers of the variant.
func (p *publication) encode(v variant, destination string, messageID uint64) *Message {
	size := len("MESSAGE\nsubscription:\nmessage-id:\ndestination:\nack:\nredelivered:true\ncontent-length:\n\n") + 3*14 +
		len(v.subscription) + len(destination) + p.size + 2*len(p.header) + 16
	dst := make([]byte, 0, size)
	dst = append(dst, "MESSAGE\n"...)
	if v.subscription != "" { // optional in 1.0
		dst = frame.AppendField(dst, v.version, frame.HdrSubscription, v.subscription)
	}
	dst = append(dst, "message-id:"...)
	dst = strconv.AppendUint(dst, messageID, 36)
	dst = append(dst, '\n')
	if v.ack && v.version == frame.V12 {
		dst = append(dst, "ack:"...)
		dst = strconv.AppendUint(dst, messageID, 36)
		dst = append(dst, '\n')
	}
	if v.redelivered {
		dst = append(dst, "redelivered:true\n"...)
	}
	dst = frame.AppendField(dst, v.version, frame.HdrDestination, destination)
	for _, f := range p.header {
		dst = frame.AppendField(dst, v.version, f.Name, f.Value)
	}
	dst = append(dst, "content-length:"...)
	dst = strconv.AppendInt(dst, int64(len(p.body)), 10)
	dst = append(dst, "\n\n"...)
	dst = append(dst, p.body...)
	dst = append(dst, 0)
	return &Message{Data: dst, Binary: p.binary}
}

// shared is encode for a publication that is kept: the message is remembered.
func (p *publication) shared(v variant, destination string, nextID func() uint64) *Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.variants {
		if p.variants[i].variant == v && p.variants[i].destination == destination {
			return p.variants[i].message
		}
	}
	m := p.encode(v, destination, nextID())
	if len(p.variants) < maxVariants {
		p.variants = append(p.variants, encodedVariant{v, destination, m})
	}
	return m
}

const hdrRedelivered = "redelivered"

// keep is p with nothing in it that is part of the frame it came in: the body
// is reused after the frame, and a header would keep the frame's whole head in
// memory.
func (p *publication) keep() *publication {
	kept := &publication{header: make(frame.Header, len(p.header)), body: bytes.Clone(p.body), size: p.size, binary: p.binary}
	for i, f := range p.header {
		kept.header[i] = frame.Field{Name: strings.Clone(f.Name), Value: strings.Clone(f.Value)}
	}
	return kept
}

// passedOn is a sender's header without what is the server's to say (STOMP
// 1.2, "MESSAGE"): nobody can be made to see another message-id, receipt or
// length than the true one.
func passedOn(h frame.Header) frame.Header {
	kept := make(frame.Header, 0, len(h))
	for _, f := range h {
		switch f.Name {
		case frame.HdrDestination, frame.HdrReceipt, hdrRedelivered, frame.HdrTransaction, frame.HdrLogin, frame.HdrPasscode,
			HeaderAuthorization, HeaderAuthorizationLower, frame.HdrMessageID, frame.HdrSubscription, frame.HdrAck, frame.HdrContentLength:
		default:
			kept = append(kept, f)
		}
	}
	return kept
}
