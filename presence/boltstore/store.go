package boltstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// The names of what is in the file.
const (
	marker        = "\x00caddy-stomp presence"
	schemaKey     = "schema"
	schema        = "1"
	metaKey       = "meta"
	sessionsKey   = "sessions"
	changesKey    = "changes"
	eventsKey     = "events"     // made with the first event
	announcersKey = "announcers" // made with the first announcer
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	crcSize = 4
	sumSize = 8
)

// checksum is that of a record. bucket is empty for the meta record.
func checksum(broker, bucket string, key, body []byte) uint32 {
	var head [128]byte
	sum := crc32.Update(0, castagnoli, append(append(append(head[:0], broker...), 0), bucket...))
	sum = crc32.Update(sum, castagnoli, binary.BigEndian.AppendUint32(head[:0], uint32(len(key))))
	return crc32.Update(crc32.Update(sum, castagnoli, key), castagnoli, body)
}

// pair is a record as it is put into a bucket.
type pair struct{ key, value []byte }

// encoder encodes the records of a batch, one after the other in one buffer.
type encoder struct {
	broker string
	buf    bytes.Buffer
	json   *json.Encoder
	ends   []int
}

func newEncoder(broker string) *encoder {
	e := &encoder{broker: broker}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false) // client data comes back as it was
	return e
}

// add encodes a record behind so many bytes, which are left free.
func (e *encoder) add(head int, record any) error {
	var zero [crcSize + sumSize]byte
	e.buf.Write(zero[:head])
	if err := e.json.Encode(record); err != nil {
		return err
	}
	e.buf.Truncate(e.buf.Len() - 1) // the line's end
	e.ends = append(e.ends, e.buf.Len())
	return nil
}

// value returns the i-th record, with its checksum but for that of meta.
func (e *encoder) value(i int) []byte {
	begin := 0
	if i > 0 {
		begin = e.ends[i-1]
	}
	return e.buf.Bytes()[begin:e.ends[i]:e.ends[i]]
}

func (e *encoder) sealed(bucket string, key []byte, i int) pair {
	value := e.value(i)
	binary.BigEndian.PutUint32(value, checksum(e.broker, bucket, key, value[crcSize:]))
	return pair{key, value}
}

// unsealed returns the JSON of a record.
func unsealed(broker, bucket string, key, value []byte) ([]byte, error) {
	if len(value) < crcSize || crcOf(value) != checksum(broker, bucket, key, value[crcSize:]) {
		return nil, fmt.Errorf("the checksum of %s %q of %q is wrong", bucket, key, broker)
	}
	return value[crcSize:], nil
}

