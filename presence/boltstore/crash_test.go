//go:build unix

package boltstore_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/presence/boltstore"
)

// childVariable makes this program another one: "<what> <path>".
const childVariable = "BOLTSTORE_TEST_CHILD"

var children = map[string]func(path string) error{"crash": crashChild, "limit": limitChild, "open": openChild}

func TestMain(m *testing.M) {
	what, path, isChild := strings.Cut(os.Getenv(childVariable), " ")
	if !isChild {
		os.Exit(m.Run())
	}
	if err := children[what](path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(tb testing.TB, what, path string) *exec.Cmd {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), childVariable+"="+what+" "+path)
	return c
}

// crashBatch is the n-th batch: what is kept after it is known from n alone.
func crashBatch(n uint64) *presence.Batch {
	b := &presence.Batch{
		Meta: metaOf(10*n, 10*(n-1)), PutEvents: events(10*n, 10*n+9),
		Announcers: []*presence.AnnouncerState{announcer("a", 10*n-1), announcer(fmt.Sprint("b", n), 0)},
	}
	b.Meta.Position = 10*n + 9
	for i := range uint64(10) {
		b.DeleteEvents = append(b.DeleteEvents, 10*(n-1)+i)
		b.Put = append(b.Put, fullRecord(fmt.Sprintf("session-%06d", 10*n+i)))
		b.Changes = append(b.Changes, fullChange(fmt.Sprintf("session-%06d", 10*n+i), 10*(n-1)+i+1))
		if n > 50 {
			b.Delete = append(b.Delete, fmt.Sprintf("session-%06d", 10*(n-50)+i))
		}
	}
	if n%97 == 0 {
		b.Reset, b.Delete = true, nil
	}
	return b
}

// crashKept is what there is after n batches.
func crashKept(n uint64) *presence.Kept {
	kept := new(presence.Kept)
	if n == 0 {
		return kept
	}
	first := uint64(1)
	if n > 50 {
		first = n - 49
	}
	first = max(first, n/97*97)
	for i := first; i <= n; i++ {
		kept.Records = append(kept.Records, crashBatch(i).Put...)
	}
	last := crashBatch(n)
	kept.Meta, kept.Changes, kept.Events, kept.Announcers = last.Meta, last.Changes, last.PutEvents, last.Announcers
	return kept
}

// crashChild commits batches for ever, from where the one before was killed, and
// says so after each.
func crashChild(path string) error {
	f, err := boltstore.Open(path)
	if err != nil {
		return err
	}
	s := f.Store("chat")
	kept, err := s.Load()
	if err != nil {
		return err
	}
	for n := kept.Meta.Seq/10 + 1; ; n++ {
		if err := s.Commit(crashBatch(n)); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// A process that is killed in the middle of commits leaves exactly the batches
// up to the last that Commit returned for, or up to the one after.
func TestKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	path := path(t)
	var before, most uint64
	for range 20 {
		c := child(t, "crash", path)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		returned := before
		next := func() bool {
			line, err := lines.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return false
			}
			n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
			if err != nil || n != returned+1 {
				t.Fatalf("%q after %d (%v)", line, returned, err)
			}
			returned = n
			return true
		}
		if !next() {
			t.Fatalf("it ended: %v", c.Wait())
		}
		time.AfterFunc(time.Duration(random.IntN(60_000))*time.Microsecond, func() { _ = c.Process.Kill() })
		for next() {
		}
		_ = c.Wait()

		f, err := boltstore.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Store("chat").(interface{ Health() error }).Health(); err != nil {
			t.Fatal(err)
		}
		kept := load(t, f.Store("chat"))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		n := kept.Meta.Seq / 10
		if n != returned && n != returned+1 {
			t.Fatalf("it has %d batches; Commit returned for %d", n, returned)
		}
		same(t, kept, crashKept(n))
		most = max(most, n-before)
		before = n
	}
	t.Logf("%d batches in 20 lives, at most %d in one", before, most)
}

