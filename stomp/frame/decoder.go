package frame

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Decoder takes a stream apart into frames. Its zero value is ready for a new connection, with [DefaultLimits]. It is for
// one goroutine at a time and must not be copied after its first use. It is small, and while it holds no part of a frame it
// holds no buffer.
//
// STOMP 1.2, STOMP Frames and Augmented BNF.
type Decoder struct {
	limits  *Limits
	partial *partial // the beginning of a frame, nil if there is none
	err     error
	version Version
	cr      bool // the last byte was a CR between frames
}

// SetLimits sets the limits of the frames that begin from now on; nil stands for the default. The Decoder only reads l,
// which must not change any more and may be shared by any number of them.
func (d *Decoder) SetLimits(l *Limits) { d.limits = l }

// SetVersion sets the version of the frames that begin from now on. A session calls it in the callback for CONNECT, as the
// next frame may follow in the same bytes.
func (d *Decoder) SetVersion(v Version) { d.version = v }

// Decode takes all of p, the next bytes of the stream, and calls emit for each frame that ends in it. It keeps nothing of p.
//
// The Frame, its Header and its Body are valid only until emit returns, and Body may be part of p; the strings in it remain
// valid. [Frame.Clone] makes it last. emit must not call Decode.
//
// Decode stops at the first error: a [*SyntaxError], a [*LimitError], or whatever emit returned. What follows in p is lost,
// and so every later call returns the same error.
func (d *Decoder) Decode(p []byte, emit func(*Frame) error) error {
	for len(p) > 0 && d.err == nil {
		var n int
		if d.partial == nil {
			n, d.err = d.begin(p, emit)
		} else {
			n, d.err = d.resume(p, emit)
		}
		p = p[n:]
	}
	if d.err != nil && d.partial != nil {
		d.partial.free()
		d.partial = nil
	}
	return d.err
}

// begin takes what is between two frames and then the next frame. Only if p does not hold all of it is it copied.
func (d *Decoder) begin(p []byte, emit func(*Frame) error) (int, error) {
	skipped, err := d.skipEOL(p)
	if err != nil || skipped == len(p) {
		return skipped, err
	}
	p = p[skipped:]
	limits := d.limits
	if limits == nil {
		limits = &noLimits
	}
	s := newScanner(limits, d.version)
	end, err := s.scan(p)
	if err != nil {
		return 0, err
	}
	if end == 0 {
		t := newPartial(len(p))
		t.scanner = s
		d.partial = t.append(p)
		return skipped + len(p), nil
	}
	return skipped + end, s.emit(p[:end], emit)
}

// resume takes the next bytes of the frame of which the Decoder holds the beginning.
func (d *Decoder) resume(p []byte, emit func(*Frame) error) (int, error) {
	t := d.partial
	n := t.wants(p, len(t.bytes))
	t = t.append(p[:n])
	d.partial = t
	end, err := t.scan(t.bytes)
	if err != nil || end == 0 {
		return n, err
	}
	d.partial = nil
	err = t.emit(t.bytes, emit)
	t.free()
	return n, err
}

// skipEOL returns the length of the EOLs that p begins with. They end the frame before them or are heart-beats. STOMP 1.2,
// Augmented BNF and Heart-beating.
func (d *Decoder) skipEOL(p []byte) (int, error) {
	for i, c := range p {
		switch {
		case c == '\n':
			d.cr = false
		case d.cr:
			return i, syntaxError("CR without LF between frames")
		case c == '\r' && d.version.crlf():
			d.cr = true
		default:
			return i, nil
		}
	}
	return len(p), nil
}

// scratch is the Frame that emit is shown: it would escape to the heap at every frame if it were not pooled.
type scratch struct {
	frame Frame
	head  Header
}

var scratches = sync.Pool{New: func() any { return &scratch{head: make(Header, 0, 16)} }}

// emit takes a whole frame apart and passes it on.
func (s *scanner) emit(b []byte, emit func(*Frame) error) error {
	x := scratches.Get().(*scratch)
	err := s.parse(b, x)
	if err == nil {
		err = emit(&x.frame)
	}
	clear(x.head)
	x.frame = Frame{}
	if cap(x.head) <= defaultHeaders {
		scratches.Put(x)
	}
	return err
}

// parse makes one string of all header lines, of which the names and values are parts. Only what is escaped gets one of its
// own.
func (s *scanner) parse(b []byte, x *scratch) error {
	f := &x.frame
	f.Command = command(s.text(b[:s.fields-1]))
	if body := b[s.body : len(b)-1]; len(body) > 0 {
		f.Body = slices.Clip(body)
	}
	x.head = x.head[:0]
	lines := string(b[s.fields:s.body])
	if !utf8.ValidString(lines) {
		return syntaxError("header is not UTF-8")
	}
	escapes := s.version.escapes(f.Command) && strings.IndexByte(lines, '\\') >= 0
	crs := s.version.crlf() && strings.IndexByte(lines, '\r') >= 0
	for range s.headers {
		line, rest, _ := strings.Cut(lines, "\n")
		lines = rest
		if crs {
			line = strings.TrimSuffix(line, "\r")
		}
		name, value, _ := strings.Cut(line, ":")
		if crs && s.version == V12 && strings.IndexByte(line, '\r') >= 0 {
			// Its value may be a secret, so that it is not cited.
			return syntaxErrorAt("CR inside of the header line", name)
		}
		if escapes {
			var err error
			if name, err = unescape(name, s.version); err != nil {
				return err
			}
			if value, err = unescape(value, s.version); err != nil {
				return err
			}
		}
		x.head = append(x.head, Field{name, value})
	}
	f.Header = x.head
	return nil
}

// command returns the constant for a command, so that it needs no string of its own.
func command(b []byte) string {
	switch string(b) {
	case Send:
		return Send
	case Message:
		return Message
	case Ack:
		return Ack
	case Nack:
		return Nack
	case Subscribe:
		return Subscribe
	case Unsubscribe:
		return Unsubscribe
	case Begin:
		return Begin
	case Commit:
		return Commit
	case Abort:
		return Abort
	case Connect:
		return Connect
	case Stomp:
		return Stomp
	case Disconnect:
		return Disconnect
	case Connected:
		return Connected
	case Receipt:
		return Receipt
	case Error:
		return Error
	}
	return string(b)
}
