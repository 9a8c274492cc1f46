package caddymodule

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/caddy-stomp/caddy-stomp/"

// Imports point one way: caddymodule -> presence -> stomp -> stomp/frame.
// Sessions and presence can be used without Caddy.
func TestImportsPointOneWay(t *testing.T) {
	packages := strings.Fields(goList(t, "-f", "{{.ImportPath}}", module+"stomp/...", module+"presence/..."))
	if len(packages) < 5 {
		t.Fatalf("only %v", packages)
	}
	for _, p := range packages {
		forbidden := []string{"github.com/caddyserver/", "go.uber.org/zap", module + "caddymodule"}
		if p != module+"presence" && !strings.HasPrefix(p, module+"presence/") {
			forbidden = append(forbidden, module+"presence")
		}
		switch p {
		case module + "stomp", module + "stomp/frame", module + "presence":
			forbidden = append(forbidden, "net/http", "github.com/gorilla/")
		}
		if p == module+"stomp/frame" {
			forbidden = append(forbidden, module+"stomp")
		}
		for dep := range strings.FieldsSeq(goList(t, "-deps", p)) {
			if dep == p {
				continue
			}
			for _, f := range forbidden {
				if dep == f || strings.HasPrefix(dep, strings.TrimSuffix(f, "/")+"/") {
					t.Errorf("%s depends on %s", p, dep)
				}
			}
		}
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return string(out)
}