// fillUp commits until there is no room, has room made, and goes on.
func fillUp(path string, makeRoom func() error) error {
	f, err := boltstore.Open(path)
	if err != nil {
		return err
	}
	s := f.Store("chat")
	var n uint64
	good := func() error {
		kept, err := s.Load()
		if err != nil {
			return err
		}
		if kept.Meta.Seq != n || len(kept.Records) != int(n) {
			return fmt.Errorf("%d records with seq %d, want %d", len(kept.Records), kept.Meta.Seq, n)
		}
		return nil
	}
	put := func() error {
		return s.Commit(&presence.Batch{Meta: metaOf(n+1, n+1), Put: []*presence.Record{bigRecord(n)}})
	}
	for err = put(); err == nil; err = put() {
		if n++; n > 10_000 {
			return errors.New("it never got full")
		}
	}
	full := err
	for range 3 { // it stays so
		if err := put(); err == nil {
			return errors.New("there was no room, and then there was")
		}
		if err := good(); err != nil {
			return fmt.Errorf("after %w: %w", full, err)
		}
	}
	if err := makeRoom(); err != nil {
		return err
	}
	for range 100 {
		if err := put(); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
		n++
	}
	if err := errors.Join(good(), s.(interface{ Health() error }).Health(), f.Close()); err != nil {
		return err
	}
	if f, err = boltstore.Open(path); err != nil {
		return err
	}
	s = f.Store("chat")
	if err := errors.Join(good(), s.(interface{ Health() error }).Health(), f.Close()); err != nil {
		return err
	}
	fmt.Printf("%d batches; %v\n", n-100, full)
	return nil
}

func bigRecord(n uint64) *presence.Record {
	r := fullRecord(fmt.Sprintf("session-%06d", n))
	r.Will.Body = strings.Repeat("x", 3000)
	return r
}

// limitChild may not write files of more than 1 MiB, for a while.
func limitChild(path string) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	most := limit.Cur
	limit.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	return fillUp(path, func() error {
		limit.Cur = most
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
	})
}

// run runs a child and returns what it says.
func run(tb testing.TB, c *exec.Cmd) (string, error) {
	tb.Helper()
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// A file that may not grow any more: what is in it stays.
func TestFileLimit(t *testing.T) {
	out, err := run(t, child(t, "limit", path(t)))
	if err != nil || !strings.Contains(out, syscall.EFBIG.Error()) {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(out)
}

// openChild opens the file and says what came of it.
func openChild(path string) error {
	f, err := boltstore.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// What may not be written is refused, and left as it is.
func TestReadOnly(t *testing.T) {
	_, whole := written(t)
	for _, tt := range []struct {
		name string
		data []byte // nil: no file
		file os.FileMode
		dir  os.FileMode
		ok   bool
	}{
		{"a file that is read-only", whole, 0o444, 0o777, false},
		{"a file that is hidden", whole, 0, 0o777, false},
		{"a directory that is read-only", nil, 0, 0o555, false},
		{"a damaged file that cannot be moved", whole[:len(whole)/2], 0o666, 0o555, false},
		{"a directory that is read-only, with a file that is not", whole, 0o666, 0o555, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "boltstore") // that of the test is its user's alone
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700); _ = os.RemoveAll(dir) })
			path := filepath.Join(dir, "presence.db")
			if tt.data != nil {
				write(t, path, tt.data)
				if err := os.Chmod(path, tt.file); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, tt.dir); err != nil {
				t.Fatal(err)
			}
			c := child(t, "open", path)
			if os.Getuid() == 0 { // who may write everything
				program := filepath.Join(dir, "..", filepath.Base(dir)+".test")
				copyProgram(t, c.Path, program)
				c.Path = program
				c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := run(t, c)
			switch {
			case tt.ok && err != nil:
				t.Errorf("%v: %s", err, out)
			case !tt.ok && (err == nil || !strings.Contains(out, path) || !strings.Contains(out, "permission denied")):
				t.Errorf("%v: %s", err, out)
			}
			if tt.data != nil {
				if err := os.Chmod(path, 0o600); err != nil {
					t.Fatal(err)
				}
				untouched(t, path, tt.data)
			}
		})
	}
}

// copyProgram puts the program where everybody may run it.
func copyProgram(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.WriteFile(to, read(tb, from), 0o755); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.Remove(to) })
}
