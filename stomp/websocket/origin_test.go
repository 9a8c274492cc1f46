package websocket

import (
	"net/http"
	"testing"
)

func TestOrigins(t *testing.T) {
	for _, tt := range []struct {
		origin, host string // of the request
		patterns     []string
		want         bool
	}{
		// same origin
		{"http://example.com", "example.com", nil, true},
		{"https://example.com", "example.com", nil, true}, // TLS may end in front of us
		{"http://example.com:8080", "example.com:8080", nil, true},
		{"http://EXAMPLE.com", "example.COM", nil, true},
		{"http://example.com", "example.com:80", nil, true},
		{"https://example.com", "example.com:443", nil, true},
		{"http://[::1]:8080", "[::1]:8080", nil, true},
		{"http://[::1]", "[::1]:80", nil, true},
		{"http://example.com", "example.com:443", nil, false},
		{"https://example.com", "example.com:80", nil, false},
		{"http://example.com:8080", "example.com", nil, false},
		{"http://example.com", "example.com:8080", nil, false},
		{"http://evil.example", "example.com", nil, false},
		{"http://www.example.com", "example.com", nil, false},
		{"http://example.com.evil.example", "example.com", nil, false},
		{"http://example.com@evil.example", "example.com", nil, false},
		{"http://evil.example#example.com", "example.com", nil, false},
		// no page's origin
		{"", "example.com", nil, false},
		{"null", "example.com", nil, false},
		{"example.com", "example.com", nil, false},
		{"file://", "example.com", nil, false},
		{"http://%zz", "example.com", nil, false},
		// named
		{"https://friend.example", "example.com", []string{"https://friend.example"}, true},
		{"HTTPS://Friend.Example", "example.com", []string{"https://FRIEND.example"}, true},
		{"https://friend.example:443", "example.com", []string{"https://friend.example"}, true},
		{"https://friend.example", "example.com", []string{"https://friend.example:443"}, true},
		{"http://friend.example", "example.com", []string{"https://friend.example"}, false},
		{"https://friend.example:8443", "example.com", []string{"https://friend.example"}, false},
		{"https://www.friend.example", "example.com", []string{"https://friend.example"}, false},
		{"https://notfriend.example", "example.com", []string{"https://friend.example"}, false},
		{"http://localhost:3000", "example.com", []string{"https://a.example", "http://localhost:3000"}, true},
		{"capacitor://localhost", "example.com", []string{"capacitor://localhost"}, true},
		{"http://example.com", "example.com", []string{"https://friend.example"}, true}, // the same origin always
		// subdomains
		{"https://a.friend.example", "example.com", []string{"https://*.friend.example"}, true},
		{"https://a.b.friend.example", "example.com", []string{"https://*.friend.example"}, true},
		{"https://friend.example", "example.com", []string{"https://*.friend.example"}, false},
		{"https://.friend.example", "example.com", []string{"https://friend.example"}, false},
		{"https://notfriend.example", "example.com", []string{"https://*.friend.example"}, false},
		{"https://a.friend.example.evil", "example.com", []string{"https://*.friend.example"}, false},
		{"http://a.friend.example", "example.com", []string{"https://*.friend.example"}, false},
		{"https://a.friend.example:8443", "example.com", []string{"https://*.friend.example:8443"}, true},
		// any
		{"https://evil.example", "example.com", []string{"*"}, true},
		{"null", "example.com", []string{"*"}, true},
	} {
		var o *Origins
		if tt.patterns != nil {
			var err error
			if o, err = ParseOrigins(tt.patterns...); err != nil {
				t.Fatal(err)
			}
		}
		r := &http.Request{Host: tt.host, Header: http.Header{"Origin": {tt.origin}}}
		if got := o.Allow(r); got != tt.want {
			t.Errorf("origin %q at host %q with %q: %v", tt.origin, tt.host, tt.patterns, got)
		}
	}
	var none *Origins
	if !none.Allow(&http.Request{Host: "example.com"}) {
		t.Error("a request without an Origin is refused")
	}
	if none.Any() {
		t.Error("nil allows any origin")
	}
}

func TestParseOriginsRefuses(t *testing.T) {
	for _, patterns := range [][]string{
		{""},
		{"example.com"},
		{"https://"},
		{"https://example.com/"},
		{"https://example.com/path"},
		{"https://example.com?q"},
		{"https://example.com#f"},
		{"https://user@example.com"},
		{"https://*"},
		{"https://*."},
		{"https://*.*.example.com"},
		{"https://ex*mple.com"},
		{"*.example.com"},
		{"https://example.com:*"},
		{"http://localhost:port"},
		{"*", "https://example.com"},
		{"https://example.com", "*"},
	} {
		if _, err := ParseOrigins(patterns...); err == nil {
			t.Errorf("%q is accepted", patterns)
		}
	}
}
