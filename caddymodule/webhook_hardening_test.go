package caddymodule

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// provisioned is a webhook as a configuration that has started has it.
func provisioned(t *testing.T, w *Webhook) *Webhook {
	t.Helper()
	if err := w.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Cleanup() })
	return w
}

var oneEvent = func() presence.EventBatch {
	e := new(presence.Event)
	if err := e.UnmarshalJSON([]byte(`{"position":1,"stream":"s","type":"left","event":{"id":"s-1","type":"left"}}`)); err != nil {
		panic(err)
	}
	return presence.EventBatch{ID: "s-1-1-1", Attempt: 1, Events: []*presence.Event{e}}
}()

func announceWithin(t *testing.T, w *Webhook, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return w.Announce(ctx, oneEvent)
}

// What an answer means is decided by its status.
func TestWebhookAnswers(t *testing.T) {
	status, retryAfter := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	w := provisioned(t, &Webhook{URL: server.URL})
	for _, tt := range []struct {
		status     int
		retryAfter string
		want       string
		after      time.Duration
	}{
		{status: 200, want: "ok"},
		{status: 202, want: "ok"},
		{status: 204, want: "ok"},
		{status: 301, want: "retry"},
		{status: 302, retryAfter: "60", want: "retry", after: time.Minute},
		{status: 304, want: "retry"},
		{status: 400, want: "rejected"},
		{status: 401, want: "rejected"},
		{status: 404, want: "rejected"},
		{status: 408, want: "retry"},
		{status: 410, want: "gone"},
		{status: 413, want: "rejected"},
		{status: 422, want: "rejected"},
		{status: 429, want: "retry"},
		{status: 429, retryAfter: "120", want: "retry", after: 2 * time.Minute},
		{status: 500, want: "retry"},
		{status: 503, retryAfter: "-1", want: "retry"},
		{status: 503, retryAfter: "0", want: "retry"},
		{status: 503, retryAfter: "+5", want: "retry"},
		{status: 503, retryAfter: "1.5", want: "retry"},
		{status: 503, retryAfter: " 7 ", want: "retry", after: 7 * time.Second},
		{status: 503, retryAfter: "2147483648", want: "retry", after: 1 << 31 * time.Second},
		{status: 503, retryAfter: "99999999999999999999", want: "retry", after: time.Duration(math.MaxInt64).Truncate(time.Second)},
		{status: 404, retryAfter: "60", want: "rejected"},
		{status: 503, retryAfter: "soon", want: "retry"},
		{status: 503, retryAfter: "Mon, 02 Jan 2006 15:04:05 GMT", want: "retry"},
		{status: 599, want: "retry"},
	} {
		status, retryAfter = tt.status, tt.retryAfter
		err := announceWithin(t, w, patience)
		got, after := "retry", time.Duration(0)
		if retry, ok := errors.AsType[*presence.RetryError](err); ok {
			after = retry.After
		}
		if _, ok := errors.AsType[*presence.GoneError](err); ok {
			got = "gone"
		}
		if rejected, ok := errors.AsType[*presence.RejectedError](err); ok {
			got = "rejected"
			if rejected.Status != tt.status {
				t.Errorf("%d became %d", tt.status, rejected.Status)
			}
		}
		if err == nil {
			got = "ok"
		}
		if got != tt.want || after != tt.after {
			t.Errorf("%d with Retry-After %q: %s after %v (%v), want %s after %v", tt.status, tt.retryAfter, got, after, err, tt.want, tt.after)
		}
	}
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for date, want := range map[string]time.Duration{
		"Wed, 02 Jan 2030 03:05:05 GMT":     time.Minute,
		"Wednesday, 02-Jan-30 03:05:05 GMT": time.Minute,
		"Wed Jan  2 03:05:05 2030":          time.Minute,
		"Wed, 02 Jan 2030 03:03:05 GMT":     0,
		"Fri, 31 Dec 9999 23:59:59 GMT":     math.MaxInt64,
		"2030-01-02T03:05:05Z":              0,
	} {
		if got := retryAfterOf(date, now); got != want {
			t.Errorf("%s is %v, want %v", date, got, want)
		}
	}
}

