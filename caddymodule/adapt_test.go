package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "rewrite what the golden files expect")

const goldenLine = "----------\n"

// errorPlace is how Caddy names the file and the line of an error.
var errorPlace = regexp.MustCompile(`Caddyfile:\d+`)

// adapt adapts a Caddyfile to indented JSON.
func adapt(config string) (string, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, adapted, "", "\t"); err != nil {
		return "", err
	}
	return indented.String(), nil
}

// The golden files hold a Caddyfile and, below a line of dashes, the JSON that
// it is adapted to or the error. After a change that was meant:
//
//	go test ./caddymodule -run TestCaddyfileAdapt -update
func TestCaddyfileAdapt(t *testing.T) {
	t.Setenv("STATE_DIR", t.TempDir())
	t.Setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	t.Setenv("HOOK_URL", "https://third.internal/hooks")
	t.Setenv("JWT_SECRET", strings.Repeat("QUJD", 22))
	t.Setenv("OMAR_HASH", "$2a$04$xRCnuzWrxdUchtvl8RMIJOxuCFzTXZf/UkQiyDoZIvy4HdPkqOkt2")
	files, err := filepath.Glob("testdata/caddyfile_adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(raw), goldenLine)
			if !ok {
				t.Fatalf("%s: no line of dashes", file)
			}
			if formatted := string(caddyfile.Format([]byte(input))); formatted != input {
				t.Errorf("caddy fmt would change the Caddyfile to:\n%s", formatted)
			}
			got, err := adapt(input)
			if err != nil {
				got = err.Error()
				if !errorPlace.MatchString(got) {
					t.Errorf("the error does not name file and line: %s", got)
				}
				if strings.Contains(got, "expected one of: ,") {
					t.Errorf("the error expects one of nothing: %s", got)
				}
			}
			if strings.HasPrefix(filepath.Base(file), "error_") != (err != nil) {
				t.Errorf("files of Caddyfiles that are wrong, and only those, begin with error_; got %s", got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(input+goldenLine+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != strings.TrimSpace(want) {
				t.Errorf("adapted to:\n%s\n\nwant:\n%s", got, strings.TrimSpace(want))
			}
			if err == nil {
				validate(t, got)
			}
		})
	}
}

// validate does what `caddy validate` does with adapted JSON, with storage of
// its own.
func validate(t *testing.T, adapted string) {
	t.Helper()
	if err := validateErr(t, adapted); err != nil {
		t.Errorf("adapted, but not valid: %v", err)
	}
}

func validateErr(t *testing.T, adapted string) error {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal([]byte(adapted), &config); err != nil {
		t.Fatal(err)
	}
	config["storage"] = map[string]any{"module": "file_system", "root": t.TempDir()}
	config["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "discard"}}}}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var c *caddy.Config
	if err := caddy.StrictUnmarshalJSON(raw, &c); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(c)
}
