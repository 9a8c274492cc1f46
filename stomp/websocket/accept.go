package websocket

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Subprotocols are the WebSocket subprotocols of STOMP, best first. A client
// need not ask for one.
func Subprotocols() []string { return []string{"v12.stomp", "v11.stomp", "v10.stomp"} }

// Config configures [Accept].
type Config struct {
	// Origins decides which pages may connect. Default: those of the same
	// origin.
	Origins *Origins
	// Subprotocols that are agreed to when asked for, best first. Default:
	// none.
	Subprotocols []string
	// WriteTimeout bounds one write to a peer that does not read. Default: 10s.
	WriteTimeout time.Duration
	// MaxMessage is the largest WebSocket message in bytes, inflated: a
	// backstop above the limits of what is in it. Default: 16 MiB.
	MaxMessage int64
	// Compression agrees to permessage-deflate (RFC 7692), without context
	// takeover. It costs CPU time for every message of every connection.
	// Default: off.
	Compression bool
}

// writeBuffers are shared by all connections: only one that is writing has one.
var writeBuffers = &sync.Pool{}

// Accept upgrades a request to a WebSocket connection and hands it to open,
// which returns its receiver. It returns when the response was sent; the
// connection goes on. On error the response has been sent as well, with a text
// that says what was wrong.
//
// HTTP/1.1 only; extended CONNECT (RFC 8441, RFC 9220) is answered with 501.
func Accept(w http.ResponseWriter, r *http.Request, c Config, open func(stomp.Transport) (stomp.Receiver, error)) error {
	if status, err := refuse(r, c.Origins); err != nil {
		if status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
		}
		http.Error(w, err.Error(), status)
		return err
	}
	if _, err := hijacker(w); err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return err
	}
	late := &lateHijacker{ResponseWriter: w}
	upgrader := websocket.Upgrader{
		WriteBufferSize: writeBufferSize,
		WriteBufferPool: writeBuffers,
		Subprotocols:    c.Subprotocols,

		EnableCompression: c.Compression,
		CheckOrigin:       func(*http.Request) bool { return true }, // refuse has
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			w.Header().Set("Sec-WebSocket-Version", "13") // RFC 6455 section 4.2.2
			http.Error(w, reason.Error(), status)
		},
	}
	ws, err := upgrader.Upgrade(late, r, nil)
	if err != nil {
		return fmt.Errorf("upgrading to websocket: %w", err)
	}
	conn, transport := newConn(ws, late.conn, c)
	receiver, err := open(transport)
	if err != nil {
		code := websocket.CloseServiceRestart
		if refused, ok := errors.AsType[*stomp.Error](err); ok && refused.Code != 0 {
			code = refused.Code
		}
		conn.Close(code, err.Error())
		conn.Abort()
		return fmt.Errorf("opening session: %w", err)
	}
	conn.start(receiver)
	return nil
}

// refuse says what is wrong with a request before gorilla looks at it.
func refuse(r *http.Request, origins *Origins) (status int, err error) {
	switch {
	case r.Method == http.MethodConnect || r.ProtoMajor > 1 && r.Header.Get(":protocol") != "":
		return http.StatusNotImplemented, errors.New("WebSocket over HTTP/2 and HTTP/3 (extended CONNECT) is not implemented; use HTTP/1.1")
	case !IsUpgrade(r):
		return http.StatusUpgradeRequired, errors.New("this is a WebSocket endpoint: the request is not a WebSocket handshake")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return http.StatusBadRequest, errors.New("a WebSocket handshake has no body")
	case !origins.Allow(r):
		return http.StatusForbidden, fmt.Errorf("origin %q is not allowed", r.Header.Get("Origin"))
	}
	return 0, nil
}

// IsUpgrade says whether a request asks for a WebSocket (RFC 6455 section
// 4.2.1).
func IsUpgrade(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
