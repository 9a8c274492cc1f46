package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(spyWrapper{})
}

// spyWrapper says of what kind the connections are that come out of the wrappers
// before it, and of those, what is below TLS.
type spyWrapper struct{}

var spied struct {
	sync.Mutex
	kinds map[string]bool
}

func (spyWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.stomptest_spy", New: func() caddy.Module { return new(spyWrapper) }}
}

func (*spyWrapper) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*spyWrapper) WrapListener(ln net.Listener) net.Listener { return spyListener{ln} }

type spyListener struct{ net.Listener }

func (l spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		kind := fmt.Sprintf("%T", c)
		if secure, ok := c.(*tls.Conn); ok {
			kind = fmt.Sprintf("%T on %T", c, secure.NetConn())
		}
		spied.Lock()
		defer spied.Unlock()
		spied.kinds[kind] = true
	}
	return c, err
}

// kinds of connections since the last time.
func kinds() []string {
	spied.Lock()
	defer spied.Unlock()
	var kinds []string
	for kind := range spied.kinds {
		kinds = append(kinds, kind)
	}
	spied.kinds = make(map[string]bool)
	slices.Sort(kinds)
	return kinds
}

const wrapped = `{
	$GLOBAL
	servers {
		listener_wrappers {
			%s
			stomptest_spy
		}
	}
}

(site) {
	encode
	root $DIR
	stomp /ws {
		name chat
		sockjs
	}
	file_server
}

http://localhost:$PORT {
	import site
}

https://localhost:$PORT2 {
	tls $TLS
	import site
}

http://local {
	bind unix/$DIR/socket
	import site
}
`

// useWrapped has sessions and requests of every kind, over TLS and without.
func useWrapped(t *testing.T, s *server) {
	t.Helper()
	file := strings.Repeat("a file that is served. ", 100_000)
	if err := os.WriteFile(filepath.Join(s.dir, "file.txt"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	local := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "socket"))
		}, DisableKeepAlives: true,
	}}
	if resp, err := local.Get("http://local/file.txt"); err != nil {
		t.Error(err)
	} else {
		_ = resp.Body.Close()
	}
	secure := "localhost:" + s.port2
	for _, url := range []string{s.ws("/ws"), s.ws("/ws/websocket"), "wss://" + secure + "/ws", "wss://" + secure + "/ws/websocket"} {
		a, b := dial(t, url), dial(t, url)
		a.alive()
		b.alive()
	}
	for _, url := range []string{s.http("/file.txt"), "https://" + secure + "/file.txt"} {
		for _, h2 := range []bool{false, true} {
			client := &http.Client{Timeout: patience, Transport: &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2, DisableKeepAlives: true,
			}}
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(body) != file {
				t.Errorf("%s, HTTP/2 %v: %d bytes, %v", url, h2, len(body), err)
			}
		}
	}
}

func vain(entry map[string]any) bool {
	return entry["level"] == "warn" && strings.Contains(fmt.Sprint(entry["msg"]), "listener wrapper stomp")
}

// In its place the wrapper is below TLS, and nobody notices.
func TestListenerWrapper(t *testing.T) {
	s := run(t, fmt.Sprintf(wrapped, "stomp\n\t\t\ttls"))
	kinds()
	useWrapped(t, s)
	if got, want := kinds(), []string{"*net.UnixConn", "*tls.Conn on *websocket.socket", "*websocket.socket"}; !slices.Equal(got, want) {
		t.Errorf("connections are %q, want %q", got, want)
	}
	if said := s.logged(vain); len(said) > 0 {
		t.Errorf("it says that it is in vain: %v", said)
	}
}

// Where it can do nothing it says so, once for each listener, and does no harm.
func TestListenerWrapperInVain(t *testing.T) {
	for name, wrappers := range map[string]string{
		"after tls":            "proxy_protocol\n\t\t\ttls\n\t\t\tstomp",
		"without tls":          "stomp",
		"after proxy_protocol": "proxy_protocol\n\t\t\tstomp\n\t\t\ttls",
	} {
		t.Run(name, func(t *testing.T) {
			s := run(t, fmt.Sprintf(wrapped, wrappers))
			useWrapped(t, s)
			said := s.logged(vain)
			addresses := make(map[any]bool)
			for _, entry := range said {
				addresses[entry["address"]] = true
			}
			on := func(end string) bool {
				return slices.ContainsFunc(said, func(entry map[string]any) bool { return strings.HasSuffix(fmt.Sprint(entry["address"]), end) })
			}
			if !on(":"+s.port2) || on("socket") || len(addresses) != len(said) {
				t.Errorf("it says %v", said)
			}
		})
	}
}
