package caddymodule

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A secret is whsec_ and base64, as the libraries of Standard Webhooks have it, or
// the key as it is. One that is nearly the first is an error and not the second.
func TestWebhookKey(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb, 0xff}, 12) // in base64 it has + and /
	for _, tt := range []struct {
		secret string
		key    []byte // nil: refused
	}{
		{"whsec_" + base64.StdEncoding.EncodeToString(key), key},
		{"whsec_" + base64.StdEncoding.EncodeToString(key[:16]), key[:16]},
		{"whsec_" + base64.StdEncoding.EncodeToString(key[:15]), nil},
		{"whsec_" + base64.RawStdEncoding.EncodeToString(key[:16]), nil},
		{"whsec_" + base64.URLEncoding.EncodeToString(key), nil},
		{"whsec_" + base64.StdEncoding.EncodeToString(key) + "!", nil},
		{"whsec_", nil},
		{"", nil},
		{"15-bytes-of-key", nil},
		{"16-bytes-of-key.", []byte("16-bytes-of-key.")},
		{"WHSEC_" + base64.StdEncoding.EncodeToString(key), []byte("WHSEC_" + base64.StdEncoding.EncodeToString(key))},
	} {
		got, err := webhookKey(tt.secret)
		if !bytes.Equal(got, tt.key) || (err == nil) != (tt.key != nil) {
			t.Errorf("%q is %q (%v), want %q", tt.secret, got, err, tt.key)
		}
		if err != nil && len(tt.secret) > len("whsec_") && strings.Contains(err.Error(), strings.TrimPrefix(tt.secret, "whsec_")) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

// Placeholders stand for whatever there is to configure, once, when the
// configuration is loaded.
func TestWebhookPlaceholders(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("a-secret-in-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOOK_HOST": "app.internal", "HOOK_USER": "mina:s3cret", "HOOK_SECRET": hookSecret, "HOOK_TOKEN": "t0ken", "HOOK_CA": ca,
	} {
		t.Setenv(name, value)
	}
	w := &Webhook{
		URL:     "https://{env.HOOK_USER}@{env.HOOK_HOST}/hooks",
		Secrets: []string{"{env.HOOK_SECRET}", "{file." + filepath.Join(dir, "secret") + "}", "a-plain-secret-of-the-operator"},
		Headers: http.Header{"Authorization": {"Bearer {env.HOOK_TOKEN}"}, "x-from": {"{env.HOOK_HOST}", "another"}},
		CA:      "{env.HOOK_CA}",
	}
	if err := w.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	key, err := webhookKey(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]byte{key, []byte("a-secret-in-a-file"), []byte("a-plain-secret-of-the-operator")}; !reflect.DeepEqual(w.keys, want) {
		t.Errorf("keys %q, want %q", w.keys, want)
	}
	if want := (http.Header{"Authorization": {"Bearer t0ken"}, "X-From": {"app.internal", "another"}}); !reflect.DeepEqual(w.header, want) {
		t.Errorf("header %v, want %v", w.header, want)
	}
	if password, _ := w.url.User.Password(); w.url.Host != "app.internal" || w.url.User.Username() != "mina" || password != "s3cret" || w.ca != ca ||
		!strings.HasPrefix(w.ID(), "https://xxxxx@app.internal/hooks#") {
		t.Errorf("url %v, id %s, ca %s", w.url, w.ID(), w.ca)
	}
}

// All announcers of the process share the bound of calls at a time, and those of
// the same URL, also of the next configuration, what is known of the receiver.
func TestWebhooksShare(t *testing.T) {
	config := func(version string) string {
		webhooks := "webhook http://127.0.0.1:1/hooks {\n\t\t\t\theader X-Version " + version + "\n\t\t\t}\n\t\t\twebhook http://127.0.0.1:1/other"
		return "{\n\t$GLOBAL\n\tstomp {\n\t\tbroker one {\n\t\t\t" + webhooks + "\n\t\t}\n\t\tbroker two {\n\t\t\t" + webhooks + "\n\t\t}\n\t}\n}\n\n" +
			"http://localhost:$PORT {\n\tstomp /one {\n\t\tbroker one\n\t}\n\tstomp /two {\n\t\tbroker two\n\t}\n}\n"
	}
	s := run(t, config("1"))
	one := live(t, "one").claims[0].announcers
	s.load(config("2"))
	for _, name := range []string{"one", "two"} {
		again := live(t, name).claims[0].announcers
		if again[0].Announcer == one[0].Announcer {
			t.Error("the guest is that of the configuration before")
		}
		if again[0].Circuit != one[0].Circuit || again[1].Circuit != one[1].Circuit || again[0].Circuit == again[1].Circuit {
			t.Errorf("%s: the circuits are others", name)
		}
		for _, a := range again {
			if a.Slots != one[0].Slots || cap(a.Slots) < 1 || cap(a.Slots) > 1000 {
				t.Errorf("%s: %d calls at a time", name, cap(a.Slots))
			}
		}
	}
}
