package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

var (
	// ErrInUse says that another process has the file open.
	ErrInUse = errors.New("the file is in use by another process")
	// ErrForeign says that the file is something else. It is left untouched.
	ErrForeign = errors.New("the file is not a presence store")
	// ErrNewer says that a newer version wrote the file. It is left untouched.
	ErrNewer = errors.New("the file was written by a newer version")
)

// lockTimeout is how long another process may take to close the file.
const lockTimeout = time.Second

// File is an open file. Its methods may be called from any goroutine.
type File struct {
	path   string
	notice error // what there is to tell about its opening

	// mu is held around every use of db: bbolt has one writer at a time anyway,
	// and may keep its own lock for ever when it panics.
	mu     sync.Mutex
	db     *bbolt.DB
	fd     *os.File // that of db
	broken error    // db must not be touched any more
	stores map[string]*store
}

// Open opens a file, which is made if there is none, with the directories that
// it is in. It waits up to a second for another process to close it; the error
// is then [ErrInUse]. Others are [ErrForeign], [ErrNewer], and what the system
// says of a file that cannot be written.
func Open(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("presence store %s: %w", path, err)
	}
	notice, err := prepare(path)
	if err != nil {
		return nil, fmt.Errorf("presence store %s: %w", path, err)
	}
	f := &File{path: path, notice: notice, stores: make(map[string]*store)}
	if err := f.use(f.open); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// prepare sees to it that bbolt is given nothing that it cannot stand: it does
// not check what it reads, and follows any page number into the blue. The notice
// is what there is to tell when all goes well.
func prepare(path string) (notice, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w but a %s", ErrForeign, info.Mode().Type())
	}
	file, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	notice, err = examine(file, info.Size())
	var damage *damageError
	switch {
	case errors.Is(err, errUnborn):
		return nil, file.Truncate(0)
	case errors.As(err, &damage):
		aside, err := keepAside(path)
		if err != nil {
			return nil, fmt.Errorf("%w; it cannot be kept aside: %w", damage, err)
		}
		return fmt.Errorf("presence store %s: %w; it was kept aside as %s, and a new one begun", path, damage, aside), nil
	case err != nil:
		return nil, err
	case notice != nil:
		notice = fmt.Errorf("presence store %s: %w", path, notice)
	}
	return notice, nil
}

// openLocked opens the file of that path, which nobody else has then.
func openLocked(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("it must be writable: %w", err)
		}
		if err := lock(file, lockTimeout); err != nil {
			_ = file.Close()
			return nil, err
		}
		// whoever had it may have moved it aside
		mine, err := file.Stat()
		if err != nil {
			_ = file.Close()
			return nil, err
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			return file, nil
		}
		_ = file.Close()
	}
}

// keepAside renames a damaged file, over no other.
func keepAside(path string) (string, error) {
	base := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	return aside, os.Rename(path, aside)
}

func (f *File) open() error {
	db, err := bbolt.Open(f.path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
		OpenFile: func(path string, flag int, mode os.FileMode) (file *os.File, err error) {
			f.fd, err = os.OpenFile(path, flag, mode)
			return f.fd, err
		},
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		err = errInUse
	}
	if err != nil {
		return err
	}
	f.db = db
	fresh := false
	err = db.View(func(tx *bbolt.Tx) error {
		fresh = tx.Bucket([]byte(marker)) == nil
		return nil
	})
	if err != nil || !fresh {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(marker))
		if err != nil {
			return err
		}
		return b.Put([]byte(schemaKey), []byte(schema))
	})
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// syncDir makes a file's name durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // it has no such thing
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// errInUse says what to do, too.
var errInUse = fmt.Errorf("%w: stop that process, or give this one another file", ErrInUse)

// Store is the part of the file that belongs to a broker: the same value each
// time. Of one store one method may be called at a time.
func (f *File) Store(broker string) presence.Store {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stores[broker]
	if s == nil {
		s = &store{file: f, broker: broker, bucket: []byte(marker + "/" + broker)}
		f.stores[broker] = s
	}
	return s
}

// Close closes the file. Stores fail from then on.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil || f.broken != nil {
		f.db = nil
		if f.fd == nil {
			return nil
		}
		// bbolt may be locked for ever, and stays mapped, which keeps the lock
		err := errors.Join(unlock(f.fd), f.fd.Close())
		f.fd = nil
		if errors.Is(err, os.ErrClosed) { // bbolt could not be opened
			return nil
		}
		return err
	}
	err := f.db.Close()
	f.db, f.fd = nil, nil
	f.broken = fmt.Errorf("presence store %s: %w", f.path, os.ErrClosed)
	return err
}

// use calls what uses bbolt. A panic becomes an error, and so does the fault
// that comes of a mapped file that somebody has cut; nothing is used after it.
func (f *File) use(do func() error) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return f.broken
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f.broken = fmt.Errorf("presence store %s: it was damaged while it was open, and must be opened again: %v", f.path, p)
			err = f.broken
		}
	}()
	if err := do(); err != nil {
		return fmt.Errorf("presence store %s: %w", f.path, err)
	}
	return nil
}

// health is what there is to tell about the file.
func (f *File) health() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.broken, f.notice)
}
