package boltstore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/presence/boltstore"
)

// written is a file with two brokers and some history, and its bytes.
func written(tb testing.TB) (path string, data []byte) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "presence.db")
	f, err := boltstore.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range 5 {
		batch := benchBatch(100*i, 100)
		batch.PutEvents = events(uint64(100*i+1), uint64(100*i+100))
		batch.Announcers = []*presence.AnnouncerState{announcer("https://app.internal/hooks", uint64(i))}
		commit(tb, f.Store("chat"), batch)
	}
	commit(tb, f.Store("small"), &presence.Batch{Meta: metaOf(1, 0), Put: []*presence.Record{fullRecord("aaaaaaaa")}, Changes: []*presence.KeptChange{fullChange("aaaaaaaa", 1)}})
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return path, read(tb, path)
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// otherBolt is somebody else's bbolt file.
func otherBolt(tb testing.TB, change func(*bbolt.Tx) error) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "other.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		tb.Fatal(err)
	}
	return read(tb, path)
}

// changed is the file as a bbolt program could have changed it.
func changed(tb testing.TB, change func(*bbolt.Tx) error) []byte {
	tb.Helper()
	path, _ := written(tb)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		tb.Fatal(err)
	}
	return read(tb, path)
}

func inBroker(change func(b *bbolt.Bucket) error) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte("\x00caddy-stomp presence/chat"))) }
}

func TestNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "presence.db")
	f := openFile(t, path)
	if err := f.Store("chat").(interface{ Health() error }).Health(); err != nil {
		t.Error(err)
	}
	if runtime.GOOS == "windows" {
		return // it has other permissions
	}
	for path, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): fs.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
}

// A file that is empty, or whose making was cut off, is a new one.
func TestUnborn(t *testing.T) {
	whole := path(t)
	db, err := bbolt.Open(whole, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data := read(t, whole)
	for _, size := range []int{0, len(data) / 4, len(data) / 2, len(data) * 3 / 4, len(data)} {
		path := path(t)
		write(t, path, data[:size])
		f := openFile(t, path)
		s := f.Store("chat")
		if err := s.(interface{ Health() error }).Health(); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		commit(t, s, &presence.Batch{Meta: metaOf(1, 1)})
		if kept := load(t, s); kept.Meta.Seq != 1 {
			t.Errorf("%d bytes: seq %d", size, kept.Meta.Seq)
		}
	}
}

func TestInUse(t *testing.T) {
	path := path(t)
	f, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err = boltstore.Open(path)
	if !errors.Is(err, boltstore.ErrInUse) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "stop that process") {
		t.Errorf("error %v, want one that names the file and says what to do", err)
	}
	if waited := time.Since(begin); waited < 500*time.Millisecond || waited > 5*time.Second {
		t.Errorf("it waited %v", waited)
	}
	// one that is closed meanwhile is taken over
	time.AfterFunc(200*time.Millisecond, func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	openFile(t, path)
}

// What is not ours is refused, and left as it is.
func TestRefused(t *testing.T) {
	_, data := written(t)
	newer := changed(t, func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte("\x00caddy-stomp presence+new")); err != nil {
			return err
		}
		return tx.Bucket([]byte("\x00caddy-stomp presence")).Put([]byte("schema"), []byte("2"))
	})
	for _, tt := range []struct {
		name string
		data []byte
		want error
	}{
		{"text", []byte("These are somebody's notes.\n"), boltstore.ErrForeign},
		{"one byte", []byte("x"), boltstore.ErrForeign},
		{"a large text", bytes.Repeat([]byte("These are somebody's notes.\n"), 10_000), boltstore.ErrForeign},
		{"another program's bbolt file", otherBolt(t, func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("accounts"))
			if err != nil {
				return err
			}
			return b.Put([]byte("k"), []byte("v"))
		}), boltstore.ErrForeign},
		{"another program's, whose bucket comes first", otherBolt(t, func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("\x00"))
			return err
		}), boltstore.ErrForeign},
		{"another program's, empty", otherBolt(t, func(*bbolt.Tx) error { return nil }), boltstore.ErrForeign},
		{"a newer schema", newer, boltstore.ErrNewer},
		{"gzip", append([]byte{0x1f, 0x8b, 8}, data[4096:8192]...), boltstore.ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := path(t)
			write(t, path, tt.data)
			f, err := boltstore.Open(path)
			if err == nil {
				_ = f.Close()
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want %v that names the file", err, tt.want)
			}
			untouched(t, path, tt.data)
		})
	}
	t.Run("a directory", func(t *testing.T) {
		if _, err := boltstore.Open(t.TempDir()); !errors.Is(err, boltstore.ErrForeign) {
			t.Errorf("error %v, want %v", err, boltstore.ErrForeign)
		}
	})
}

