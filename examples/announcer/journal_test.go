package announcer_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/gorilla/websocket"

	_ "github.com/caddy-stomp/caddy-stomp/examples/announcer"
)

func adapt(dir, address, options string) ([]byte, error) {
	config := "{\n\tadmin off\n\tpersist_config off\n\tstorage file_system $DIR\n\tlog {\n\t\toutput discard\n\t}\n}\n\nhttp://$ADDRESS {\n\tstomp /ws {\n\t\t" + options + "\n\t}\n}\n"
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(strings.NewReplacer("$DIR", dir, "$ADDRESS", address).Replace(config)), nil)
	return adapted, err
}

// load has a real Caddy tell a journal.
func load(t *testing.T, dir, address, options string) {
	t.Helper()
	adapted, err := adapt(dir, address, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
}

// comeAndGo has a session come and go.
func comeAndGo(t *testing.T, address string) {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws://"+address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	defer ws.Close()
	for _, frame := range []string{"CONNECT\naccept-version:1.2\nhost:localhost\nclient-data:{\"name\":\"Mina\"}\n\n\x00", "DISCONNECT\nreceipt:1\n\n\x00"} {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	expect := func(want ...string) {
		t.Helper()
		var got []string
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got = nil
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(raw)) {
				var e struct {
					ID, Type   string
					ClientData struct{ Name string }
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%v in %q", err, line)
				}
				got = append(got, fmt.Sprint(e.Type, " ", e.ClientData.Name))
			}
			if slices.Equal(got, want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the journal has %q, want %q", got, want)
			}
		}
	}
	load(t, dir, address, "announce_to journal "+path)
	comeAndGo(t, address)
	expect("joined Mina", "left Mina")
	load(t, dir, address, "announce_to journal "+path+" {\n\t\t\tevents left\n\t\t}")
	comeAndGo(t, address)
	expect("joined Mina", "left Mina", "left Mina")
}

func TestCaddyfile(t *testing.T) {
	for options, want := range map[string]string{
		"announce_to journal /var/log/presence":                                   `"announcers":[{"module":"journal","path":"/var/log/presence"}]`,
		"announce_to journal /var/log/presence {\n\t\t\tbatch 7\n\t\t}":           `"batch":7`,
		"announce_to journal":                                                     "expected the path of a file",
		"announce_to journal /var/log/presence {\n\t\t\tretries 7\n\t\t}":         `unrecognized subdirective "retries"`,
		"announce_to journal /var/log/presence {\n\t\t\tevents everything\n\t\t}": `no type "everything"`,
	} {
		adapted, err := adapt(t.TempDir(), "localhost:8080", options)
		if got := string(adapted) + fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%s becomes %s, want %s", options, got, want)
		}
	}
	if formatted := string(caddyfile.Format([]byte("stomp {\n\tannounce_to journal /a\n}\n"))); formatted != "stomp {\n\tannounce_to journal /a\n}\n" {
		t.Errorf("caddy fmt makes it %s", formatted)
	}
}
