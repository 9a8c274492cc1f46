// Package boltstore keeps registries of package presence in a file, which
// survives the end of the process, however it ends.
//
// # The file
//
// It is a bbolt database (format 2). At its top are only buckets of ours:
//
//	"\x00caddy-stomp presence"            what the file is
//	    "schema"                          "1"
//	"\x00caddy-stomp presence/<broker>"   one for each broker
//	    "meta"                            crc, sum, presence.Meta
//	    "sessions"                        session id -> crc, presence.Record
//	    "changes"                         seq        -> crc, presence.KeptChange
//	    "events"                          position   -> crc, presence.Event
//	    "announcers"                      id         -> crc, presence.AnnouncerState
//
// The last two are there where there were announcers. seq and position are big
// endian, 8 bytes; records are JSON. crc is a CRC-32C of the broker,
// the kind of the record, its key and its JSON, in 4 bytes, and sum adds up
// those of all records of the broker, in 8: bbolt itself has no
// checksums but on its two headers.
//
// # What it guarantees
//
//   - When Commit returns without an error, the batch is on the disk (two
//     fdatasync). After a crash the file holds exactly the batches up to some
//     batch, which is the last that Commit returned for or the one after.
//   - After an error of Commit what was kept before can still be loaded, and a
//     later Commit works once there is room again.
//   - [Open] reads the whole file before it trusts it. One that is damaged is
//     renamed to <path>.damaged-<time>, a new one is begun, and Health of each
//     store says so, for as long as the file is open. One that is not ours, or
//     of a newer schema, is left as it is, as is one that cannot be written.
//   - A file that is cut or overwritten while it is open makes Load and Commit
//     fail; the process goes on. The file is then of no use until it is closed
//     and opened again.
//   - The file does not grow with the number of commits: pages are used again.
//     It holds at most a few times what it held at its fullest.
//
// # What it does not
//
//   - The file never shrinks.
//   - After an error of Commit it is not known whether the batch was kept. The
//     registry writes everything again then.
//   - A disk that says it has written what it has not, and a file that somebody
//     puts back from a copy: the first may show as damage, the second cannot be
//     told from the truth.
//   - If one of the two headers is unreadable the other one is gone on with,
//     and Health says so: that is a commit that was cut off by a loss of power,
//     or a damage that cost the last commit.
//   - Network file systems: the lock that keeps other processes out, and
//     memory mapping, are only as good as theirs.
package boltstore