// crcOf is what a value adds to the sum of its broker; 0 if there is none.
func crcOf(value []byte) uint32 {
	if len(value) < crcSize {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}

// sumOf is the sum that a meta record has; 0 if there is none.
func sumOf(value []byte) uint64 {
	if len(value) < crcSize+sumSize {
		return 0
	}
	return binary.BigEndian.Uint64(value[crcSize:])
}

// store is a broker's part of a file. It implements [presence.Store].
type store struct {
	file   *File
	broker string
	bucket []byte
}

// Health says what there is to tell about the file although it is written.
func (s *store) Health() error { return s.file.health() }

// Commit implements [presence.Store].
func (s *store) Commit(batch *presence.Batch) error {
	c, err := s.encode(batch)
	if err != nil {
		return fmt.Errorf("presence store %s: %w", s.file.path, err)
	}
	return s.file.use(func() error {
		return s.file.db.Update(func(tx *bbolt.Tx) error { return c.apply(tx, s, batch) })
	})
}

// commit is a batch that is encoded, which is done before anybody is kept
// waiting.
type commit struct {
	meta       []byte // without its sum and checksum
	sessions   []pair
	changes    []pair
	events     []pair
	announcers []pair
}

func (s *store) encode(batch *presence.Batch) (c commit, err error) {
	e := newEncoder(s.broker)
	if err := e.add(crcSize+sumSize, &batch.Meta); err != nil {
		return c, fmt.Errorf("encoding what is kept of the registry: %w", err)
	}
	for _, r := range batch.Put {
		if err := e.add(crcSize, r); err != nil {
			return c, fmt.Errorf("encoding session %q: %w", r.SessionID, err)
		}
	}
	changes := batch.Changes
	for len(changes) > 0 && changes[0].Seq <= batch.Meta.Announced {
		changes = changes[1:]
	}
	for _, k := range changes {
		if err := e.add(crcSize, k); err != nil {
			return c, fmt.Errorf("encoding change %d: %w", k.Seq, err)
		}
	}
	for _, event := range batch.PutEvents {
		if err := e.add(crcSize, event); err != nil {
			return c, fmt.Errorf("encoding event %d: %w", event.Position, err)
		}
	}
	for _, a := range batch.Announcers {
		if err := e.add(crcSize, a); err != nil {
			return c, fmt.Errorf("encoding announcer %q: %w", a.ID, err)
		}
	}
	// the buffer does not move any more
	c.meta = e.value(0)
	next := 1
	seal := func(bucket string, key []byte) pair {
		next++
		return e.sealed(bucket, key, next-1)
	}
	for _, r := range batch.Put {
		c.sessions = append(c.sessions, seal(sessionsKey, []byte(r.SessionID)))
	}
	for _, k := range changes {
		c.changes = append(c.changes, seal(changesKey, number(k.Seq)))
	}
	for _, event := range batch.PutEvents {
		c.events = append(c.events, seal(eventsKey, number(event.Position)))
	}
	for _, a := range batch.Announcers {
		c.announcers = append(c.announcers, seal(announcersKey, []byte(a.ID)))
	}
	return c, nil
}

// number is a key whose order is that of numbers.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func (c *commit) apply(tx *bbolt.Tx, s *store, batch *presence.Batch) error {
	if batch.Reset {
		if err := s.empty(tx); err != nil {
			return err
		}
	}
	root, err := tx.CreateBucketIfNotExists(s.bucket)
	if err != nil {
		return err
	}
	w := writer{sum: sumOf(root.Get([]byte(metaKey)))}
	sessions, err := root.CreateBucketIfNotExists([]byte(sessionsKey))
	if err != nil {
		return err
	}
	changes, err := root.CreateBucketIfNotExists([]byte(changesKey))
	if err != nil {
		return err
	}
	for _, id := range batch.Delete {
		w.delete(sessions, []byte(id))
	}
	for _, p := range c.sessions {
		w.put(sessions, p)
	}
	var announced [][]byte // not deleted under the cursor, which would skip some
	cursor := changes.Cursor()
	for k, _ := cursor.First(); len(k) == 8 && binary.BigEndian.Uint64(k) <= batch.Meta.Announced; k, _ = cursor.Next() {
		announced = append(announced, append([]byte(nil), k...))
	}
	for _, k := range announced {
		w.delete(changes, k)
	}
	for _, p := range c.changes {
		w.put(changes, p)
	}
	if err := c.applyEvents(root, &w, batch); err != nil {
		return err
	}
	if w.err != nil {
		return w.err
	}
	// its checksum covers the sum too
	binary.BigEndian.PutUint64(c.meta[crcSize:], w.sum)
	binary.BigEndian.PutUint32(c.meta, checksum(s.broker, "", []byte(metaKey), c.meta[crcSize:]))
	return root.Put([]byte(metaKey), c.meta)
}

// applyEvents changes the outbox, which is there once it was needed.
func (c *commit) applyEvents(root *bbolt.Bucket, w *writer, batch *presence.Batch) error {
	if len(c.events) > 0 || len(batch.DeleteEvents) > 0 {
		events, err := root.CreateBucketIfNotExists([]byte(eventsKey))
		if err != nil {
			return err
		}
		for _, position := range batch.DeleteEvents {
			w.delete(events, number(position))
		}
		for _, p := range c.events {
			w.put(events, p)
		}
	}
	if batch.Announcers == nil {
		return nil
	}
	announcers := root.Bucket([]byte(announcersKey))
	if announcers == nil && len(c.announcers) == 0 {
		return nil
	}
	announcers, err := root.CreateBucketIfNotExists([]byte(announcersKey))
	if err != nil {
		return err
	}
	var before [][]byte // not deleted under the cursor
	cursor := announcers.Cursor()
	for k, _ := cursor.First(); k != nil; k, _ = cursor.Next() {
		before = append(before, bytes.Clone(k))
	}
	for _, k := range before {
		w.delete(announcers, k)
	}
	for _, p := range c.announcers {
		w.put(announcers, p)
	}
	return nil
}

