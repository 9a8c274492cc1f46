package stomptest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
)

// SockJS is the websocket transport of a SockJS client as a [Conn].
type SockJS struct {
	*WebSocket
	// Server and Session are the segments of the URL.
	Server, Session string

	messages []string // of the last array
}

// DialSockJS connects to the SockJS endpoint at a ws:// or wss:// URL, and
// waits for the open frame.
func DialSockJS(t testing.TB, url string, header http.Header) (*Client, *SockJS) {
	t.Helper()
	s := &SockJS{Server: "039", Session: rand.Text()}
	var err error
	if s.WebSocket, err = openWebSocket(fmt.Sprintf("%s/%s/%s/websocket", url, s.Server, s.Session), header); err != nil {
		t.Fatal(err)
	}
	if _, p, err := s.ReadMessage(); err != nil || string(p) != "o" {
		t.Fatalf("expected the open frame, got %q, %v", p, err)
	}
	c := NewClient(t, s)
	c.chosen = s.Session
	return c, s
}

// Write implements [Conn].
func (s *SockJS) Write(p []byte) error {
	array, err := json.Marshal([]string{string(p)})
	if err != nil {
		return err
	}
	return s.WebSocket.Write(array)
}

// Read implements [Conn].
func (s *SockJS) Read() ([]byte, error) {
	for len(s.messages) == 0 {
		p, err := s.WebSocket.Read()
		if err != nil {
			return nil, err
		}
		switch {
		case len(p) == 0:
			return nil, fmt.Errorf("empty SockJS frame")
		case p[0] == 'c':
			return nil, s.closing(p[1:])
		case p[0] == 'a':
			if err := json.Unmarshal(p[1:], &s.messages); err != nil {
				return nil, fmt.Errorf("array frame %.60q: %w", p, err)
			}
		case string(p) != "h":
			return nil, fmt.Errorf("unknown SockJS frame %.60q", p)
		}
	}
	p := s.messages[0]
	s.messages = s.messages[1:]
	return []byte(p), nil
}

// closing reads a close frame, and the WebSocket close with 1000 that must
// follow.
func (s *SockJS) closing(p []byte) *Closing {
	var code int
	var text string
	if err := json.Unmarshal(p, &[]any{&code, &text}); err != nil {
		return &Closing{Code: 1006, Err: fmt.Errorf("close frame %.60q: %w", p, err)}
	}
	_, err := s.WebSocket.Read()
	if closing, ok := errors.AsType[*Closing](err); !ok || closing.Code != 1000 {
		return &Closing{Code: 1006, Err: fmt.Errorf("expected close code 1000 after the close frame %q: %w", p, err)}
	}
	return &Closing{Code: code, Text: text}
}
