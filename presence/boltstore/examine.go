package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
)

// A file is examined with reads and not as bbolt does it, in mapped memory: a
// wrong page number there is a fault, an endless recursion or somebody else's
// memory, and a page that ends too early just a few records less.

// What bbolt writes, in the byte order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeaderSize = 16 // id 8, flags 2, count 2, overflow 4
	metaSize       = 64 // magic 4, version 4, page size 4, flags 4, root 8, sequence 8, freelist 8, pages 8, txid 8, checksum 8
	elementSize    = 16 // branch: position 4, key 4, page 8; leaf: flags 4, position 4, key 4, value 4
	bucketSize     = 16 // root 8, sequence 8, and with root 0 a page

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10

	bucketElement = 0x01
)

var native = binary.NativeEndian

// errUnborn is returned for a file whose making was cut off: there is nothing
// in it.
var errUnborn = errors.New("nothing was ever written to the file")

// damageError is returned for a file of ours that is damaged.
type damageError struct{ what error }

func (e *damageError) Error() string { return fmt.Sprintf("the file is damaged: %v", e.what) }
func (e *damageError) Unwrap() error { return e.what }

func damaged(format string, args ...any) error {
	return &damageError{fmt.Errorf(format, args...)}
}

// examine reads a file that is not empty. The error is a [damageError],
// [ErrForeign], [ErrNewer], errUnborn, or one of reading. The notice is what is
// wrong with a file that can be used.
func examine(file io.ReaderAt, size int64) (notice, err error) {
	x := &examination{file: file, size: size}
	if err := x.readMeta(); err != nil {
		return nil, x.whose(err)
	}
	if err := x.readPages(); err != nil {
		return nil, x.whose(err)
	}
	return x.notice, nil
}

// examination is what is known so far of a file that is examined.
type examination struct {
	file     io.ReaderAt
	size     int64
	pageSize int64
	meta     meta
	used     []bool // by page number
	notice   error
	magic    bool // it is bbolt's
	schema   string
	sums     map[string]*sums // by broker
}

// sums are the sum that a broker should have, and the one that it has.
type sums struct {
	want, have uint64
	parts      int // the meta record and the two buckets that every broker has
}

type meta struct {
	version, pageSize           uint32
	root, freelist, pages, txid uint64
}

// whose decides what to make of a file that is not in order.
func (x *examination) whose(err error) error {
	if !isDamage(err) {
		return err
	}
	ours, scanErr := x.mentions(marker)
	switch {
	case scanErr != nil:
		return scanErr
	case ours || x.magic: // what says that it is ours may be what is damaged
		return err
	}
	head := make([]byte, min(x.size, 64<<10))
	if err := x.read(head, 0); err != nil {
		return err
	}
	if len(bytes.Trim(head, "\x00")) == 0 { // what a loss of power leaves behind
		return err
	}
	return ErrForeign
}

// mentions says whether s is anywhere in the file.
func (x *examination) mentions(s string) (bool, error) {
	buf := make([]byte, 1<<20)
	for at := int64(0); at < x.size; at += int64(len(buf) - len(s)) {
		part := buf[:min(int64(len(buf)), x.size-at)]
		if err := x.read(part, at); err != nil {
			return false, err
		}
		if bytes.Contains(part, []byte(s)) {
			return true, nil
		}
	}
	return false, nil
}

// read fills p. A file that is too short is damaged.
func (x *examination) read(p []byte, at int64) error {
	_, err := x.file.ReadAt(p, at)
	if errors.Is(err, io.EOF) {
		return damaged("it ends at byte %d, before %d", x.size, at+int64(len(p)))
	}
	return err
}

// readMeta reads the two headers, and finds the one in force.
func (x *examination) readMeta() error {
	first, errFirst := x.metaAt(0)
	if errFirst == nil {
		x.pageSize = int64(first.pageSize)
		second, errSecond := x.metaAt(x.pageSize)
		return x.choose(first, second, errSecond)
	}
	if !isDamage(errFirst) {
		return errFirst
	}
	for size := int64(1 << 10); size <= 1<<24; size <<= 1 {
		second, err := x.metaAt(size)
		if err == nil && int64(second.pageSize) == size {
			x.pageSize = size
			return x.choose(second, meta{}, errFirst)
		}
		if err != nil && !isDamage(err) {
			return err
		}
	}
	return errFirst
}

func isDamage(err error) bool {
	_, is := errors.AsType[*damageError](err)
	return is
}