// untouched asserts that the file is as it was, and alone.
func untouched(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if !bytes.Equal(read(tb, path), data) {
		tb.Error("the file was changed")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		tb.Errorf("there are %v beside it (%v)", entries, err)
	}
}

// What is damaged is kept aside, whole, and the new file works.
func TestDamaged(t *testing.T) {
	_, data := written(t)
	flipped := func(change func(data []byte)) []byte {
		data := bytes.Clone(data)
		change(data)
		return data
	}
	const page = 4096 // of the machines that this runs on, or a part of one
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"cut to half", data[:len(data)/2]},
		{"cut to two pages", data[:2*os.Getpagesize()]},
		{"cut within a page", data[:5*page+100]},
		{"both headers gone", flipped(func(data []byte) { clear(data[:2*os.Getpagesize()]) })},
		{"headers of nonsense", flipped(func(data []byte) { copy(data[16:], "nonsense"); copy(data[os.Getpagesize()+16:], "nonsense") })},
		{"all pages gone", flipped(func(data []byte) { clear(data[2*os.Getpagesize():]) })},
		{"zeroes", make([]byte, 64<<10)},
		{"a session changed", changed(t, inBroker(func(b *bbolt.Bucket) error {
			k, v := b.Bucket([]byte("sessions")).Cursor().First()
			v = bytes.Replace(v, []byte("somebody"), []byte("everbody"), 1)
			return b.Bucket([]byte("sessions")).Put(bytes.Clone(k), v)
		}))},
		{"a session missing", changed(t, inBroker(func(b *bbolt.Bucket) error {
			k, _ := b.Bucket([]byte("sessions")).Cursor().First()
			return b.Bucket([]byte("sessions")).Delete(bytes.Clone(k))
		}))},
		{"a session too short", changed(t, inBroker(func(b *bbolt.Bucket) error { return b.Bucket([]byte("sessions")).Put([]byte("x"), []byte("x")) }))},
		{"meta missing", changed(t, inBroker(func(b *bbolt.Bucket) error { return b.Delete([]byte("meta")) }))},
		{"changes missing", changed(t, inBroker(func(b *bbolt.Bucket) error { return b.DeleteBucket([]byte("changes")) }))},
		{"an event missing", changed(t, inBroker(func(b *bbolt.Bucket) error {
			k, _ := b.Bucket([]byte("events")).Cursor().First()
			return b.Bucket([]byte("events")).Delete(bytes.Clone(k))
		}))},
		{"an event changed", changed(t, inBroker(func(b *bbolt.Bucket) error {
			k, v := b.Bucket([]byte("events")).Cursor().First()
			return b.Bucket([]byte("events")).Put(bytes.Clone(k), bytes.Replace(v, []byte("Mina"), []byte("Nina"), 1))
		}))},
		{"all events missing", changed(t, inBroker(func(b *bbolt.Bucket) error { return b.DeleteBucket([]byte("events")) }))},
		{"announcers missing", changed(t, inBroker(func(b *bbolt.Bucket) error { return b.DeleteBucket([]byte("announcers")) }))},
		{"a cursor changed", changed(t, inBroker(func(b *bbolt.Bucket) error {
			k, v := b.Bucket([]byte("announcers")).Cursor().First()
			return b.Bucket([]byte("announcers")).Put(bytes.Clone(k), bytes.Replace(v, []byte(`"cursor":4`), []byte(`"cursor":9`), 1))
		}))},
		{"an event in another's place", changed(t, inBroker(func(b *bbolt.Bucket) error {
			_, v := b.Bucket([]byte("events")).Cursor().First()
			last, _ := b.Bucket([]byte("events")).Cursor().Last()
			return b.Bucket([]byte("events")).Put(bytes.Clone(last), bytes.Clone(v))
		}))},
		{"a bucket of nobody", changed(t, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("zzz")); return err })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := path(t)
			for n := 1; n <= 2; n++ { // twice within a second
				write(t, path, tt.data)
				f, err := boltstore.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				s := f.Store("chat")
				kept, err := filepath.Glob(path + ".damaged-*Z*")
				if err != nil || len(kept) != n {
					t.Fatalf("kept %v, want %d (%v)", kept, n, err)
				}
				told := s.(interface{ Health() error }).Health()
				named := false
				for _, aside := range kept {
					if !bytes.Equal(read(t, aside), tt.data) {
						t.Errorf("%s is not what it was", aside)
					}
					named = named || told != nil && strings.Contains(told.Error(), aside)
				}
				if !named {
					t.Errorf("health is %v, want one of %v in it", told, kept)
				}
				same(t, load(t, s), new(presence.Kept))
				commit(t, s, &presence.Batch{Meta: metaOf(1, 1), Put: []*presence.Record{fullRecord("aaaaaaaa")}})
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if kept := reopened(t, path, "chat"); len(kept.Records) != 1 {
					t.Error("the new file keeps nothing")
				}
			}
		})
	}
}

