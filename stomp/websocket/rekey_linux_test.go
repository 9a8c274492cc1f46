package websocket

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// rekeyer is the client's side of TLS 1.3 that asks for new keys, which Go's does
// not: what it encrypts itself goes past that.
type rekeyer struct {
	net.Conn
	taken  bool // it encrypts itself
	log    bytes.Buffer
	sent   uint64 // records under the keys of the application
	secret []byte
}

func (r *rekeyer) Write(p []byte) (int, error) {
	for q := p; !r.taken && len(q) >= 5; q = q[5+int(binary.BigEndian.Uint16(q[3:])):] {
		if q[0] == 23 {
			r.sent++
		}
	}
	return r.Conn.Write(p)
}

// take returns the state of the client's records, of which the first was Finished.
func (r *rekeyer) take(t testing.TB) {
	t.Helper()
	r.taken, r.sent = true, r.sent-1
	for line := range strings.Lines(r.log.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			r.secret, _ = hex.DecodeString(f[2])
		}
	}
	if len(r.secret) != sha256.Size {
		t.Skip("another cipher suite")
	}
}

func expand(t testing.TB, secret []byte, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	key, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// record is one that holds p.
func (r *rekeyer) record(t testing.TB, kind byte, p []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(expand(t, r.secret, "key", 16))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := expand(t, r.secret, "iv", 12)
	for i := range 8 {
		nonce[4+i] ^= byte(r.sent >> (56 - 8*i))
	}
	r.sent++
	plain := append(bytes.Clone(p), kind)
	n := len(plain) + aead.Overhead()
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	return aead.Seal(head, nonce, plain, head)
}

// rekey is a KeyUpdate that asks for one (RFC 8446 section 4.6.3).
func (r *rekeyer) rekey(t testing.TB) []byte {
	t.Helper()
	record := r.record(t, 22, []byte{24, 0, 0, 1, 1})
	r.secret, r.sent = expand(t, r.secret, "traffic upd", sha256.Size), 0
	return record
}

func dialRekeyer(t testing.TB, s *server) (*rekeyer, *websocket.Conn) {
	t.Helper()
	r := new(rekeyer)
	d := websocket.Dialer{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &r.log}, //nolint:gosec // of this process
		NetDial: func(network, addr string) (c net.Conn, err error) {
			r.Conn, err = net.Dial(network, addr)
			return r, err
		},
	}
	ws, resp, err := d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	r.take(t)
	return r, ws
}

// New keys may be asked for at any time, and the answer is written by whoever
// reads: however long ago the last write was that had a deadline, and however the
// records are cut.
func TestRekey(t *testing.T) { overTLS(t, testRekey) }

func testRekey(t *testing.T, serve func(testing.TB) *server) {
	s := serve(t)
	transports := make(chan stomp.Transport, 1)
	s.open = func(tr stomp.Transport) { transports <- tr }
	r, ws := dialRekeyer(t, s)
	q := (<-transports).(*secureConn)
	const connect = "CONNECT\naccept-version:1.2\nhost:x\n\n\x00"
	for i, frame := range []string{connect, "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\x00"} {
		q.out.mu.Lock()
		q.out.until = time.Time{}
		err := q.out.Conn.SetWriteDeadline(time.Unix(1, 0))
		q.out.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		var wire []byte
		for range 8 { // twice as often in a row is too much for TLS
			wire = append(wire, r.rekey(t)...)
			wire = append(wire, r.record(t, 23, []byte{0x81, 0x81, 0, 0, 0, 0, '\n'})...)
		}
		wire = append(wire, r.record(t, 23, append([]byte{0x82, 0x80 | byte(len(frame)), 0, 0, 0, 0}, frame...))...)
		step := []int{1, len(wire)}[i]
		for ; len(wire) > 0; wire = wire[min(step, len(wire)):] {
			if _, err := r.Conn.Write(wire[:min(step, len(wire))]); err != nil {
				t.Fatal(err)
			}
		}
		if _, p, err := ws.ReadMessage(); err != nil || string(p[:7]) != []string{"CONNECT", "RECEIPT"}[i] {
			t.Fatalf("%q, %v", p, err)
		}
	}
}
