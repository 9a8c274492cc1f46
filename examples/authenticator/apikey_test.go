package authenticator_test

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/gorilla/websocket"

	_ "github.com/caddy-stomp/caddy-stomp/examples/authenticator"
)

// load starts a real Caddy with the example, and returns the endpoint's URL.
func load(t *testing.T, keys string) (url string, err error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(`{
	admin off
	persist_config off
	storage file_system `+dir+`
	log {
		output discard
	}
}
http://`+address+` {
	stomp /ws {
		authenticate api_key {
			file `+file+`
		}
	}
}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return "ws://" + address + "/ws", caddy.Load(config, true)
}

// connect is what the server answers to CONNECT.
func connect(t *testing.T, url string, header http.Header, line string) string {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial(url, header)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	defer ws.Close()
	if err := ws.WriteMessage(websocket.TextMessage, []byte("CONNECT\naccept-version:1.2\n"+line+"\n\x00")); err != nil {
		t.Fatal(err)
	}
	_, answer, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestAPIKey(t *testing.T) {
	url, err := load(t, fmt.Sprintf("mina %x\n\nomar %x\n", sha256.Sum256([]byte("key of mina")), sha256.Sum256([]byte("key of omar"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, line, want string
		header           http.Header
	}{
		{"in CONNECT", "api-key:key of mina\n", "CONNECTED\n|user-name:mina\n", nil},
		{"in the HTTP request", "", "CONNECTED\n|user-name:omar\n", http.Header{"Authorization": {"ApiKey key of omar"}}},
		{"wrong", "api-key:key of lea\n", "ERROR\nmessage:credentials are not valid\n", nil},
		{"missing", "", "ERROR\nmessage:credentials are missing\n", nil},
		{"of another scheme", "", "ERROR\nmessage:credentials are missing\n", http.Header{"Authorization": {"Basic key of omar"}}},
	} {
		answer := connect(t, url, tt.header, tt.line)
		start, part, _ := strings.Cut(tt.want, "|")
		if !strings.HasPrefix(answer, start) || !strings.Contains(answer, part) {
			t.Errorf("%s: %q", tt.name, answer)
		}
	}
}

func TestFileThatIsWrong(t *testing.T) {
	if _, err := load(t, "mina secret\n"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("%v", err)
	}
}
