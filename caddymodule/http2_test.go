package caddymodule

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// HTTP/2 has no Upgrade (RFC 9113 section 8.6); its extended CONNECT (RFC
// 8441) is refused with a text that says so. Go's HTTP/2 server lets it
// through only if it is told to when the process starts.
func TestHTTP2(t *testing.T) {
	const on = "http2xconnect=1"
	if !strings.Contains(os.Getenv("GODEBUG"), on) {
		child := exec.Command(os.Args[0], "-test.run=^TestHTTP2$", "-test.v")
		child.Env = append(os.Environ(), "GODEBUG="+on)
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Fatalf("with GODEBUG=%s: %v\n%s", on, err, out)
		}
		return
	}
	s := run(t, `{
	$GLOBAL
}

https://localhost:$PORT {
	tls $TLS
	stomp /ws {
		name chat
	}
}
`)
	var nc *tls.Conn
	eventually(t, "the certificate", func() bool {
		var err error
		nc, err = tls.Dial("tcp", "127.0.0.1:"+s.port, &tls.Config{
			ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"h2"},
		})
		return err == nil
	})
	defer nc.Close()
	head, body := extendedConnect(t, nc, "localhost:"+s.port, "/ws")
	if !bytes.HasPrefix(head, status501) || !strings.Contains(body, "use HTTP/1.1") {
		t.Errorf("extended CONNECT: % x %q, want 501", head, body)
	}

	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	resp, err := client.Get("https://localhost:" + s.port + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUpgradeRequired || !strings.Contains(string(text), "WebSocket") {
		t.Errorf("GET: %s %s %q", resp.Proto, resp.Status, text)
	}
}

// status501 is ":status: 501" in HPACK (RFC 7541): name 14 of the static table,
// three digits in two bytes of Huffman code.
var status501 = []byte{0x4e, 0x82, 0x6c, 0x01}

const (
	frameData, frameHeaders, frameSettings = 0, 1, 4
	flagEndStream, flagEndHeaders          = 1, 4
)

// extendedConnect sends a WebSocket handshake as RFC 8441 has it, which
// net/http's client cannot, and returns the response's head, in HPACK, and its
// body.
func extendedConnect(t *testing.T, nc io.ReadWriter, authority, path string) (head []byte, body string) {
	t.Helper()
	var block []byte
	for _, field := range [][2]string{
		{":method", "CONNECT"},
		{":protocol", "websocket"},
		{":scheme", "https"},
		{":authority", authority},
		{":path", path},
		{"sec-websocket-version", "13"},
		{"sec-websocket-protocol", "v12.stomp"},
	} {
		// a literal that is not indexed, RFC 7541 section 6.2.2
		block = append(append(block, 0, byte(len(field[0]))), field[0]...)
		block = append(append(block, byte(len(field[1]))), field[1]...)
	}
	frame := func(kind, flags byte, stream uint32, payload []byte) []byte {
		f := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
		return append(binary.BigEndian.AppendUint32(append(f, flags), stream), payload...)
	}
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil)...)
	if _, err := nc.Write(append(out, frame(frameHeaders, flagEndHeaders, 1, block)...)); err != nil {
		t.Fatal(err)
	}
	if c, ok := nc.(*tls.Conn); ok {
		_ = c.SetReadDeadline(time.Now().Add(patience))
	}
	for {
		var header [9]byte
		if _, err := io.ReadFull(nc, header[:]); err != nil {
			t.Fatalf("after % x %q: %v", head, body, err)
		}
		payload := make([]byte, binary.BigEndian.Uint32(header[:])>>8)
		if _, err := io.ReadFull(nc, payload); err != nil {
			t.Fatal(err)
		}
		kind, flags, stream := header[3], header[4], binary.BigEndian.Uint32(header[5:])
		if stream != 1 {
			continue
		}
		switch kind {
		case frameHeaders:
			head = payload
		case frameData:
			body += string(payload)
		default:
			t.Fatalf("frame of type %d: % x", kind, payload)
		}
		if flags&flagEndStream != 0 {
			return head, body
		}
	}
}
