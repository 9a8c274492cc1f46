// Package announcer is an announcer for caddy-stomp: it appends what happens at a
// broker to a file, one JSON object a line.
//
// What it is given, how often, how many at once and what is tried again is not its
// care: see package presence. It must return when the events have arrived, here
// when they are on the disk, or say why they have not.
package announcer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/caddymodule"
	"github.com/caddy-stomp/caddy-stomp/presence"
)

func init() {
	caddy.RegisterModule(new(Journal))
}

// Journal appends events to a file. One that could not be written as a whole is
// written again: whoever reads it knows an event by its id, and skips what is no
// JSON.
type Journal struct {
	// The file, which is made if there is none.
	Path string `json:"path"`

	// What is told, and in which bounds: events, batch, timeout, pending and
	// max_age are options of the guest then.
	caddymodule.AnnouncerOptions

	file *os.File
}

// CaddyModule implements [caddy.Module].
func (*Journal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.announcers.journal", New: func() caddy.Module { return new(Journal) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	journal <path> {
//		events ...    # and what else AnnouncerOptions has
//	}
func (j *Journal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // journal
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("journal: expected the path of a file")
	}
	j.Path = args[0]
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		known, err := j.UnmarshalOption(d)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("journal: unrecognized subdirective %q", name)
		}
	}
	return nil
}

// Validate implements [caddy.Validator].
func (j *Journal) Validate() error {
	if j.Path == "" {
		return errors.New("journal: path is missing")
	}
	return nil
}

// Start implements [caddymodule.Starter]. `caddy validate` does not call it. While
// a configuration takes over from another both have the file open.
func (j *Journal) Start() (err error) {
	j.file, err = os.OpenFile(j.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

// Cleanup implements [caddy.CleanerUpper]. Announce is not called any more.
func (j *Journal) Cleanup() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// ID implements [caddymodule.Announcer]: what waits for the journal of that path
// waits for it across reloads and restarts.
func (j *Journal) ID() string { return "journal " + j.Path }

// Announce implements [caddymodule.Announcer]. An error has the same events come
// again, later and later, until there is room on the disk.
func (j *Journal) Announce(_ context.Context, b presence.EventBatch) error {
	var lines bytes.Buffer
	for _, e := range b.Events {
		lines.Write(e.JSON())
		lines.WriteByte('\n')
	}
	_, err := j.file.Write(lines.Bytes())
	if err == nil {
		err = j.file.Sync()
	}
	if errors.Is(err, fs.ErrClosed) { // nothing will be written any more until a reload
		return &presence.GoneError{Err: fmt.Errorf("the journal is closed: %w", err)}
	}
	return err
}

// Interface guards
var (
	_ caddymodule.Announcer = (*Journal)(nil)
	_ caddymodule.Starter   = (*Journal)(nil)
	_ caddy.Validator       = (*Journal)(nil)
	_ caddy.CleanerUpper    = (*Journal)(nil)
	_ caddyfile.Unmarshaler = (*Journal)(nil)
)
