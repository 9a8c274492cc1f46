package caddymodule

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

func init() {
	caddy.RegisterModule(new(Webhook))
}

// Webhook tells an HTTP server what happens at a broker. Events are POSTed as a
// JSON array, oldest first, and signed as Standard Webhooks has it
// (https://www.standardwebhooks.com).
//
// 2xx means that they have arrived. 410 ends it until the next configuration;
// 408, 429 and 5xx, a redirect, and no answer at all have them sent again, after
// Retry-After if there is one; anything else rejects them. Redirects are not
// followed. Proxies are those of the environment.
type Webhook struct {
	// Where to. It may have placeholders such as {env.HOOK_URL}, which are
	// evaluated when the configuration is loaded, as in all that follows.
	URL string `json:"url"`

	// What bodies are signed with: whsec_ and the key in base64, or the key as
	// it is, of 16 bytes at least. Of several, each signs. Default: not signed.
	Secrets []string `json:"secrets,omitempty"`

	// Header fields of the requests.
	Headers http.Header `json:"headers,omitempty"`

	// A PEM file with certificates of authorities to trust beside those of the
	// system, read when the configuration starts.
	CA string `json:"ca,omitempty"`

	AnnouncerOptions

	id     string
	url    *url.URL
	header http.Header
	keys   [][]byte
	ca     string
	client *http.Client
}

// CaddyModule implements [caddy.Module].
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.announcers.webhook", New: func() caddy.Module { return new(Webhook) }}
}

// Provision implements [caddy.Provisioner]. It opens nothing.
func (w *Webhook) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	raw, err := repl.ReplaceOrErr(w.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if w.url, err = parseWebhookURL(raw); err != nil {
		return err
	}
	w.id = webhookID(w.url)
	for i, secret := range w.Secrets {
		value, err := repl.ReplaceOrErr(secret, true, true)
		if err != nil {
			return fmt.Errorf("secret %d: %w", i+1, err)
		}
		key, err := webhookKey(value)
		if err != nil {
			return fmt.Errorf("secret %d: %w", i+1, err)
		}
		w.keys = append(w.keys, key)
	}
	if w.header, err = webhookHeader(w.Headers, repl); err != nil {
		return err
	}
	if w.ca, err = repl.ReplaceOrErr(w.CA, true, true); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	w.client = newWebhookClient(nil)
	return nil
}

// Start implements [Starter].
func (w *Webhook) Start() error {
	if w.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(w.ca)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return fmt.Errorf("ca: the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s has no certificate", w.ca)
	}
	w.client = newWebhookClient(pool)
	return nil
}

// Cleanup implements [caddy.CleanerUpper].
func (w *Webhook) Cleanup() error {
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	return nil
}

// What an answer may have beside its status.
const (
	maxWebhookHeader = 64 << 10
	maxWebhookBody   = 64 << 10
	// webhookBodyTime is how long it is read for the connection's sake.
	webhookBodyTime = time.Second
)

func newWebhookClient(pool *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}, // else one that leads nowhere is used for many minutes
			TLSClientConfig:        &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: maxWebhookHeader,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true, // an answer is not looked at
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ID implements [Announcer]: the URL, without what may be secret in it.
func (w *Webhook) ID() string { return w.id }

// Announce implements [Announcer].
func (w *Webhook) Announce(ctx context.Context, b presence.EventBatch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := b.JSON()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the request cannot be made")
	}
	req.Header = w.header.Clone()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "caddy-stomp")
	sign(req.Header, w.keys, b.ID, time.Now(), body)
	resp, err := w.client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // it has the whole URL in it
		}
		return err
	}
	defer resp.Body.Close()
	late := time.AfterFunc(webhookBodyTime, cancel)
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, maxWebhookBody) // so that the connection can be used again
	return webhookAnswer(resp)
}

// sign adds the headers of Standard Webhooks.
func sign(h http.Header, keys [][]byte, id string, now time.Time, body []byte) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", timestamp)
	var signatures []byte
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = base64.StdEncoding.AppendEncode(append(signatures, "v1,"...), mac.Sum(nil))
	}
	if len(keys) > 0 {
		h.Set("Webhook-Signature", string(signatures))
	}
}

// webhookAnswer is what an answer means.
func webhookAnswer(resp *http.Response) error {
	status := resp.StatusCode
	err := fmt.Errorf("the receiver answered %d %s", status, http.StatusText(status))
	after := retryAfterOf(resp.Header.Get("Retry-After"), time.Now())
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusGone:
		return &presence.GoneError{Err: err}
	case status < 200: // a protocol that nobody asked for
		return err
	case status < 400: // whoever mends the URL loses nothing
		return &presence.RetryError{After: after, Err: fmt.Errorf("%w: redirects are not followed, configure the URL that it leads to", err)}
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return &presence.RetryError{After: after, Err: err}
	default:
		return &presence.RejectedError{Status: status, Err: err}
	}
}

// retryAfterOf reads a Retry-After (RFC 9110 section 10.2.3), 0 if it is none.
func retryAfterOf(value string, now time.Time) time.Duration {
	const most = math.MaxInt64 / uint64(time.Second)
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // which is a long time, too
		return time.Duration(min(seconds, most)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Interface guards
var (
	_ Announcer          = (*Webhook)(nil)
	_ Starter            = (*Webhook)(nil)
	_ caddy.Provisioner  = (*Webhook)(nil)
	_ caddy.CleanerUpper = (*Webhook)(nil)
)
