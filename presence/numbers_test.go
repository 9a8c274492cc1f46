package presence

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Whatever fails and dies, and in whatever order, a number of a stream is told
// of one change only, and those of a process go up.
func TestNumbersAreUnique(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		acts := rapid.SliceOfN(rapid.SampledFrom([]string{"join", "join", "leave", "fail", "heal", "crash", "crash and fail", "exit", "wait"}), 5, 40).Draw(rt, "acts")
		var err error
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(morning))
			err = numbers(t, acts)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// The store fails, what is told has numbers, and the process dies: the next one
// gives others. So does one that can read the store and not write it.
func TestNumbersAfterAFailure(t *testing.T) {
	for _, acts := range [][]string{
		{"join", "fail", "join", "leave", "crash", "join", "leave"},
		{"join", "fail", "join", "leave", "exit", "join", "leave"},
		{"join", "exit", "join", "exit", "join"},
		{"join", "crash and fail", "join", "crash and fail", "join", "crash", "join"},
		{"fail", "join", "crash and fail", "join", "heal", "join", "crash", "join"},
	} {
		t.Run(fmt.Sprint(acts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(morning))
				if err := numbers(t, acts); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func numbers(t *testing.T, acts []string) error {
	c := newComputer(t, Settings{RecoveryGrace: time.Minute})
	defer func() {
		c.registry.Close()
		c.server.close()
	}()
	type number struct {
		stream string
		seq    uint64
	}
	told := make(map[number]string)
	var here []*client
	looked, n, processes := 0, 0, 0
	look := func() error {
		settle()
		all := c.told.all()
		for i, change := range all[looked:] {
			if change.Seq == 0 {
				continue
			}
			at := number{change.Stream, change.Seq}
			what := fmt.Sprint(change.Type, change.SessionID, change.At.UnixNano())
			if before, known := told[at]; known && before != what {
				return fmt.Errorf("%v was %s and is %s", at, before, what)
			}
			told[at] = what
			if before := looked + i - 1; before >= 0 && all[before].Stream == change.Stream && all[before].Seq > change.Seq {
				return fmt.Errorf("%v after %d", at, all[before].Seq)
			}
		}
		looked = len(all)
		return nil
	}
	for _, act := range acts {
		switch act {
		case "join":
			n++
			here = append(here, c.connect(t, fmt.Sprintf("session-%04d", n), stomp.ClientDataHeader, `1`))
		case "leave":
			if len(here) > 0 {
				here[0].disconnect()
				here = here[1:]
			}
		case "fail":
			c.store.hook(func(*Batch) error { return errDisk })
		case "heal":
			c.store.hook(nil)
			time.Sleep(2 * retryEvery)
		case "wait":
			time.Sleep(2 * time.Minute)
		default:
			if err := look(); err != nil {
				return err
			}
			if act == "exit" {
				c.exit()
			} else {
				c.crash()
			}
			here, looked = nil, 0
			processes++
			c.server = newServerWith(t, c.settings, registryItself)
			c.registry.stream = fmt.Sprintf("process-%d", processes) // as it would be
			c.store = c.disk.open()
			if act == "crash and fail" {
				c.store.hook(func(*Batch) error { return errDisk })
			}
			c.registry.Open(c.store)
		}
		if err := look(); err != nil {
			return fmt.Errorf("after %s: %w", act, err)
		}
	}
	return nil
}
