// Command bench loads a real Caddy on loopback with thousands of clients, and
// compares the CPU time that it takes with that of a floor: a program that
// writes the same bytes to as many sockets, and does nothing else. Both are
// measured in one run, as machines are noisy.
//
//	go build -o /tmp/caddy ./cmd/caddy
//	CADDY_BIN=/tmp/caddy go run ./bench storm
//
// It ends with an error if anybody has a wrong picture of who is there.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const usage = `usage: bench <scenario> [flags]

  connects   all sessions connect, with a store in turn with none
  newcomers  all sessions ask for the roster at once
  storm      some of the sessions vanish at once

`

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	f := flag.NewFlagSet(args[0], flag.ExitOnError)
	f.Usage = func() { fmt.Fprint(os.Stderr, usage); f.PrintDefaults() }
	sessions := f.Int("sessions", 10_000, "how many sessions there are")
	victims := f.Int("victims", 1000, "how many of them vanish")
	rounds := f.Int("rounds", 3, "how often the floor, or each kind of connects, is measured")
	ratio := f.Float64("ratio", 0, "the least share of connects per second that a store must leave")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	debug.SetGCPercent(400) // of the load; the server is another process
	s := scenario{sessions: *sessions, victims: *victims, rounds: *rounds}
	switch args[0] {
	case "floor":
		return floorMain()
	case "connects":
		return s.connects(*ratio)
	case "newcomers":
		return s.newcomers()
	case "storm":
		return s.storm()
	default:
		return fmt.Errorf("%s", usage)
	}
}