// choose puts the later of the headers in force; errOther says what is wrong
// with the second.
func (x *examination) choose(m, other meta, errOther error) error {
	switch {
	case errOther == nil && other.txid > m.txid:
		m = other
	case errOther != nil && !isDamage(errOther):
		return errOther
	case errOther != nil:
		x.notice = fmt.Errorf("one of its two headers was not readable (%w); what was committed last may be missing", errOther)
	}
	if x.meta = m; m.version != boltVersion {
		return fmt.Errorf("%w: bbolt format %d", ErrNewer, m.version)
	}
	if m.pageSize < 1<<10 || m.pageSize&(m.pageSize-1) != 0 {
		return damaged("its page size is %d", m.pageSize)
	}
	if m.txid <= 1 && m.pages <= 4 && x.size <= 4*x.pageSize {
		return errUnborn
	}
	if m.pages < 4 || m.pages > uint64(x.size/x.pageSize) {
		return damaged("it has %d bytes and should have %d pages of %d", x.size, m.pages, x.pageSize)
	}
	return nil
}

func (x *examination) metaAt(at int64) (m meta, err error) {
	var raw [pageHeaderSize + metaSize]byte
	if err := x.read(raw[:], at); err != nil {
		return m, err
	}
	p := raw[pageHeaderSize:]
	if native.Uint32(p) == boltMagic {
		x.magic = true
	} else {
		return m, damaged("there is no header at %d", at)
	}
	h := fnv.New64a()
	h.Write(p[:56])
	if h.Sum64() != native.Uint64(p[56:]) {
		return m, damaged("the checksum of the header at %d is wrong", at)
	}
	return meta{
		version: native.Uint32(p[4:]), pageSize: native.Uint32(p[8:]), root: native.Uint64(p[16:]),
		freelist: native.Uint64(p[32:]), pages: native.Uint64(p[40:]), txid: native.Uint64(p[48:]),
	}, nil
}

// readPages reads every page that is in use, and what is in it.
func (x *examination) readPages() error {
	x.used = make([]bool, x.meta.pages)
	x.used[0], x.used[1] = true, true
	x.sums = make(map[string]*sums)
	// what is there is looked at before what is wrong with it, to know whose it is
	err := x.tree(x.meta.root, nil, bounds{})
	if x.schema == "" && (err == nil || errors.Is(err, ErrForeign)) {
		return ErrForeign
	}
	if x.schema != "" && x.schema != schema {
		return fmt.Errorf("%w: schema %q, this one knows %q", ErrNewer, x.schema, schema)
	}
	if err != nil {
		return err
	}
	for broker, s := range x.sums {
		if s.want != s.have || s.parts != 3 {
			return damaged("records of %q are missing", broker)
		}
	}
	if x.meta.freelist != 1<<64-1 { // else every page that is not in use is free
		return x.freelist()
	}
	return nil
}

// freelist sees that the free pages are all those that are not in use.
func (x *examination) freelist() error {
	p, err := x.page(x.meta.freelist)
	if err != nil {
		return err
	}
	if p.flags != freelistPage {
		return damaged("page %d has flags %#x and should hold the free pages", x.meta.freelist, p.flags)
	}
	count, at := uint64(p.count), uint64(pageHeaderSize)
	if count == 0xFFFF {
		count, at = native.Uint64(p.data[at:]), at+8
	}
	if count > (uint64(len(p.data))-at)/8 {
		return damaged("page %d names %d free pages", x.meta.freelist, count)
	}
	for ; count > 0; count, at = count-1, at+8 {
		id := native.Uint64(p.data[at:])
		if id >= x.meta.pages || x.used[id] {
			return damaged("page %d is free and is not", id)
		}
		x.used[id] = true
	}
	if id := slices.Index(x.used, false); id >= 0 {
		return damaged("page %d is lost", id)
	}
	return nil
}

// page is one as it is in the file, or in a bucket's record.
type page struct {
	flags, count uint16
	data         []byte // with the header
}

// page reads one, which must not be in use by another.
func (x *examination) page(id uint64) (p page, err error) {
	if id >= x.meta.pages || x.used[id] {
		return p, damaged("page %d is referred to from two places, or is not there", id)
	}
	var head [pageHeaderSize]byte
	if err := x.read(head[:], int64(id)*x.pageSize); err != nil {
		return p, err
	}
	more := uint64(native.Uint32(head[12:]))
	if native.Uint64(head[:]) != id || more >= x.meta.pages-id {
		return p, damaged("page %d has the number %d and %d more", id, native.Uint64(head[:]), more)
	}
	for i := id; i <= id+more; i++ {
		if x.used[i] {
			return p, damaged("page %d is in use twice", i)
		}
		x.used[i] = true
	}
	data := make([]byte, int64(more+1)*x.pageSize)
	if err := x.read(data, int64(id)*x.pageSize); err != nil {
		return p, err
	}
	return pageOf(data), nil
}

func pageOf(data []byte) page {
	return page{flags: native.Uint16(data[8:]), count: native.Uint16(data[10:]), data: data}
}

// bounds are the keys between which those of a page are.
type bounds struct{ from, below []byte } // nil: none

// tree reads a page and those below it. path are the buckets that it is in.
func (x *examination) tree(id uint64, path []string, within bounds) error {
	p, err := x.page(id)
	if err != nil {
		return err
	}
	return x.elements(p, id, path, within)
}

