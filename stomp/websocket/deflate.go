package websocket

import (
	"bytes"
	"compress/flate"
	"sync"
)

// deflaters are costly to make: some 100 KB each.
var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.BestSpeed) // fails for unknown levels only
	return w
}}

// deflate compresses a message (RFC 7692 section 7.2.1). As there is no context
// takeover it does not depend on the connection: it is done once a message,
// which costs what a hundred deliveries do, and not for each receiver.
func deflate(data []byte) []byte {
	var dst bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&dst)
	_, _ = w.Write(data) // a bytes.Buffer takes it
	_ = w.Flush()
	return bytes.TrimSuffix(dst.Bytes(), []byte{0, 0, 0xff, 0xff})
}
