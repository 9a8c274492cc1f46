package boltstore

import (
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
	marker      = "\x00caddy-stomp presence"
	schemaKey   = "schema"
	schema      = "1"
	metaKey     = "meta"
	sessionsKey = "sessions"
	changesKey  = "changes"
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

// sealed encodes a record.
func sealed(broker, bucket string, key []byte, record any) (pair, error) {
	body, err := json.Marshal(record)
	if err != nil {
		return pair{}, fmt.Errorf("encoding a record of %s: %w", bucket, err)
	}
	value := make([]byte, crcSize, crcSize+len(body))
	binary.BigEndian.PutUint32(value, checksum(broker, bucket, key, body))
	return pair{key, append(value, body...)}, nil
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
	meta     []byte
	sessions []pair
	changes  []pair
}

func (s *store) encode(batch *presence.Batch) (c commit, err error) {
	if c.meta, err = json.Marshal(&batch.Meta); err != nil {
		return c, err
	}
	c.sessions = make([]pair, len(batch.Put))
	for i, r := range batch.Put {
		if c.sessions[i], err = sealed(s.broker, sessionsKey, []byte(r.SessionID), r); err != nil {
			return c, err
		}
	}
	c.changes = make([]pair, 0, len(batch.Changes))
	for _, k := range batch.Changes {
		if k.Seq <= batch.Meta.Announced {
			continue
		}
		p, err := sealed(s.broker, changesKey, binary.BigEndian.AppendUint64(nil, k.Seq), k)
		if err != nil {
			return c, err
		}
		c.changes = append(c.changes, p)
	}
	return c, nil
}

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
	if w.err != nil {
		return w.err
	}
	return root.Put([]byte(metaKey), sealedMeta(s.broker, w.sum, c.meta))
}

// sealedMeta is the meta record: its checksum covers the sum too.
func sealedMeta(broker string, sum uint64, body []byte) []byte {
	value := make([]byte, crcSize, crcSize+sumSize+len(body))
	value = append(binary.BigEndian.AppendUint64(value, sum), body...)
	binary.BigEndian.PutUint32(value, checksum(broker, "", []byte(metaKey), value[crcSize:]))
	return value
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
