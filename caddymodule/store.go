package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/presence/boltstore"
)

func init() {
	caddy.RegisterModule(new(FileStore))
}

// Store is implemented by the guest modules of the namespace stomp.stores,
// which keep the registry of a broker.
type Store interface {
	// Open opens the store of a broker. It is called when a configuration
	// starts, while the one before still runs and may have the same store
	// open: both are then given the same [presence.Store]. The closer gives
	// it back.
	//
	// An error for which [errors.Is] finds [ErrStoreInUse] refuses the
	// configuration; after any other, or if it takes longer than 15 s, the
	// broker goes on in memory, and says so in its health.
	Open(broker string) (presence.Store, io.Closer, error)
}

// ErrStoreInUse says that another process has a store open.
var ErrStoreInUse = boltstore.ErrInUse

// FileStore keeps the registry in a file, which survives a crash.
type FileStore struct {
	// The file. Several brokers may have the same.
	// Default: stomp/<broker>.db in Caddy's data directory.
	Path string `json:"path,omitempty"`

	logger *slog.Logger
}

// CaddyModule implements [caddy.Module].
func (*FileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.stores.file", New: func() caddy.Module { return new(FileStore) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	file [<path>]
func (s *FileStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // file
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.Errf("store file: expected one path, got %q too", d.Val())
	}
	return noBlock(d, "store file")
}

// Provision implements [caddy.Provisioner]. It opens nothing.
func (s *FileStore) Provision(ctx caddy.Context) error {
	s.logger = ctx.Slogger()
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	s.Path = path
	return nil
}

// files are the open files of the process, by absolute path.
var files = caddy.NewUsagePool()

// Open implements [Store].
func (s *FileStore) Open(broker string) (presence.Store, io.Closer, error) {
	path := s.Path
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "stomp", url.PathEscape(broker)+".db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	v, open, err := files.LoadOrNew(path, func() (caddy.Destructor, error) {
		f, err := boltstore.Open(path)
		if err != nil {
			return nil, err
		}
		return openFile{f}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	store := v.(openFile).Store(broker)
	if h, ok := store.(interface{ Health() error }); ok && !open && h.Health() != nil {
		s.logger.Error("the presence store was not found as it was left", "error", h.Health())
	}
	return store, fileReference(path), nil
}

// openFile is a file in the pool.
type openFile struct{ *boltstore.File }

// Destruct implements [caddy.Destructor].
func (f openFile) Destruct() error { return f.Close() }

// fileReference is a reference to the file of that path.
type fileReference string

// Close implements [io.Closer].
func (path fileReference) Close() error {
	_, err := files.Delete(string(path))
	return err
}

// openStore is a claim's store while the claim is made.
type openStore struct {
	store  presence.Store // nil: in memory
	closer io.Closer
	err    error // why it could not be opened
}

func (c *claim) openStore() (openStore, error) {
	if c.opener == nil {
		return openStore{}, nil
	}
	opened := make(chan openStore, 1)
	go func() {
		store, closer, err := c.opener.Open(c.name)
		opened <- openStore{store, closer, err}
	}()
	late := time.NewTimer(openTimeout)
	defer late.Stop()
	select {
	case s := <-opened:
		if errors.Is(s.err, ErrStoreInUse) {
			return openStore{}, fmt.Errorf("store: %w", s.err)
		}
		return s, nil
	case <-late.C:
		go func() { // when the disk answers
			s := <-opened
			s.close()
		}()
		return openStore{err: errOpenTimeout}, nil
	}
}

// openTimeout is how long a store may take to be opened, before the broker
// starts without it: a file is read as a whole then.
const openTimeout = 15 * time.Second

var errOpenTimeout = fmt.Errorf("the store could not be opened within %s", openTimeout)

// begin lets a new registry go on with what is in the store.
func (s *openStore) begin(r *presence.Registry) {
	if s.store != nil {
		r.Open(s.store)
	}
}

// apply lets a registry go over to the store. The one before is emptied: if it
// is used again one day, then by a registry that knows nothing of this one.
func (s *openStore) apply(r *presence.Registry) {
	before := r.SetStore(s.store)
	if s.err != nil {
		r.Degrade(s.err)
	}
	if before != nil && before != s.store && r.Health() == nil { // else there is nothing better
		clearStore(r, before)
	}
}

// forgetStore empties the store of a registry that does not come back. One that
// could not be read is not its store, and is left as it is.
func forgetStore(r *presence.Registry) {
	if before := r.SetStore(nil); before != nil {
		clearStore(r, before)
	}
}

func clearStore(r *presence.Registry, s presence.Store) {
	if err := inTime(s.Clear); err != nil {
		r.Degrade(fmt.Errorf("emptying the store: %w", err))
	}
}

func (s *openStore) close() {
	if s.closer != nil {
		_ = inTime(s.closer.Close) // what was to be written is written
	}
}

// storeTimeout is how long a reload or an exit waits for a disk.
const storeTimeout = 2 * time.Second

var errStoreTimeout = fmt.Errorf("no answer within %s", storeTimeout)

// inTime waits for something that may hang with a disk, and is done then when
// the disk answers.
func inTime(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	late := time.NewTimer(storeTimeout)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return errStoreTimeout
	}
}

// Interface guards
var (
	_ Store                 = (*FileStore)(nil)
	_ caddy.Provisioner     = (*FileStore)(nil)
	_ caddyfile.Unmarshaler = (*FileStore)(nil)
)
