// Package boltstore keeps registries in a file.
package boltstore

import (
	"errors"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// ErrInUse says that another process has the file open.
var ErrInUse = errors.New("the file is in use by another process")

// File is an open file.
type File struct{}

// Open opens a file, which is made if there is none.
func Open(string) (*File, error) { return nil, errors.ErrUnsupported }

// Store is the part of the file that belongs to a broker.
func (*File) Store(string) presence.Store { return nil }

// Close closes the file.
func (*File) Close() error { return nil }
