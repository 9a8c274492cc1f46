//go:build linux

package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
)

// Opcodes of RFC 6455 section 5.2.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10

	opEnd = 16 // none of them: a response is complete
)

// deframer cuts what a server sends over a WebSocket into messages, or responses
// to xhr_streaming into chunks.
type deframer struct {
	chunks   bool
	pending  []byte // the beginning of a frame
	deflated bool   // the latest message
}

// feed calls each with every frame that p completes. The payload is as it came,
// and good until each returns.
func (d *deframer) feed(p []byte, each func(opcode byte, payload []byte) error) error {
	if len(d.pending) > 0 {
		d.pending = append(d.pending, p...)
		p = d.pending
	}
	cut := d.cut
	if d.chunks {
		cut = cutChunk
	}
	for {
		opcode, payload, rest, err := cut(p)
		if err != nil {
			return err
		}
		if rest == nil {
			break
		}
		if err := each(opcode, payload); err != nil {
			return err
		}
		p = rest
	}
	if len(p) == 0 {
		d.pending = nil // thousands of connections would keep a buffer each
		return nil
	}
	d.pending = append(d.pending[:0], p...)
	return nil
}

// cut cuts the first frame off p. The rest is nil if it is not complete.
func (d *deframer) cut(p []byte) (opcode byte, payload, rest []byte, err error) {
	if len(p) < 2 {
		return 0, nil, nil, nil
	}
	const fin, rsv1, masked = 0x80, 0x40, 0x80
	if p[0]&fin == 0 || p[1]&masked != 0 {
		return 0, nil, nil, fmt.Errorf("a frame begins with %x", p[:2])
	}
	size, head := uint64(p[1]&0x7f), 2
	switch size {
	case 126:
		if head = 4; len(p) >= head {
			size = uint64(binary.BigEndian.Uint16(p[2:]))
		}
	case 127:
		if head = 10; len(p) >= head {
			size = binary.BigEndian.Uint64(p[2:])
		}
	}
	if size > 1<<30 {
		return 0, nil, nil, fmt.Errorf("a frame of %d bytes", size)
	}
	if len(p) < head || len(p) < head+int(size) {
		return 0, nil, nil, nil
	}
	end := head + int(size)
	d.deflated = p[0]&rsv1 != 0
	return p[0] & 0xf, p[head:end:end], p[end:], nil
}

// inflated is the payload of the latest message, which each has got, without
// permessage-deflate (RFC 7692 section 7.2.2).
func (d *deframer) inflated(payload []byte) ([]byte, error) {
	if !d.deflated {
		return payload, nil
	}
	tail := []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}
	return io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), bytes.NewReader(tail))))
}