// rawServer answers each connection, once it has sent a request, as it is told.
func rawServer(t *testing.T, answer func(net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					answer(conn)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// repeat writes until the other side has enough, and counts.
func repeat(conn net.Conn, text string, count *atomic.Int64) {
	for {
		n, err := io.WriteString(conn, text)
		count.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// A receiver that means harm gets no memory, no time beyond the timeout, and
// nothing that it was not to have.
func TestMaliciousReceivers(t *testing.T) {
	var sent atomic.Int64
	const enough = 64 << 20 // what the kernel buffers on the way is in it
	line := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name   string
		answer func(net.Conn)
		ok     bool
	}{
		{"a body without end", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			repeat(c, "3e8\r\n"+line+"\r\n", &sent)
		}, true},
		{"a body of a terabyte", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 Oh\r\nContent-Length: 1099511627776\r\n\r\n")
			repeat(c, line, &sent)
		}, false},
		{"headers without end", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			repeat(c, "X-Line: "+line+"\r\n", &sent)
		}, false},
		{"a header line without end", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Line: ")
			repeat(c, line, &sent)
		}, false},
		{"informational answers without end", func(c net.Conn) { repeat(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", &sent) }, false},
		{"another protocol", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			repeat(c, line, &sent)
		}, false},
		{"garbage", func(c net.Conn) { repeat(c, "\x00\xff garbage\n", &sent) }, false},
		{"a status that is none", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 7 Seven\r\n\r\n") }, false},
		{"nothing at all", func(net.Conn) {}, false},
		{"a body that never comes", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, true},
		{"a body that comes slowly", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
			_, _ = io.Copy(io.Discard, c)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent.Store(0)
			w := provisioned(t, &Webhook{URL: rawServer(t, tt.answer)})
			if err := announceWithin(t, w, 3*patience); (err == nil) != tt.ok || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			if n := sent.Load(); n > enough {
				t.Errorf("it could send %d bytes", n)
			}
		})
	}
	t.Run("headers that never come", func(t *testing.T) {
		w := provisioned(t, &Webhook{URL: rawServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })})
		if err := announceWithin(t, w, 100*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// A redirect would carry events and a signature to wherever the receiver says.
func TestWebhookRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var visited atomic.Int32
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Add(1) }))
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		w := provisioned(t, &Webhook{URL: server.URL, Secrets: []string{hookSecret}, Headers: http.Header{"Authorization": {"Bearer t0ken"}}})
		err := announceWithin(t, w, patience)
		if _, rejected := errors.AsType[*presence.RejectedError](err); err == nil || rejected || !strings.Contains(err.Error(), "redirects are not followed") {
			t.Errorf("%d: error %v", status, err)
		}
		if visited.Load() != 0 {
			t.Errorf("%d was followed", status)
		}
		server.Close()
		elsewhere.Close()
	}
}

// What a configuration gives cannot be made to say more than it should.
func TestWebhookConfiguration(t *testing.T) {
	t.Setenv("HOOK_EMPTY", "")
	t.Setenv("HOOK_INJECTION", "x\r\nWebhook-Signature: v1,forged")
	for _, tt := range []struct {
		name string
		w    Webhook
		want string
	}{
		{"no URL", Webhook{}, "url"},
		{"an empty URL", Webhook{URL: "{env.HOOK_EMPTY}"}, "url"},
		{"no scheme", Webhook{URL: "//app.internal"}, "url"},
		{"a file", Webhook{URL: "file:///etc/passwd"}, "url"},
		{"a line's end in the URL", Webhook{URL: "http://app.internal/{env.HOOK_INJECTION}"}, "url"},
		{"an empty secret", Webhook{Secrets: []string{"{env.HOOK_EMPTY}"}}, "secret 1"},
		{"a secret of nobody", Webhook{Secrets: []string{hookSecret, "{env.HOOK_NOBODY_SET_THIS}"}}, "secret 2"},
		{"a short secret", Webhook{Secrets: []string{"s3cret"}}, "secret 1: expected 16 bytes"},
		{"a header with a line's end", Webhook{Headers: http.Header{"X-From": {"{env.HOOK_INJECTION}"}}}, "X-From"},
		{"a name with a line's end", Webhook{Headers: http.Header{"X-From\r\nX": {"x"}}}, "header"},
		{"a signature of the operator's", Webhook{Headers: http.Header{"webhook-signature": {"v1,x"}}}, "cannot be set"},
		{"another host", Webhook{Headers: http.Header{"host": {"x"}}}, "cannot be set"},
		{"another type", Webhook{Headers: http.Header{"content-type": {"x"}}}, "cannot be set"},
	} {
		if tt.w.URL == "" && tt.want != "url" {
			tt.w.URL = "http://app.internal"
		}
		err := tt.w.Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

// The id shows where events go, and none of the secrets that a URL may have; of
// two that differ in these there are two.
func TestWebhookID(t *testing.T) {
	seen := make(map[string]string)
	for raw, want := range map[string]string{
		"https://app.internal/hooks":                         "https://app.internal/hooks",
		"https://app.internal:8443/hooks/%2F":                "https://app.internal:8443/hooks/%2F",
		"https://mina:s3cret@app.internal/hooks":             "https://xxxxx@app.internal/hooks#",
		"https://s3cret@app.internal/hooks":                  "https://xxxxx@app.internal/hooks#",
		"https://app.internal/hooks?token=s3cret&a=s3cret":   "https://app.internal/hooks?token=xxxxx&a=xxxxx#",
		"https://app.internal/hooks?token=s3cret2&a=s3cret":  "https://app.internal/hooks?token=xxxxx&a=xxxxx#",
		"https://app.internal/hooks?s3cret":                  "https://app.internal/hooks?=xxxxx#",
		"https://app.internal/hooks?token=%73%33cret;s3cret": "https://app.internal/hooks?token=xxxxx#",
	} {
		w := provisioned(t, &Webhook{URL: raw})
		id := w.ID()
		if !strings.HasPrefix(id, want) || strings.HasSuffix(want, "#") != (len(id) > len(want)) || strings.Contains(id, "cret") {
			t.Errorf("%s has id %s, want %s", raw, id, want)
		}
		if other := seen[id]; other != "" {
			t.Errorf("%s and %s have the same id", raw, other)
		}
		seen[id] = raw
	}
	// nor has an error
	w := provisioned(t, &Webhook{URL: "http://mina:s3cret@127.0.0.1:1/hooks?token=s3cret"})
	if err := announceWithin(t, w, patience); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "mina") {
		t.Errorf("error %v", err)
	}
}

// An authority of the operator's own is trusted if it is configured. Its file is
// read when the configuration starts, not when it is validated.
func TestWebhookCA(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer server.Close()
	if err := announceWithin(t, provisioned(t, &Webhook{URL: server.URL}), patience); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody's is trusted: %v", err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	w := &Webhook{URL: server.URL, CA: path}
	if err := w.Provision(caddy.Context{}); err != nil {
		t.Errorf("provisioning reads the file: %v", err)
	}
	if err := w.Start(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	for content, ok := range map[string]bool{
		"no certificate": false,
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})): true,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := w.Start()
		if err == nil {
			err = announceWithin(t, w, patience)
		}
		if (err == nil) != ok {
			t.Errorf("with %.20q: %v", content, err)
		}
	}
	if err := w.Cleanup(); err != nil {
		t.Error(err)
	}
}

