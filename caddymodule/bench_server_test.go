package caddymodule

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gorilla/websocket"
)

// serveIdleEnv makes the test binary the server of BenchmarkIdleSession. Its
// value is a port without TLS, one with, and a directory.
const serveIdleEnv = "CADDYMODULE_SERVE_IDLE"

func TestMain(m *testing.M) {
	if config := os.Getenv(serveIdleEnv); config != "" {
		if err := serveIdle(strings.Split(config, ",")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const idleCaddyfile = `{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	storage file_system $DIR
	log {
		output discard
	}
}

http://localhost:$PLAIN, https://localhost:$TLS {
	tls internal
	log {
		output discard
	}
	stomp /stomp {
		name idle
		ping_timeout 1h
		limits {
			sessions_per_address 100000
		}
	}
	route /blocking {
		stomptest_blocking
	}
}
`

// serveIdle runs Caddy until its input ends. For each line it collects garbage
// and prints the bytes of heap and stack in use.
func serveIdle(config []string) error {
	adapted, err := adapt(strings.NewReplacer("$PLAIN", config[0], "$TLS", config[1], "$DIR", config[2]).Replace(idleCaddyfile))
	if err != nil {
		return err
	}
	if err := caddy.Load([]byte(adapted), true); err != nil {
		return err
	}
	for range 1000 { // until there is a certificate
		conn, err := tls.Dial("tcp", "127.0.0.1:"+config[1], &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		if err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for range 3 { // what sync.Pools hold lives for two cycles
			runtime.GC()
		}
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(m.HeapInuse, m.StackInuse)
	}
	return nil
}

func init() {
	caddy.RegisterModule(blockingHandler{})
	httpcaddyfile.RegisterHandlerDirective("stomptest_blocking", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return blockingHandler{}, nil
	})
}

// blockingHandler echoes the messages of a WebSocket, in ServeHTTP.
type blockingHandler struct{}

func (blockingHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.stomptest_blocking", New: func() caddy.Module { return new(blockingHandler) }}
}

func (blockingHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	var upgrader websocket.Upgrader
	ws, err := upgrader.Upgrade(hijackable{w, http.NewResponseController(w)}, r, nil)
	if err != nil {
		return err
	}
	defer ws.Close()
	for {
		kind, message, err := ws.ReadMessage()
		if err == nil {
			err = ws.WriteMessage(kind, message)
		}
		if err != nil {
			return nil
		}
	}
}

// hijackable has what gorilla asks for.
type hijackable struct {
	http.ResponseWriter
	controller *http.ResponseController
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.controller.Hijack() }
