package caddymodule

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"
)

const testSecret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKeys = sync.OnceValue(func() map[string]*ecdsa.PrivateKey {
		return map[string]*ecdsa.PrivateKey{
			"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
			"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
			"ES512": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		}
	})
	edKey = sync.OnceValue(func() ed25519.PrivateKey { _, key, err := ed25519.GenerateKey(rand.Reader); return must(key, err) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// signed is a token.
func signed(t testing.TB, algorithm string, key any, kid string, claims map[string]any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claimsOf are those of a good token with others added, or with nil taken away.
func claimsOf(user string, more map[string]any) map[string]any {
	claims := map[string]any{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range more {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// hs is a token of the secret.
func hs(t testing.TB, user string, more map[string]any) string {
	t.Helper()
	return signed(t, "HS256", []byte(testSecret), "", claimsOf(user, more))
}

func publicPEM(t testing.TB, key any) string {
	t.Helper()
	raw, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw}))
}

// withSecret is an endpoint whose authenticator has the secret and options.
func withSecret(options string) string {
	return endpointWith("", "authenticate jwt {\n key HS256 "+testSecret+"\n "+options+"\n}\nfailed_attempts off")
}

// userOf is who the server says that a session is.
func userOf(t *testing.T, url string, header http.Header, connect ...string) string {
	t.Helper()
	ws := dialRaw(t, url, header)
	return connectRaw(t, ws, connect...)
}

type textConn interface {
	WriteMessage(int, []byte) error
	ReadMessage() (int, []byte, error)
}

// connectRaw is the user-name of CONNECTED, or "ERROR: " and the message.
func connectRaw(t *testing.T, ws textConn, connect ...string) string {
	t.Helper()
	if err := ws.WriteMessage(1, []byte("CONNECT\naccept-version:1.2\nhost:localhost\n"+strings.Join(append(connect, ""), "\n")+"\n\x00")); err != nil {
		t.Fatal(err)
	}
	_, raw, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	command, head, _ := strings.Cut(string(raw), "\n")
	wanted := map[string]string{"CONNECTED": "user-name:", "ERROR": "message:"}[command]
	for line := range strings.SplitSeq(head, "\n") {
		if value, ok := strings.CutPrefix(line, wanted); ok {
			if command == "ERROR" {
				return "ERROR: " + value
			}
			return value
		}
	}
	return ""
}

const (
	refusedMissing = "ERROR: credentials are missing"
	refusedInvalid = "ERROR: credentials are not valid"
	refusedExpired = "ERROR: credentials expired"
)

func expectUser(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// hashed is a bcrypt hash that costs little.
func hashed(t testing.TB, password string) string {
	t.Helper()
	return string(must(bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)))
}

func TestPassword(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT {
	stomp /ws {
		authenticate password {
			mina `+hashed(t, "wonder")+`
			"omar the 2nd" `+hashed(t, "")+`
		}
		failed_attempts off
	}
	stomp /argon {
		authenticate password argon2id {
			lea $argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg
		}
	}
}
`)
	for _, tt := range []struct {
		path, login, passcode, want string
	}{
		{"/ws", "mina", "wonder", "mina"},
		{"/ws", "mina", "wonder", "mina"}, // remembered
		{"/ws", "mina", "wonder2", refusedInvalid},
		{"/ws", "mina", "", refusedInvalid},
		{"/ws", "Mina", "wonder", refusedInvalid},
		{"/ws", "omar the 2nd", "", "omar the 2nd"},
		{"/ws", "omar the 2nd", "wonder", refusedInvalid},
		{"/ws", "nobody", "wonder", refusedInvalid},
		{"/ws", "", "wonder", refusedMissing},
		{"/ws", "mina", strings.Repeat("x", 1500), refusedInvalid},
		{"/argon", "lea", "antitiming", "lea"},
		{"/argon", "lea", "other", refusedInvalid},
		{"/argon", "mina", "antitiming", refusedInvalid},
	} {
		got := userOf(t, s.ws(tt.path), nil, "login:"+tt.login, "passcode:"+tt.passcode)
		expectUser(t, fmt.Sprintf("%s %q %.10q", tt.path, tt.login, tt.passcode), got, tt.want)
	}
}

// The first that recognizes the credentials decides; nobody is anonymous unless
// that is allowed, or Caddy itself knows him.
func TestAuthenticatorsInOrder(t *testing.T) {
	both := "authenticate jwt {\n key HS256 " + testSecret + "\n}\nauthenticate password {\n mina " + hashed(t, "wonder") + "\n}\n"
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT {
	stomp /ws {
		`+both+`
	}
	stomp /anyone {
		`+both+`
		allow_anonymous
		user {header.X-User}
	}
	stomp /known {
		`+both+`
		user {header.X-User}
	}
}
`)
	bad := hs(t, "mina", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	expectUser(t, "token", userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+hs(t, "omar", nil)), "omar")
	expectUser(t, "password", userOf(t, s.ws("/ws"), nil, "login:mina", "passcode:wonder"), "mina")
	expectUser(t, "a bad token, and a good password", userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+bad, "login:mina", "passcode:wonder"), refusedExpired)
	expectUser(t, "nothing", userOf(t, s.ws("/ws"), nil), refusedMissing)
	expectUser(t, "nothing, which is allowed", userOf(t, s.ws("/anyone"), nil), "")
	expectUser(t, "a bad password where anonymous is allowed", userOf(t, s.ws("/anyone"), nil, "login:mina", "passcode:x"), refusedInvalid)
	expectUser(t, "known by the handshake", userOf(t, s.ws("/known"), http.Header{"X-User": {"lea"}}), "lea")
	expectUser(t, "known by both", userOf(t, s.ws("/known"), http.Header{"X-User": {"lea"}}, "login:mina", "passcode:wonder"), "mina")
	expectUser(t, "known by neither", userOf(t, s.ws("/known"), nil), refusedMissing)

	known := dialWith(t, s.ws("/known"), http.Header{"X-User": {"lea"}})
	known.send("SEND", hs(t, "lea", nil), "destination:/app/refresh")
	if before := known.expectClose(1008); len(before) != 1 || before[0].header["message"] != "this session has no credentials to refresh" {
		t.Errorf("%v", before)
	}
	// a password does not prolong what a token began
	session := dial(t, s.ws("/ws"), "Authorization:Bearer "+hs(t, "mina", nil))
	session.send("SEND", "", "destination:/app/refresh", "login:mina", "passcode:wonder")
	if before := session.expectClose(1008); len(before) != 1 || before[0].header["message"] != "credentials are missing" {
		t.Errorf("%v", before)
	}
}

// A reload changes who may come, and ends nobody; the new keys are those that a
// refresh is checked with.
func TestAuthenticatorsReload(t *testing.T) {
	config := func(secret string) string {
		return endpointWith("", "authenticate jwt {\n key HS256 "+secret+"\n}\nfailed_attempts off")
	}
	s := run(t, config(testSecret))
	c := dial(t, s.ws("/ws"), "Authorization:Bearer "+hs(t, "mina", nil))
	other := strings.Repeat("another secret. ", 3)
	s.load(config("`" + other + "`"))
	c.alive()
	expectUser(t, "the old secret", userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+hs(t, "mina", nil)), refusedInvalid)
	c.request("SEND", signed(t, "HS256", []byte(other), "", claimsOf("mina", nil)), "destination:/app/refresh")
	c.alive()
	if err := s.tryLoad(endpointWith("", "authenticate jwt {\n key_file $DIR/none.pem\n}")); err == nil || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("a key file that is not there: %v", err)
	}
	c.alive()
}

