package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"
)

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	webhook <url> {
//		secret  <secret>...       # may be repeated
//		header  <name> <value>    # may be repeated
//		ca      <pem file>
//		events  <type>...
//		batch   <count> [<size>]
//		timeout <duration>
//		pending <count> [<size>]
//		max_age <duration>
//	}
func (w *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // webhook
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("webhook: expected one URL such as https://app.internal/hooks")
	}
	w.URL = args[0]
	if !strings.Contains(w.URL, "{") {
		if _, err := parseWebhookURL(w.URL); err != nil {
			return d.Errf("webhook: %v", err)
		}
	}
	options := w.AnnouncerOptions.options()
	options["secret"] = subdirective{repeated: true, parse: func(d *caddyfile.Dispenser) error {
		secrets := d.RemainingArgs()
		if len(secrets) == 0 || slices.Contains(secrets, "") {
			return d.Err("secret: expected secrets, such as {env.HOOK_SECRET}")
		}
		for _, secret := range secrets {
			if _, err := webhookKey(secret); err != nil && !strings.Contains(secret, "{") {
				return d.Errf("secret: %v", err)
			}
		}
		w.Secrets = append(w.Secrets, secrets...)
		return noBlock(d, "secret")
	}}
	options["header"] = subdirective{repeated: true, parse: func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Err("header: expected <name> <value>")
		}
		if w.Headers == nil {
			w.Headers = make(http.Header)
		}
		w.Headers.Add(args[0], args[1])
		if err := checkWebhookHeader(args[0], args[1]); err != nil {
			return d.WrapErr(err)
		}
		return noBlock(d, "header")
	}}
	options["ca"] = subdirective{parse: stringArg(&w.CA, "a PEM file")}
	return options.parse(d, "webhook")
}

func parseWebhookURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil: // which has the URL in it
		return nil, errors.New("url: expected one such as https://app.internal/hooks")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Fragment != "":
		return nil, errors.New("url: expected http or https, a host and no fragment, such as https://app.internal/hooks")
	}
	return u, nil
}

// webhookID is the URL without user, password and the values of its query. What
// they were is told apart by a hash.
func webhookID(u *url.URL) string {
	if u.User == nil && u.RawQuery == "" {
		return u.String()
	}
	shown := *u
	if u.User != nil {
		shown.User = url.User("xxxxx")
	}
	if u.RawQuery != "" {
		var names []string
		for part := range strings.SplitSeq(u.RawQuery, "&") {
			name, _, hasValue := strings.Cut(part, "=")
			if !hasValue {
				name = "" // it may be the secret itself
			}
			names = append(names, name+"=xxxxx")
		}
		shown.RawQuery = strings.Join(names, "&")
	}
	sum := sha256.Sum256([]byte(u.String()))
	return shown.String() + "#" + hex.EncodeToString(sum[:6])
}

const (
	secretPrefix = "whsec_"
	minSecret    = 16
)

// webhookKey is the key that a secret stands for. Its errors do not tell it.
func webhookKey(secret string) ([]byte, error) {
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, fmt.Errorf("what follows %s is not base64", secretPrefix)
		}
	}
	if len(key) < minSecret {
		return nil, fmt.Errorf("expected %d bytes at least, it has %d", minSecret, len(key))
	}
	return key, nil
}

// reservedHeaders are the webhook's own, or those of the connection.
var reservedHeaders = []string{
	"Connection", "Content-Length", "Content-Type", "Expect", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
	"Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
}

func checkWebhookHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("header: %.64q is no name of a header field", name)
	case slices.Contains(reservedHeaders, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("header: %s cannot be set", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("header: the value of %s has characters that a header field cannot have", name)
	}
	return nil
}

// webhookHeader evaluates the configured header fields.
func webhookHeader(configured http.Header, repl *caddy.Replacer) (http.Header, error) {
	header := make(http.Header)
	for name, values := range configured {
		for _, value := range values {
			value, err := repl.ReplaceOrErr(value, true, true)
			if err != nil {
				return nil, fmt.Errorf("header %s: %w", name, err)
			}
			if err := checkWebhookHeader(name, value); err != nil {
				return nil, err
			}
			header.Add(name, value)
		}
	}
	return header, nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
