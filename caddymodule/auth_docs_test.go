package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/security.md names tests that there are.
func TestSecurityDocNamesTests(t *testing.T) {
	doc := string(must(os.ReadFile("../docs/security.md")))
	names := regexp.MustCompile("`(?:(\\w+)\\.)?(Test\\w+)`").FindAllStringSubmatch(doc, -1)
	if len(names) < 20 {
		t.Fatalf("it names %d tests only", len(names))
	}
	dirs := map[string]string{"": ".", "stomp": "../stomp", "presence": "../presence"}
	for _, name := range names {
		found := false
		for _, file := range must(filepath.Glob(filepath.Join(dirs[name[1]], "*_test.go"))) {
			found = found || strings.Contains(string(must(os.ReadFile(file))), "func "+name[2]+"(")
		}
		if !found {
			t.Errorf("there is no %s in %q", name[2], name[1])
		}
	}
}
