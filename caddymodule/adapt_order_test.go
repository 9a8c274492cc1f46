package caddymodule

import (
	"strings"
	"testing"
)

// Of overlapping endpoints the longer path comes first, whatever the order in
// the Caddyfile; otherwise the shorter one answers for it.
func TestLongerPathFirst(t *testing.T) {
	for _, test := range []struct{ name, lines string }{
		{"paths", "stomp /ws\n\tstomp /ws/admin"},
		{"without path", "stomp\n\tstomp /ws/admin\n\tstomp /ws"},
		{"same matcher", "stomp @internal /ws\n\tstomp @internal /ws/admin"},
		{"matcher on the longer", "stomp /ws\n\tstomp @internal /ws/admin"},
		{"matcher on the shorter", "stomp @internal /ws\n\tstomp /ws/admin"},
		{"in a handle block", "handle {\n\t\tstomp /ws\n\t\tstomp /ws/admin\n\t}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapted, err := adapt("example.com {\n\t@internal remote_ip private_ranges\n\t" + test.lines + "\n}\n")
			if err != nil {
				t.Fatal(err)
			}
			longer, shorter := strings.Index(adapted, `"path": "/ws/admin"`), strings.Index(adapted, `"path": "/ws"`)
			if longer < 0 || shorter < 0 || longer > shorter {
				t.Errorf("/ws at %d comes before /ws/admin at %d and answers for it", shorter, longer)
			}
		})
	}
}
