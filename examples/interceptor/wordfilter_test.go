package wordfilter

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

func adapt(t *testing.T, config string) ([]byte, error) {
	t.Helper()
	if formatted := string(caddyfile.Format([]byte(config))); formatted != config {
		t.Errorf("caddy fmt would change it to:\n%s", formatted)
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	return adapted, err
}

// The module is found by its name, and the configuration is valid.
func TestCaddyfile(t *testing.T) {
	adapted, err := adapt(t, "http://localhost:0 {\n\tstomp /ws {\n\t\tintercept word_filter darn heck\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(adapted), `{"module":"word_filter","words":["darn","heck"]}`) {
		t.Errorf("adapted to %s", adapted)
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	config.StorageRaw = json.RawMessage(`{"module":"file_system","root":"` + t.TempDir() + `"}`)
	if err := caddy.Validate(&config); err != nil {
		t.Error(err)
	}
	if _, err := adapt(t, "http://localhost:0 {\n\tstomp /ws {\n\t\tintercept word_filter\n\t}\n}\n"); err == nil {
		t.Error("no words are taken")
	}
}

// It is tested without a network, by the client of stomptest.
func TestWordFilter(t *testing.T) {
	b := stomp.NewBroker(stomp.Config{Name: "test"})
	e := b.Endpoint("/ws", stomp.Policy{Interceptors: []stomp.Interceptor{&WordFilter{Words: []string{"darn", "heck"}, Most: 2}}})
	c, _ := stomptest.Dial(t, e, nil)
	c.Connect()
	c.Subscribe("1", "/topic/chat")
	for sent, want := range map[string]string{"darn it": "**** it", "what the heck, darn": "what the ****, ****", "hello": "hello"} {
		c.Publish("/topic/chat", sent)
		if f := c.Expect("MESSAGE"); string(f.Body) != want {
			t.Errorf("%q became %q, want %q", sent, f.Body, want)
		}
	}
	c.Publish("/app/words", "", "answer-to:1")
	if f := c.Expect("MESSAGE", "subscription:1"); string(f.Body) != "darn\nheck" {
		t.Errorf("answered %q", f.Body)
	}
	c.Publish("/topic/chat", "darn darn darn")
	c.ExpectError("not welcome")
}
