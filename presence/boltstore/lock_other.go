//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package boltstore

import (
	"os"
	"time"
)

// lock does nothing: bbolt locks the file when it opens it, and here a file
// that somebody has open cannot be renamed, so that what looks damaged because
// it is just being written stays where it is.
func lock(*os.File, time.Duration) error { return nil }

// unlock does nothing: closing the file does.
func unlock(*os.File) error { return nil }
