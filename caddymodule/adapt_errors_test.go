package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// site puts the lines of a stomp block into a Caddyfile; the first of them is
// line 3.
func site(lines ...string) string {
	return "example.com {\n\tstomp /ws {\n\t\t" + strings.Join(lines, "\n\t\t") + "\n\t}\n}\n"
}

// An operator looks at the line that the error names.
func TestErrorsNameTheLine(t *testing.T) {
	for _, test := range []struct {
		name, config string
		line         int
	}{
		{"origin", site("origins example.com", "sockjs"), 3},
		{"origins", site("origins * https://example.com", "sockjs"), 3},
		{"ping_timeout", site("ping_timeout 1s", "sockjs"), 3},
		{"heart_beat", site("heart_beat 10ms 10s", "sockjs"), 3},
		{"attribute", site("attribute team red", "attribute team blue", "sockjs"), 4},
		{"presence", site("presence {", "\tregister /a", "\tannounce /a", "}", "sockjs"), 3},
		{"matcher", "example.com {\n\tstomp @nobody /ws\n}\n", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := adapt(test.config)
			if err == nil {
				t.Fatal("no error")
			}
			if want := fmt.Sprintf("Caddyfile:%d", test.line); !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not name %s: %v", want, err)
			}
		})
	}
}

// A subdirective that is not known is often a misspelled one.
func TestErrorsOfUnknownSubdirectivesNameTheKnown(t *testing.T) {
	for _, test := range []struct{ name, config, known string }{
		{"stomp", site("heartbeat 10s 10s"), "heart_beat"},
		{"limits", site("limits {", "\tframesize 1KiB", "}"), "frame_size"},
		{"presence", site("presence {", "\tregistration /a", "}"), "register"},
		{"global", "{\n\tstomp {\n\t\tbrokers chat\n\t}\n}\n", "broker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := adapt(test.config)
			if err == nil {
				t.Fatal("no error")
			}
			rest := strings.ReplaceAll(err.Error(), `"brokers"`, "")
			if !strings.Contains(rest, "expected") || !strings.Contains(rest, test.known) {
				t.Errorf("the error does not say what was expected, such as %s: %v", test.known, err)
			}
		})
	}
}

// What 0 would mean is not what the default is: it must not be read as it.
func TestZeroDurationsAreRefused(t *testing.T) {
	for _, line := range []string{"drain 0s", "ping_timeout 0s"} {
		if _, err := adapt(site(line)); err == nil {
			t.Errorf("%s is accepted, and then stands for the default", line)
		}
	}
	if _, err := adapt(site("limits {", "\tconnect_timeout 0s", "}")); err == nil {
		t.Error("connect_timeout 0s is accepted, and then stands for the default")
	}
}