// One header is enough, but it is told.
func TestOneHeader(t *testing.T) {
	for _, at := range []int{0, os.Getpagesize()} {
		path, data := written(t)
		clear(data[at : at+100])
		write(t, path, data)
		f := openFile(t, path)
		s := f.Store("chat")
		if err := s.(interface{ Health() error }).Health(); err == nil || !strings.Contains(err.Error(), "header") {
			t.Errorf("health is %v", err)
		}
		if kept := load(t, s); len(kept.Records) < 400 {
			t.Errorf("%d records", len(kept.Records))
		}
		commit(t, s, benchBatch(1000, 10))
	}
}

// A file that is cut while it is open costs the store and not the process.
func TestCutWhileOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a file that is mapped cannot be cut")
	}
	for _, tt := range []struct {
		name string
		do   func(presence.Store) error
	}{
		{"load", func(s presence.Store) error { _, err := s.Load(); return err }},
		{"commit", func(s presence.Store) error { return s.Commit(benchBatch(5000, 1000)) }},
		{"clear", presence.Store.Clear},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, data := written(t)
			f, err := boltstore.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			s := f.Store("chat")
			if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := tt.do(s); err == nil || !strings.Contains(err.Error(), "damaged while it was open") {
					t.Fatalf("error %v", err)
				}
			}
			if err := s.(interface{ Health() error }).Health(); err == nil {
				t.Error("it is healthy")
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			write(t, path, data) // as it was
			if kept := reopened(t, path, "chat"); len(kept.Records) != 500 {
				t.Errorf("%d records", len(kept.Records))
			}
		})
	}
}

// Whatever happened to a file: an error, or data, and never a crash. What is
// loaded was once committed.
func TestRandomDamage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	_, whole := written(t)
	dir := t.TempDir()
	var refused, aside, loaded int
	for i := range 400 {
		data := bytes.Clone(whole)
		if random.IntN(4) == 0 {
			data = data[:random.IntN(len(data))]
		}
		for range random.IntN(8) {
			if len(data) == 0 {
				break
			}
			at := random.IntN(len(data))
			if random.IntN(2) == 0 { // where it hurts: the first bytes of a page
				at = min(at/4096*4096+random.IntN(128), len(data)-1)
			}
			switch random.IntN(3) {
			case 0:
				data[at] ^= 1 << random.IntN(8)
			case 1:
				data[at] = byte(random.Uint32())
			default:
				n := min(len(data)-at, 1+random.IntN(8000))
				copy(data[at:at+n], whole[random.IntN(len(whole)-n):])
			}
		}
		path := filepath.Join(dir, "presence.db")
		write(t, path, data)
		f, err := boltstore.Open(path)
		if err != nil {
			refused++
			if !bytes.Equal(read(t, path), data) {
				t.Fatalf("round %d: refused (%v), but changed", i, err)
			}
			continue
		}
		if err := f.Store("chat").(interface{ Health() error }).Health(); err != nil && strings.Contains(err.Error(), "aside") {
			aside++
		} else if kept, err := f.Store("chat").Load(); err != nil {
			t.Errorf("round %d: it was found good, but %v", i, err)
		} else if n := len(kept.Records); n > 0 {
			loaded++
			if n != int(kept.Meta.Seq) || n != len(kept.Events) || len(kept.Announcers) != 1 {
				t.Errorf("round %d: %d records and %d events with seq %d", i, n, len(kept.Events), kept.Meta.Seq)
			}
		} else if len(data) > 0 {
			t.Errorf("round %d: everything is gone, and nobody is told", i)
		}
		if err := f.Store("chat").Commit(benchBatch(1000, 50)); err != nil {
			t.Errorf("round %d: %v", i, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d refused, %d kept aside, %d loaded", refused, aside, loaded)
	if aside == 0 || loaded == 0 {
		t.Error("that is not the damage that it should be")
	}
}
