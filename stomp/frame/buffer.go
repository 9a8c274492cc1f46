package frame

import "sync"

// partial is a frame of which the end has not come yet.
type partial struct {
	scanner
	bytes []byte
}

// Buffers are pooled by size, so that a peer that sends the first bytes of a frame and no more holds a small one, and not
// a large one that somebody else's frame made grow: none but the smallest is more than eight times as large as what came.
// Those that outgrow the largest size are left to the garbage collector.
var (
	partialSizes = [...]int{512, 4 << 10, 16 << 10, 64 << 10}
	partials     [len(partialSizes)]sync.Pool
)

// newPartial returns an empty partial with room for n bytes.
func newPartial(n int) *partial {
	for i, size := range partialSizes {
		if n > size {
			continue
		}
		if p, ok := partials[i].Get().(*partial); ok {
			return p
		}
		return &partial{bytes: make([]byte, 0, size)}
	}
	return &partial{bytes: make([]byte, 0, n)}
}

// append adds the bytes of p, moving to a larger partial if they do not fit.
func (t *partial) append(p []byte) *partial {
	n := len(t.bytes) + len(p)
	if n > cap(t.bytes) && cap(t.bytes) < partialSizes[len(partialSizes)-1] {
		larger := newPartial(n)
		larger.scanner, larger.bytes = t.scanner, append(larger.bytes, t.bytes...)
		t.free()
		t = larger
	}
	t.bytes = append(t.bytes, p...)
	return t
}

// free gives the partial back. Nothing may refer to it, or to its bytes, any more.
func (t *partial) free() {
	for i, size := range partialSizes {
		if cap(t.bytes) == size {
			t.scanner, t.bytes = scanner{}, t.bytes[:0]
			partials[i].Put(t)
			return
		}
	}
}