// writer changes buckets, and keeps their sum, until there is an error.
type writer struct {
	sum uint64
	err error
}

func (w *writer) put(b *bbolt.Bucket, p pair) {
	if w.err == nil {
		w.sum += uint64(crcOf(p.value)) - uint64(crcOf(b.Get(p.key)))
		w.err = b.Put(p.key, p.value)
	}
}

func (w *writer) delete(b *bbolt.Bucket, key []byte) {
	if w.err == nil {
		w.sum -= uint64(crcOf(b.Get(key)))
		w.err = b.Delete(key)
	}
}

// empty removes what is kept of the broker.
func (s *store) empty(tx *bbolt.Tx) error {
	if tx.Bucket(s.bucket) == nil {
		return nil
	}
	return tx.DeleteBucket(s.bucket)
}

// Clear implements [presence.Store].
func (s *store) Clear() error {
	return s.file.use(func() error { return s.file.db.Update(s.empty) })
}

// Load implements [presence.Store].
func (s *store) Load() (*presence.Kept, error) {
	kept := new(presence.Kept)
	err := s.file.use(func() error {
		return s.file.db.View(func(tx *bbolt.Tx) error { return s.load(tx, kept) })
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

func (s *store) load(tx *bbolt.Tx, kept *presence.Kept) error {
	root := tx.Bucket(s.bucket)
	if root == nil {
		return nil
	}
	value := root.Get([]byte(metaKey))
	meta, err := unsealed(s.broker, "", []byte(metaKey), value)
	if err != nil {
		return err
	}
	if len(meta) < sumSize {
		return errors.New("the meta record is too short")
	}
	if err := json.Unmarshal(meta[sumSize:], &kept.Meta); err != nil {
		return fmt.Errorf("the meta record: %w", err)
	}
	sum := uint64(0)
	err = s.each(root, sessionsKey, &sum, func(body []byte) error {
		r := new(presence.Record)
		kept.Records = append(kept.Records, r)
		return json.Unmarshal(body, r)
	})
	if err != nil {
		return err
	}
	err = s.each(root, changesKey, &sum, func(body []byte) error {
		k := new(presence.KeptChange)
		if err := json.Unmarshal(body, k); err != nil {
			return err
		}
		if k.Session == nil {
			return errors.New("a change of no session")
		}
		if k.Seq > kept.Meta.Announced {
			kept.Changes = append(kept.Changes, k)
		}
		return nil
	})
	if err == nil && root.Bucket([]byte(eventsKey)) != nil {
		err = s.each(root, eventsKey, &sum, func(body []byte) error {
			e := new(presence.Event)
			kept.Events = append(kept.Events, e)
			return json.Unmarshal(body, e)
		})
	}
	if err == nil && root.Bucket([]byte(announcersKey)) != nil {
		err = s.each(root, announcersKey, &sum, func(body []byte) error {
			a := new(presence.AnnouncerState)
			kept.Announcers = append(kept.Announcers, a)
			return json.Unmarshal(body, a)
		})
	}
	if err == nil && sum != sumOf(value) {
		err = fmt.Errorf("records of %q are missing", s.broker)
	}
	return err
}

// each calls do for the JSON of every record of a bucket.
func (s *store) each(root *bbolt.Bucket, name string, sum *uint64, do func([]byte) error) error {
	b := root.Bucket([]byte(name))
	if b == nil {
		return fmt.Errorf("the %s of %q are missing", name, s.broker)
	}
	return b.ForEach(func(key, value []byte) error {
		body, err := unsealed(s.broker, name, key, value)
		if err != nil {
			return err
		}
		*sum += uint64(crcOf(value))
		if err := do(body); err != nil {
			return fmt.Errorf("%s %q of %q: %w", name, key, s.broker, err)
		}
		return nil
	})
}

// Interface guard
var _ presence.Store = (*store)(nil)
