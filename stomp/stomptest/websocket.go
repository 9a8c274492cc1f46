package stomptest

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// WebSocket is a raw WebSocket as a [Conn].
type WebSocket struct {
	// Conn is gorilla's.
	*websocket.Conn
	// Binary makes Write send binary messages instead of text.
	Binary bool

	pings atomic.Int64
}

// DialWebSocket connects to a ws:// or wss:// URL.
func DialWebSocket(t testing.TB, url string, header http.Header, subprotocols ...string) (*Client, *WebSocket) {
	t.Helper()
	w, err := openWebSocket(url, header, subprotocols...)
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(t, w), w
}

func openWebSocket(url string, header http.Header, subprotocols ...string) (*WebSocket, error) {
	d := websocket.Dialer{HandshakeTimeout: 10 * time.Second, Subprotocols: subprotocols}
	conn, resp, err := d.Dial(url, header)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	w := &WebSocket{Conn: conn}
	pong := conn.PingHandler()
	conn.SetPingHandler(func(data string) error {
		w.pings.Add(1)
		return pong(data)
	})
	return w, nil
}

// Write implements [Conn].
func (w *WebSocket) Write(p []byte) error {
	kind := websocket.TextMessage
	if w.Binary {
		kind = websocket.BinaryMessage
	}
	return w.WriteMessage(kind, p)
}

// Read implements [Conn].
func (w *WebSocket) Read() ([]byte, error) {
	_, p, err := w.ReadMessage()
	if err == nil {
		return p, nil
	}
	defer w.Abort()
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return nil, &Closing{Code: closed.Code, Text: closed.Text}
	}
	return nil, &Closing{Code: websocket.CloseAbnormalClosure, Err: err}
}

// Close implements [Conn].
func (w *WebSocket) Close(code int) error {
	return w.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
}

// Abort implements [Conn].
func (w *WebSocket) Abort() { _ = w.Conn.Close() }

// Pings implements [Conn].
func (w *WebSocket) Pings() int { return int(w.pings.Load()) }

// DialURL connects to a ws:// or wss:// URL as it is, or, with "sockjs+" in
// front of it, to the SockJS endpoint there.
func DialURL(t testing.TB, url string) *Client {
	t.Helper()
	if prefix, ok := strings.CutPrefix(url, "sockjs+"); ok {
		c, _ := DialSockJS(t, prefix, nil)
		return c
	}
	c, _ := DialWebSocket(t, url, nil, "v12.stomp", "v11.stomp", "v10.stomp")
	return c
}
