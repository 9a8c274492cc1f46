package caddymodule

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var caddyfileBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// The Caddyfiles of these pages can be copied.
func TestDocumentedCaddyfiles(t *testing.T) {
	for _, page := range []string{"permissions.md", "interceptors.md"} {
		raw, err := os.ReadFile("../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := caddyfileBlock.FindAllStringSubmatch(string(raw), -1)
		if len(blocks) == 0 || strings.Count(string(raw), "```caddyfile") != len(blocks) {
			t.Errorf("%s: %d Caddyfiles", page, len(blocks))
		}
		for _, block := range blocks {
			if formatted := string(caddyfile.Format([]byte(block[1]))); formatted != block[1] {
				t.Errorf("%s: caddy fmt would change it to:\n%s", page, formatted)
			}
			adapted, err := adapt(block[1])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			validate(t, adapted)
		}
	}
}