// elements reads what is in page number id, or in a bucket that is in it.
func (x *examination) elements(p page, id uint64, path []string, within bounds) error {
	if p.flags != branchPage && p.flags != leafPage || p.flags == branchPage && p.count == 0 {
		return damaged("page %d has flags %#x and %d elements", id, p.flags, p.count)
	}
	if int(p.count)*elementSize > len(p.data)-pageHeaderSize {
		return damaged("page %d has no room for %d elements", id, p.count)
	}
	keys := make([]element, p.count)
	last := within.from
	for i := range keys {
		e, ok := p.element(i)
		if !ok {
			return damaged("element %d of page %d is outside of it", i, id)
		}
		order := bytes.Compare(e.key, last)
		if last != nil && (order < 0 || order == 0 && i > 0) || within.below != nil && bytes.Compare(e.key, within.below) >= 0 {
			return damaged("the keys of page %d are not in order", id)
		}
		keys[i], last = e, e.key
	}
	for i, e := range keys {
		var err error
		if p.flags == branchPage {
			below := bounds{e.key, within.below}
			if i+1 < len(keys) {
				below.below = keys[i+1].key
			}
			err = x.tree(e.page, path, below)
		} else {
			err = x.leaf(e, id, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// element is one of a page.
type element struct {
	key, value []byte
	flags      uint32
	page       uint64 // below a branch
}

// element returns the i-th. Its position counts from its own beginning.
func (p page) element(i int) (e element, ok bool) {
	at := pageHeaderSize + i*elementSize
	raw := p.data[at:]
	var position, key, value uint64
	if p.flags == branchPage {
		position, key, e.page = uint64(native.Uint32(raw)), uint64(native.Uint32(raw[4:])), native.Uint64(raw[8:])
	} else {
		e.flags, position = native.Uint32(raw), uint64(native.Uint32(raw[4:]))
		key, value = uint64(native.Uint32(raw[8:])), uint64(native.Uint32(raw[12:]))
	}
	if position < elementSize || position+key+value > uint64(len(raw)) {
		return e, false
	}
	e.key, e.value = raw[position:position+key], raw[position+key:position+key+value]
	return e, true
}

// leaf reads a record or a bucket.
func (x *examination) leaf(e element, id uint64, path []string) error {
	if e.flags != bucketElement {
		if e.flags != 0 {
			return damaged("page %d has an element with flags %#x", id, e.flags)
		}
		return x.record(path, e.key, e.value)
	}
	if len(e.value) < bucketSize {
		return damaged("page %d has a bucket of %d bytes", id, len(e.value))
	}
	path = append(slices.Clip(path), string(e.key))
	if err := x.bucket(path); err != nil {
		return err
	}
	if root := native.Uint64(e.value); root != 0 {
		return x.tree(root, path, bounds{})
	}
	if len(e.value) < bucketSize+pageHeaderSize {
		return damaged("page %d has a bucket of %d bytes", id, len(e.value))
	}
	p := pageOf(e.value[bucketSize:])
	if p.flags != leafPage {
		return damaged("page %d has a bucket with flags %#x", id, p.flags)
	}
	return x.elements(p, id, path, bounds{})
}

// bucket is called before what is in it is read.
func (x *examination) bucket(path []string) error {
	switch broker, ours := strings.CutPrefix(path[0], marker+"/"); {
	case len(path) == 1 && path[0] == marker:
		return nil
	case !ours:
		if x.schema == "" { // ours would have come first
			return ErrForeign
		}
		return damaged("there is a bucket %q", path)
	case len(path) == 1:
		x.sums[broker] = new(sums)
		return nil
	case len(path) == 2 && (path[1] == sessionsKey || path[1] == changesKey):
		x.sums[broker].parts++
		return nil
	case len(path) == 2 && (path[1] == eventsKey || path[1] == announcersKey):
		return nil // a broker may do without
	}
	return damaged("there is a bucket %q", path)
}

// record checks one.
func (x *examination) record(path []string, key, value []byte) error {
	if len(path) == 0 {
		return damaged("there is a record outside of the buckets")
	}
	broker, ours := strings.CutPrefix(path[0], marker+"/")
	switch {
	case !ours && string(key) == schemaKey:
		if x.schema = string(value); len(value) == 0 || len(bytes.Trim(value, "0123456789")) > 0 {
			return damaged("its schema is %q", value)
		}
		return nil
	case !ours || x.schema == "":
		return damaged("there is a record %q in %q", key, path)
	case x.schema != schema:
		return nil // it knows what that is
	case len(path) == 1 && string(key) == metaKey:
		if _, err := unsealed(broker, "", key, value); err != nil {
			return &damageError{err}
		}
		x.sums[broker].want = sumOf(value)
		x.sums[broker].parts++
		return nil
	case len(path) == 2:
		if _, err := unsealed(broker, path[1], key, value); err != nil {
			return &damageError{err}
		}
		x.sums[broker].have += uint64(crcOf(value))
		return nil
	}
	return damaged("there is a record %q in %q", key, path)
}
