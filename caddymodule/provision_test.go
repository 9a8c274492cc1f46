package caddymodule

import (
	"strings"
	"testing"
)

// What the adapter cannot see is found when the configuration is provisioned.
func TestProvisionErrors(t *testing.T) {
	for _, test := range []struct {
		name, config string
		want         []string // in the error
	}{
		{"undefined broker", site("broker chat"), []string{`broker "chat" is not defined`, "stomp { broker chat }"}},
		{
			"another broker than the defined",
			"{\n\tstomp {\n\t\tbroker other\n\t}\n}\n" + site("broker chat"),
			[]string{`broker "chat" is not defined`},
		},
		{
			"two endpoints of one name",
			"a.example.com {\n\tstomp /ws {\n\t\tname chat\n\t}\n}\n" +
				"b.example.com {\n\tstomp /ws {\n\t\tname chat\n\t\tdrain 1s\n\t}\n}\n",
			[]string{`two different endpoints are named "chat"`, "broker <name>"},
		},
		{
			"two endpoints of one name with different policies",
			"a.example.com {\n\tstomp /ws {\n\t\tname chat\n\t}\n}\n" +
				"b.example.com {\n\tstomp /ws {\n\t\tname chat\n\t\theart_beat 5s 5s\n\t}\n}\n",
			[]string{`two different endpoints are named "chat"`},
		},
		{
			"private broker with the name of a shared one",
			"{\n\tstomp {\n\t\tbroker chat\n\t}\n}\n" + site("name chat"),
			[]string{`endpoint "chat" has a broker of its own`, "`broker chat`"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapted, err := adapt(test.config)
			if err != nil {
				t.Fatal(err)
			}
			err = validateErr(t, adapted)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not contain %q: %v", want, err)
				}
			}
		})
	}
}

// Configurations in JSON do not pass the checks of the Caddyfile.
func TestProvisionErrorsOfJSON(t *testing.T) {
	handler := func(options string) string {
		return `{"apps": {"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "stomp"` +
			options + `}]}]}}}}}`
	}
	for _, test := range []struct{ name, config, want string }{
		{"path", handler(`, "path": "ws"`), `path "ws" must begin with /`},
		{"wildcard", handler(`, "path": "/ws/*"`), "no * is needed"},
		{"origin", handler(`, "origins": ["example.com"]`), `origin "example.com"`},
		{"origins", handler(`, "origins": ["*", "https://example.com"]`), "stands alone"},
		{"negative limit", handler(`, "limits": {"pending": -1}`), "pending must not be negative"},
		{"small pending", handler(`, "limits": {"pending": 100000}`), "pending (100000) must be at least twice frame_size (65536)"},
		{"large frames", handler(`, "limits": {"pending": 1048576, "frame_size": 1000000}`), "must be at least twice frame_size (1000000)"},
		{"negative sessions", handler(`, "sessions": -1`), "sessions must not be negative"},
		{"broker and sessions", handler(`, "broker": "chat", "sessions": 1`), "sessions and drain are configured there"},
		{"negative duration", handler(`, "limits": {"connect_timeout": "-1s"}`), "connect_timeout must not be negative"},
		{"ping timeout", handler(`, "ping_timeout": "1s"`), "ping_timeout 1s is too short"},
		{"heart-beat", handler(`, "heart_beat": {"send": "1ms", "receive": 0}`), "heart_beat"},
		{"attribute", handler(`, "attributes": [{"name": "", "value": "x"}]`), "attribute"},
		{"presence", handler(`, "presence": {"register": "/a", "announce": "/a/"}`), "must not be the same destination"},
		{"negative drain", handler(`, "drain": "-1s"`), "drain must not be negative"},
		{"unknown field", handler(`, "paths": "/ws"`), "paths"},
		{"broker and drain", handler(`, "broker": "chat", "drain": "1s"`), "drain are configured there"},
		{
			"presence of a shared broker",
			`{"apps": {"stomp": {"brokers": {"chat": {"presence": {"register": "/topic/presence"}}}}}}`,
			"broker chat: presence: register and announce must not be the same destination",
		},
		{
			"negative drain of a shared broker",
			`{"apps": {"stomp": {"brokers": {"chat": {"drain": "-1s"}}}}}`, "drain must not be negative",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := validateErr(t, test.config)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error does not contain %q: %v", test.want, err)
			}
		})
	}
}

// A broker without options is null in JSON that was written by hand.
func TestProvisionNullBroker(t *testing.T) {
	err := validateErr(t, `{"apps": {
		"stomp": {"brokers": {"chat": null}},
		"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "stomp", "broker": "chat"}]}]}}}
	}}`)
	if err != nil && !strings.Contains(err.Error(), "null") {
		t.Errorf("a broker that is null is taken for one that is not there: %v", err)
	}
}
