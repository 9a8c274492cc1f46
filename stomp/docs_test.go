package stomp_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/stomp.md names tests, benchmarks and checks that there are.
func TestDocsNameTests(t *testing.T) {
	doc, err := os.ReadFile("../docs/stomp.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:\\w+\\.)?(?:Test|Benchmark)\\w+)").FindAllStringSubmatch(string(doc), -1)
	if len(names) < 50 {
		t.Fatalf("it names %d tests only", len(names))
	}
	sources := make(map[string]string) // by directory
	for _, name := range names {
		if strings.HasSuffix(name[1], "TestName") { // how they are written
			continue
		}
		dir, test, other := strings.Cut(name[1], ".")
		if !other {
			dir, test = ".", name[1]
		}
		if sources[dir] == "" {
			sources[dir] = read(t, dir+"/*_test.go")
		}
		if !strings.Contains(sources[dir], "func "+test+"(") {
			t.Errorf("there is no %s in %s", test, dir)
		}
	}
	suite := read(t, "stomptest/*.go")
	for _, check := range regexp.MustCompile(`suite (\w+)/([^,|]+)`).FindAllStringSubmatch(string(doc), -1) {
		if name := strings.TrimSpace(check[2]); !strings.Contains(suite, `{"`+check[1]+`", `) || !strings.Contains(suite, `{"`+name+`", `) {
			t.Errorf("the suite has no check %s/%s", check[1], name)
		}
	}
}

// read returns the files that a pattern finds.
func read(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		content, err := os.ReadFile(name) //nolint:gosec // of this package
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}
