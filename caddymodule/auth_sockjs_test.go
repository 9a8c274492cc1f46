package caddymodule

import (
	"testing"
	"time"
)

// Over the HTTP transports a session ends with its token too, unless another one
// came in time; and it ends sooner if the other one does.
func TestJWTExpiresAndRefreshOverHTTP(t *testing.T) {
	s := run(t, withSockJS("authenticate jwt {\n key HS256 "+testSecret+"\n leeway 0s\n}\nfailed_attempts off", ""))
	until := func(at time.Time) string { return hs(t, "mina", map[string]any{"exp": at.Unix()}) }
	later := until(time.Now().Add(time.Hour))
	watcher := dial(t, s.ws("/ws"), "passcode:"+hs(t, "watcher", nil))
	watcher.subscribe("/topic/presence")

	type pair struct{ stays, ends, shortened *pollingClient }
	var pairs []pair
	for _, transport := range httpTransports {
		// the one that ends tells when the time of the other's first token is over
		soon := until(time.Now().Add(10 * time.Second))
		p := pair{stays: dialHTTP(t, s, "/ws", transport, "passcode:"+soon)}
		p.stays.request("SEND", later, "destination:/app/refresh")
		p.ends = dialHTTP(t, s, "/ws", transport, "passcode:"+soon)
		p.shortened = dialHTTP(t, s, "/ws", transport, "passcode:"+later)
		p.shortened.send("SEND", until(time.Now().Add(2*time.Second)), "destination:/app/refresh")
		pairs = append(pairs, p)
	}
	const end = `c[1008,"credentials expired"]`
	for _, p := range pairs {
		for _, c := range []*pollingClient{p.shortened, p.ends} {
			if e := c.expect("ERROR"); e.header["message"] != "credentials expired" {
				t.Errorf("%s: %v", c.transport, e)
			}
			c.expectEnd(end)
		}
		p.stays.request("SEND", "still here", "destination:/topic/alive")
	}
	left := make(map[string]change)
	for len(left) < 2*len(pairs) {
		if change, _ := watcher.nextChange(); change.Type == "left" {
			left[change.SessionID] = change
		}
	}
	for _, p := range pairs {
		for _, c := range []*pollingClient{p.shortened, p.ends} {
			if l := left[c.session]; l.Reason != "policy" || l.Clean {
				t.Errorf("%s: left is %+v", c.transport, l)
			}
		}
		p.stays.send("SEND", hs(t, "omar", nil), "destination:/app/refresh")
		if e := p.stays.expect("ERROR"); e.header["message"] != "credentials are those of another user" {
			t.Errorf("%s: %v", p.stays.transport, e)
		}
	}
}
