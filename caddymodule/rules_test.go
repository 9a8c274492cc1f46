package caddymodule

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// dialUnconnected is a client that has not sent CONNECT.
func dialUnconnected(t *testing.T, url string, header http.Header) *client {
	t.Helper()
	c := &client{t: t, ws: dialRaw(t, url, header), frames: make(chan message, 1000), ended: make(chan struct{})}
	go c.read()
	return c
}

func withRules(rules string) string {
	return `{
	$GLOBAL
}

http://localhost:$PORT {
	stomp /ws {
		name chat
		user {http.request.header.X-User}
		` + rules + `
	}
}
`
}

// A reload that tightens permissions ends the sessions that have what they may
// no longer have, and no others; one that fails ends none.
func TestReloadTightensPermissions(t *testing.T) {
	s := run(t, withRules(""))
	as := func(user string) http.Header { return http.Header{"X-User": {user}} }
	private, wild := dialWith(t, s.ws("/ws"), as("tom")), dialWith(t, s.ws("/ws"), as("tom"))
	mina, public := dialWith(t, s.ws("/ws"), as("mina")), dialWith(t, s.ws("/ws"), as("tom"))
	private.subscribe("/topic/private/a")
	wild.subscribe("/topic/*/a")
	mina.subscribe("/topic/private/a")
	public.subscribe("/topic/public/a")

	const tight = `allow subscribe /topic/private/** user mina
		deny subscribe /topic/private/**`
	if err := s.tryLoad(withRules(tight) + "http://localhost:$PORT2 {\n\tstomp /ws {\n\t\tbroker nowhere\n\t}\n}\n"); err == nil {
		t.Fatal("a configuration that is wrong was loaded")
	}
	private.alive()
	s.load(withRules(tight + "\n\t\tallow subscribe /topic/public/**"))
	for _, c := range []*client{private, wild} {
		if e := c.expect("ERROR"); e.header["message"] == "" {
			t.Errorf("%v", e)
		}
		c.expectClose(1008)
	}
	mina.alive()
	public.alive()
	s.load(withRules("deny connect user mina"))
	mina.expect("ERROR")
	mina.expectClose(1008)
	public.alive()
}

// Rate limits name themselves, and count by what they say.
func TestRateLimit(t *testing.T) {
	for per, shared := range map[string]bool{perSession: false, perUser: true, perAddress: true} {
		t.Run(per, func(t *testing.T) {
			s := run(t, withRules("intercept rate_limit 5 1h "+per))
			header := http.Header{"X-User": {"mina"}}
			c, other := dialWith(t, s.ws("/ws"), header), dialWith(t, s.ws("/ws"), header)
			for range 5 {
				c.request("SEND", "", "destination:/topic/a")
			}
			c.send("SEND", "", "destination:/topic/a")
			if e, want := c.expect("ERROR"), "limit exceeded: rate_limit 5 in 1h0m0s per "+per; e.header["message"] != want {
				t.Errorf("%v, want %q", e, want)
			}
			c.expectClose(1008)
			other.subscribe("/topic/a") // which does not count
			other.send("SEND", "", "destination:/topic/a", "receipt:1")
			if m := other.next(); (m.command == "ERROR") != shared {
				t.Errorf("another session: %v", m)
			}
		})
	}
}

func TestRateLimitRefills(t *testing.T) {
	l := &RateLimit{Count: 10, Window: caddy.Duration(time.Second), Burst: 20}
	if err := l.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	takes := func() (n int) {
		for l.take(bucketKey{perUser, "mina"}, now) {
			n++
		}
		return n
	}
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 20}, {0, 0}, {500 * time.Millisecond, 5}, {time.Hour, 20}} {
		now = now.Add(tt.after)
		if got := takes(); got != tt.want {
			t.Errorf("%d after %s, want %d", got, tt.after, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { l.take(bucketKey{perUser, "mina"}, now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// However many names there are, the memory is bounded, and those who are over
// their limit are the last to be forgotten.
func TestRateLimitIsBounded(t *testing.T) {
	l := &RateLimit{Count: 2, Window: caddy.Duration(time.Minute)}
	if err := l.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range maxBuckets - 1 {
		l.take(bucketKey{perUser, fmt.Sprint(i)}, now)
	}
	now = now.Add(2 * time.Minute) // all of them are full again
	for l.take(bucketKey{perUser, "eve"}, now) {
	}
	for i := range 1000 {
		l.take(bucketKey{perUser, fmt.Sprint("new", i)}, now)
	}
	if n := len(l.buckets); n > 1001 {
		t.Errorf("%d buckets are left", n)
	}
	if l.take(bucketKey{perUser, "eve"}, now) {
		t.Error("eve was forgotten")
	}
	for i := range 2 * maxBuckets {
		l.take(bucketKey{perUser, fmt.Sprint("more", i)}, now)
	}
	if n := len(l.buckets); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
}

func TestRequireHeader(t *testing.T) {
	s := run(t, withRules("intercept require_header CONNECT app-version 2 3\n\t\tintercept require_header SEND content-type"))
	for version, want := range map[string]string{
		"":  `CONNECT: the header "app-version" is required`,
		"1": `CONNECT: the header "app-version" must not be "1"`,
	} {
		c := dialUnconnected(t, s.ws("/ws"), nil)
		c.send("STOMP", "", "accept-version:1.2", "host:x", "app-version:"+version)
		if e := c.expect("ERROR"); e.header["message"] != want {
			t.Errorf("%v, want %q", e, want)
		}
	}
	c := dial(t, s.ws("/ws"), "app-version:3")
	c.request("SEND", "x", "destination:/topic/a", "content-type:text/plain")
	c.send("SEND", "x", "destination:/topic/a")
	if e := c.expect("ERROR"); e.header["message"] != `SEND: the header "content-type" is required` {
		t.Errorf("%v", e)
	}
}

// What JSON may say and the Caddyfile may not.
func TestWrongRulesInJSON(t *testing.T) {
	for name, rule := range map[string]PermissionRule{
		"neither":        {Destinations: []string{"/topic/a"}},
		"both":           {Allow: "send", Deny: "send", Destinations: []string{"/topic/a"}},
		"an empty name":  {Allow: "connect", Users: []string{""}},
		"an empty value": {Allow: "connect", Attribute: "team"},
	} {
		if _, err := permissionsOf([]PermissionRule{rule}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if p, err := permissionsOf(nil); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
}
