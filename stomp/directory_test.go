package stomp

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestDirectoryClaims(t *testing.T) {
	var d directory
	d.init()
	a, b := new(Session), new(Session)
	if !d.claim("session-a", a, true) || d.claim("session-a", b, true) || d.get("session-a") != a {
		t.Fatal("an id belongs to whoever claimed it first")
	}
	d.release("session-a")
	if d.get("session-a") != nil {
		t.Error("a released id still leads to its session")
	}
	if d.claim("session-a", b, true) {
		t.Error("an id is used twice in a row")
	}
	// it is free again when many others have ended since
	for i := range 2 * directoryShards * recentPerShard {
		id := fmt.Sprint("session-", i)
		if !d.claim(id, b, true) {
			t.Fatalf("%s is taken", id)
		}
		d.release(id)
	}
	if !d.claim("session-a", b, true) {
		t.Error("an id is never free again")
	}
	if all := d.all(); len(all) != 1 || all[0] != b {
		t.Errorf("all: %v", all)
	}
}

// Whoever is between CONNECT's claim and its departure from those who are
// connecting is seen by Drain and Close too, so that nobody survives them.
func TestDirectoryEveryone(t *testing.T) {
	var d directory
	d.init()
	limits := DefaultPolicy().Limits
	for i := range 5000 {
		s := &Session{handshake: new(Handshake)}
		id := fmt.Sprint("session-", i)
		if err := d.arrive(s, &limits); err != nil {
			t.Fatal(err)
		}
		start := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			<-start
			d.claim(id, s, true)
			d.depart(s)
		})
		close(start)
		seen := slices.Contains(d.everyone(), s)
		wg.Wait()
		if !seen {
			t.Fatalf("a session that was there all the time was missed in round %d", i)
		}
		d.release(id)
	}
}

func TestValidSessionID(t *testing.T) {
	for _, tt := range []struct {
		id   string
		want bool
	}{
		{"", false},
		{"abcdefg", false},
		{"abcdefgh", true},
		{"AZaz09_-", true},
		{strings.Repeat("x", 64), true},
		{strings.Repeat("x", 65), false},
		{"abc.efgh", false},
		{"abc/efgh", false},
		{"abc efgh", false},
		{"abcdefg\n", false},
		{"abcdefg\x00", false},
		{"abcdefg\u00e9", false},
	} {
		if got := validSessionID(tt.id); got != tt.want {
			t.Errorf("%q: %v", tt.id, got)
		}
	}
}

func TestConnectingOff(t *testing.T) {
	e := newTestBroker(t).Endpoint("/", Policy{Limits: Limits{Connecting: -1, ConnectingPerAddress: -1}})
	for range 20_100 {
		s, err := e.NewSession(discard{}, &Handshake{Address: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Closed(Ending{Code: 1006})
	}
}
