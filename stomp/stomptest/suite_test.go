package stomptest_test

import (
	"cmp"
	"os"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

func TestInMemory(t *testing.T) {
	stomptest.CheckLeaks(t)
	observer := stomptest.NewObserver()
	b := stomp.NewBroker(stomp.Config{Observer: observer})
	p := stomp.DefaultPolicy()
	p.HeartBeatSend = 200 * time.Millisecond
	e := b.Endpoint("/", p)
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c, _ := stomptest.Dial(t, e, &stomp.Handshake{User: "mina", Transport: "pipe"})
		return c
	})
	b.Drain(t.Context(), 1001, "")
	observer.ExpectOnce(t, int(b.Stats().Connects))
	if n := b.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// TestURL runs the suite against any server, which has STOMPTEST_PATIENCE, by
// default 10s, to answer:
//
//	STOMPTEST_URL=ws://localhost:8080/ws go test -run URL ./stomp/stomptest
//	STOMPTEST_URL=sockjs+ws://localhost:8080/connection go test -run URL ./stomp/stomptest
func TestURL(t *testing.T) {
	url := os.Getenv("STOMPTEST_URL")
	if url == "" {
		t.Skip("no STOMPTEST_URL")
	}
	patience, err := time.ParseDuration(cmp.Or(os.Getenv("STOMPTEST_PATIENCE"), "10s"))
	if err != nil {
		t.Fatal(err)
	}
	stomptest.Run(t, func(t *testing.T) *stomptest.Client {
		c := stomptest.DialURL(t, url)
		c.Patience = patience
		return c
	})
}
