package stomptest

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// CheckLeaks fails a test that leaves goroutines of this project behind, when
// everything that the test cleans up later registered is cleaned up: so it is
// called first. Inside a bubble of testing/synctest it is not needed.
func CheckLeaks(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for {
			left := ours()
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines left, the first:\n%s", len(left), left[0])
				return
			}
			time.Sleep(2 * time.Millisecond) // the end of a goroutine is no event that could be waited for
		}
	})
}

// ours are the stacks of goroutines that run code of this project, without the
// tests themselves.
func ours() []string {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var left []string
	for _, s := range stacks[1:] {
		if strings.Contains(s, "caddy-stomp/caddy-stomp/") && !slices.ContainsFunc(testers, func(f string) bool { return strings.Contains(s, f) }) {
			left = append(left, s)
		}
	}
	return left
}

// testers are the functions that a test or a benchmark is called by, or waits in for
// its subtests.
var testers = []string{"testing.tRunner", "testing.(*T).Run(", "testing.(*B)."}