// A site on two ports is one endpoint with one set of authenticators.
func TestAuthenticatorsOnTwoPorts(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT, http://localhost:$PORT2 {
	stomp /ws {
		authenticate password {
			mina `+hashed(t, "wonder")+`
		}
		allow_anonymous
	}
}
`)
	for _, port := range []string{s.port, s.port2} {
		expectUser(t, port, userOf(t, "ws://localhost:"+port+"/ws", nil, "login:mina", "passcode:wonder"), "mina")
	}
}

// What no Caddyfile can be adapted to, and what is found out later.
func TestAuthenticatorsRefused(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"a short secret", "authenticate jwt {\n key HS256 secret\n}", "too short for HS256"},
		{"a secret that is too short for the hash", "authenticate jwt {\n key HS512 " + testSecret[:40] + "\n}", "too short for HS512"},
		{"no base64", "authenticate jwt {\n key HS256 base64:!\n}", "not in base64"},
		{"an unset secret", "authenticate jwt {\n key HS256 {env.NO_SUCH_SECRET}\n}", "NO_SUCH_SECRET"},
		{"a private key", "authenticate jwt {\n key RS256 `-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----`\n}", "expected PUBLIC KEY"},
		{"a key of another algorithm", "authenticate jwt {\n key ES256 `" + publicPEM(t, &rsaKey().PublicKey) + "`\n}", "not for an algorithm"},
		{"an RSA key that is too small", "authenticate jwt {\n key RS256 `" + publicPEM(t, &must(rsa.GenerateKey(rand.Reader, 1024)).PublicKey) + "`\n}", "2048"},
		{"a hash of another algorithm", "authenticate password {\n mina $argon2id$v=19$m=47104,t=1,p=1$a$b\n}", "user mina"},
		{"a hash that is none", "authenticate password {\n mina wonder\n}", "hash-password"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			adapted, err := adapt("example.com {\n stomp /ws {\n " + tt.config + "\n }\n}")
			if err != nil {
				t.Fatal(err)
			}
			if err := validateErr(t, adapted); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