// The signature is that of the specification's example.
func TestWebhookSignature(t *testing.T) {
	key, err := webhookKey("whsec_plJ3nmyCDGBKInavdOK15jsl")
	if err != nil {
		t.Fatal(err)
	}
	h := make(http.Header)
	sign(h, [][]byte{key, key}, "msg_loFOjxBNrRLzqYUf", time.Unix(1731705121, 0), []byte(`{"event_type":"ping","data":{"success":true}}`))
	const want = "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
	if got := h.Get("webhook-signature"); got != want+" "+want {
		t.Errorf("signed %s, want %s twice", got, want)
	}
	if got := fmt.Sprint(h.Get("webhook-id"), h.Get("webhook-timestamp")); got != "msg_loFOjxBNrRLzqYUf1731705121" {
		t.Errorf("headers %s", got)
	}
}

// vanishing is a proxy whose connections of before can be made to lead nowhere.
type vanishing struct {
	net.Listener
	to   string
	mu   sync.Mutex
	gone chan struct{} // closed: those of before have vanished
}

func newVanishing(t *testing.T, to string) *vanishing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &vanishing{Listener: l, to: to, gone: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			v.mu.Lock()
			gone := v.gone
			v.mu.Unlock()
			onward, err := net.Dial("tcp", to)
			if err != nil {
				_ = conn.Close()
				continue
			}
			go pipe(onward, conn, gone)
			go pipe(conn, onward, gone)
		}
	}()
	return v
}

// pipe copies until it is gone; then nothing arrives, and nobody is told.
func pipe(to, from net.Conn, gone chan struct{}) {
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-gone:
		default:
			_, _ = to.Write(buf[:n])
		}
	}
}

func (v *vanishing) vanish() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.gone)
	v.gone = make(chan struct{})
}

// A receiver whose machine has gone, while another has taken over, says so on no
// connection of before: that must not be tried again and again, whatever the
// protocol.
func TestVanishedConnection(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			var protocol atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { protocol.Store(int32(r.ProtoMajor)) })) //nolint:gosec // 1 or 2
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			defer server.CloseClientConnections()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			v := newVanishing(t, server.Listener.Addr().String())
			w := provisioned(t, &Webhook{URL: "https://" + v.Addr().String(), CA: ca})
			pings := w.client.Transport.(*http.Transport).HTTP2
			if pings.SendPingTimeout+pings.PingTimeout > time.Minute {
				t.Errorf("it may be found out after %v", pings.SendPingTimeout+pings.PingTimeout)
			}
			pings.SendPingTimeout /= 10
			pings.PingTimeout /= 10
			for range 2 {
				if err := announceWithin(t, w, patience); err != nil {
					t.Fatal(err)
				}
			}
			if protocol.Load() != map[bool]int32{false: 1, true: 2}[http2] {
				t.Errorf("HTTP/%d", protocol.Load())
			}
			v.vanish()
			if err := announceWithin(t, w, 100*time.Millisecond); err == nil {
				t.Error("it has arrived by a connection that leads nowhere")
			}
			soon(t, "another connection", func() bool { return announceWithin(t, w, time.Second) == nil })
		})
	}
}
