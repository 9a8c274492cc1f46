package main

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	if os.Getenv("BENCH_MUTEX") != "" { // costs something: for profiles only
		runtime.SetMutexProfileFraction(10)
	}
	caddy.RegisterModule(adminHeap{})
}

// adminHeap serves /bench/heap on the admin endpoint: figures of the Go runtime
// after a garbage collection. With free=true what is not used is given back to
// the kernel before.
type adminHeap struct{}

// CaddyModule implements [caddy.Module].
func (adminHeap) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.bench", New: func() caddy.Module { return new(adminHeap) }}
}

// Routes implements [caddy.AdminRouter].
func (adminHeap) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/bench/heap", Handler: caddy.AdminHandlerFunc(serveHeap)}}
}

func serveHeap(w http.ResponseWriter, r *http.Request) error {
	runtime.GC()
	if r.FormValue("free") == "true" {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return json.NewEncoder(w).Encode(map[string]any{
		"Mallocs": m.Mallocs, "HeapAlloc": m.HeapAlloc, "StackInuse": m.StackInuse, "Goroutines": runtime.NumGoroutine(),
	})
}

var _ caddy.AdminRouter = adminHeap{}
