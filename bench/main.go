//go:build linux

// Command bench loads a real Caddy on loopback with thousands of clients, and
// compares what it costs with a floor: a program that writes the same bytes to
// as many sockets, and does nothing else. The two are measured in turn in one
// run, and what counts is the ratio, as machines are noisy.
//
//	go run ./bench fan-out
//
// See README.md for the modes.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

func main() {
	runtime.LockOSThread() // whose end is the end of the servers
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a run.
type bench struct {
	pairs    int           // how often each thing is measured
	duration time.Duration // of a measurement
	readers  int           // of a message
	sessions int
	victims  int
	curious  int
	least    float64 // share of connects per second that a store must leave
	profiles string  // a directory
	results  *results
}

// mode is a kind of load.
type mode struct {
	name, about string
	run         func(*bench) error
}

var modes = []mode{
	{"fan-out", "a message goes to many", (*bench).fanOut},
	{"reconnect", "all connect, subscribe and register; what idle sessions take", (*bench).reconnect},
	{"idle", "idle sessions under TLS", (*bench).idle},
	{"heart-beat", "nothing but heart-beats", (*bench).heartBeat},
	{"slow-readers", "some do not read", (*bench).slowReaders},
	{"storm", "some of the sessions vanish at once", (*bench).storm},
	{"newcomers", "all ask for the roster at once", (*bench).newcomers},
	{"growth", "more and more get each message", (*bench).growth},
	{"micro", "benchmarks of Go packages", (*bench).micro},
	{"connects", "all sessions connect and are told of, with a store and without", (*bench).connects},
	{"compare", "peers that Debian has packages of: fan-out, reconnect, idle", (*bench).compare},
}

// apart are the modes that are not in all.
var apart = []string{"connects", "compare"}

func run(args []string) error {
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.Usage = func() { usage(f) }
	b := bench{results: new(results)}
	f.IntVar(&b.pairs, "pairs", 5, "how often product and floor are measured, in turn")
	f.DurationVar(&b.duration, "duration", 500*time.Millisecond, "of one measurement of fan-out")
	f.IntVar(&b.readers, "readers", 1000, "how many get each message of fan-out")
	f.IntVar(&b.sessions, "sessions", 10_000, "how many sessions there are")
	f.IntVar(&b.victims, "victims", 1000, "how many of them vanish in a storm")
	f.IntVar(&b.curious, "curious", 2000, "how many newcomers there are")
	f.IntVar(&b.pairs, "rounds", 5, "the same as -pairs")
	f.Float64Var(&b.least, "ratio", 0, "the least share of connects per second that a store must leave")
	document := f.String("document", "docs/performance.md", "the file that report writes")
	f.StringVar(&b.profiles, "profiles", "bin/profiles", "the directory that profile writes to")
	limit := f.Duration("limit", 10*time.Minute, "after which it gives up")
	path := f.String("json", "", "the file whose results are replaced by those of this run")
	if len(args) == 0 {
		usage(f)
		return flag.ErrHelp
	}
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "floor" {
		return floorMain()
	}
	defer time.AfterFunc(*limit, func() {
		stopAll()
		panic("bench: it takes too long")
	}).Stop()
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		<-signals
		stopAll()
		os.Exit(1)
	}()
	debug.SetGCPercent(400) // of the load; the server is another process
	if err := raiseLimit(); err != nil {
		return err
	}
	var err error
	if *path != "" {
		if b.results, err = load(*path); err != nil {
			return err
		}
	}
	switch args[0] {
	case "report":
		return b.results.report(*document)
	case "profile":
		return b.profile()
	case "check":
		return b.check()
	}
	if b.results.Machine, err = thisMachine(); err != nil {
		return err
	}
	known := false
	for _, m := range modes {
		if m.name != args[0] && (args[0] != "all" || slices.Contains(apart, m.name)) {
			continue
		}
		known = true
		b.results.clear(m.name)
		began := time.Now()
		if err := m.run(&b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		b.results.print(os.Stdout, m.name)
		fmt.Printf("%s took %.0f s\n\n", m.name, time.Since(began).Seconds())
		if *path != "" {
			if err := b.results.save(*path); err != nil {
				return err
			}
		}
	}
	if !known {
		usage(f)
		return fmt.Errorf("unknown mode %q", args[0])
	}
	return nil
}

func usage(f *flag.FlagSet) {
	fmt.Fprint(os.Stderr, "usage: bench <mode> [flags]\n\n")
	for _, m := range modes {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", m.name, m.about)
	}
	fmt.Fprint(os.Stderr, "  all          the modes but connects and compare\n"+
		"  report       writes the results into the document\n"+
		"  profile      writes pprof profiles of fan-out and of idle sessions\n"+
		"  check        is an error if something is far worse than it was\n\n")
	f.PrintDefaults()
}
