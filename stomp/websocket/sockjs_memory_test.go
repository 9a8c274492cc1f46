package websocket_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// Attack: half a SockJS message. Before CONNECT, and so before anybody is
// asked who he is, connections begin a JSON string and never end it. What is
// held for each stays in proportion to frame_size, not to the largest message
// that a WebSocket may carry.
func TestHalfSockJSMessagesHoldLittle(t *testing.T) {
	const connections, sent = 8, 8 * mebibyte
	_, url := serve(t, stomp.DefaultPolicy(), websocket.Config{})
	before := held()
	answered := make(chan struct{}, connections)
	for range connections {
		_, sock := stomptest.DialSockJS(t, url+"/sockjs", nil)
		sock.SetPongHandler(func(string) error { // behind what was sent
			answered <- struct{}{}
			return nil
		})
		sock.SetCloseHandler(func(int, string) error { // or refused
			answered <- struct{}{}
			return nil
		})
		out, err := sock.NextWriter(gorilla.TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		chunk := []byte(strings.Repeat("x", mebibyte))
		_, err = out.Write([]byte(`["`))
		for n := 0; n < sent && err == nil; n += len(chunk) {
			_, err = out.Write(chunk)
		}
		if err == nil {
			_ = sock.WriteControl(gorilla.PingMessage, nil, time.Now().Add(30*time.Second))
		}
	}
	for range connections {
		select {
		case <-answered:
		case <-time.After(30 * time.Second):
			t.Fatal("neither answered nor refused")
		}
	}
	if more := int64(held()) - int64(before); more > connections*mebibyte {
		t.Errorf("%d MiB are held for %d connections, with a frame_size of 64 KiB", more>>20, connections)
	}
}

func held() uint64 {
	runtime.GC()
	return inUse()
}
