package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// A token that is signed with the public key as the secret of an HMAC, or that
// is not signed at all, or brings its own key.
func TestAlgorithmConfusion(t *testing.T) {
	public := publicPEM(t, &rsaKey().PublicKey)
	i := newIssuer(t)
	i.serves("one")
	s := run(t, endpointWith("", "authenticate jwt {\n key RS256 `"+public+"`\n jwks "+i.URL+" {\n min_interval 1ns\n}\n}\nfailed_attempts off"))
	try := func(token string) string { return userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+token) }
	claims := claimsOf("mina", nil)
	expectUser(t, "the key itself", try(signed(t, "RS256", rsaKey(), "", claims)), "mina")
	modulus := rsaKey().N.Bytes()
	jwk := must(json.Marshal(jose.JSONWebKey{KeyID: "one", Key: &rsaKey().PublicKey, Algorithm: "RS256", Use: "sig"}))
	for _, secret := range [][]byte{[]byte(public), []byte(strings.TrimSpace(public)), modulus, jwk} {
		for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
			for _, kid := range []string{"", "one"} {
				expectUser(t, algorithm, try(signed(t, algorithm, secret, kid, claims)), refusedInvalid)
			}
		}
	}
	expectUser(t, "PS256 with a key for RS256", try(signed(t, "PS256", rsaKey(), "one", claims)), refusedInvalid)

	encode := base64.RawURLEncoding.EncodeToString
	body := encode(must(json.Marshal(claims)))
	good := strings.Split(signed(t, "RS256", rsaKey(), "one", claims), ".")
	for _, name := range []string{"none", "None", "NONE", "nOnE", "", "RS256 ", "HS1"} {
		head := encode(must(json.Marshal(map[string]string{"alg": name, "typ": "JWT"})))
		for _, signature := range []string{"", good[2]} {
			expectUser(t, "alg "+name, try(head+"."+body+"."+signature), refusedInvalid)
		}
	}
	expectUser(t, "no signature", try(good[0]+"."+good[1]+"."), refusedInvalid)
	expectUser(t, "other claims", try(good[0]+"."+encode(must(json.Marshal(claimsOf("root", nil))))+"."+good[2]), refusedInvalid)
	expectUser(t, "claims twice", try(signed(t, "RS256", rsaKey(), "one", claims)+"."+body), refusedInvalid)

	// a key of the attacker's in the head
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: ecKeys()["ES256"]}, &jose.SignerOptions{EmbedJWK: true}))
	own := must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
	expectUser(t, "jwk in the head", try(own), refusedInvalid)
	for _, header := range []string{"jku", "x5u"} {
		options := (&jose.SignerOptions{}).WithHeader(jose.HeaderKey(header), i.URL)
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: ecKeys()["ES256"]}, options))
		token := must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
		expectUser(t, header, try(token), refusedInvalid)
	}
	options := (&jose.SignerOptions{}).WithHeader("crit", []string{"exp"}).WithHeader("exp", 1)
	critical := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: rsaKey()}, options))
	expectUser(t, "a critical header that nobody knows", try(must(must(critical.Sign(must(json.Marshal(claims)))).CompactSerialize())), refusedInvalid)
	expectUser(t, "JSON serialization", try(must(signer.Sign(must(json.Marshal(claims)))).FullSerialize()), refusedInvalid)
}

// noSecret fails if a log has a text, but in entries where a field is a value.
func (s *server) noSecret(secret, field, value string) {
	s.t.Helper()
	raw := must(os.ReadFile(filepath.Join(s.dir, "caddy.log")))
	for line := range strings.Lines(string(raw)) {
		var entry map[string]any
		if strings.Contains(line, secret) && (json.Unmarshal([]byte(line), &entry) != nil || entry[field] != value) {
			s.t.Errorf("the log has %q: %.400s", secret, line)
		}
	}
}

// Names with line ends, NUL and other control characters, which would be lines
// of CONNECTED and of logs; and names that are patterns, or paths.
func TestHostileNames(t *testing.T) {
	s := run(t, withSecret("attribute team team public"))
	for _, name := range []string{"a\nuser-name:root", "a\r\nx:y", "a\x00b", "a\x1b[2J", "a\u0085b", strings.Repeat("x", 256), ""} {
		expectUser(t, fmt.Sprintf("user %.20q", name), userOf(t, s.ws("/ws"), nil, "passcode:"+hs(t, name, nil)), refusedInvalid)
	}
	for _, value := range []string{"a\nb", "a\x00", strings.Repeat("x", 1025), "a\r"} {
		expectUser(t, fmt.Sprintf("attribute %.20q", value), userOf(t, s.ws("/ws"), nil, "passcode:"+hs(t, "mina", map[string]any{"team": value})), refusedInvalid)
	}
	mina := dial(t, s.ws("/ws"), "passcode:"+hs(t, "mina", nil))
	mina.subscribe("/user/queue/mail")
	for _, name := range []string{"**", "*", "/", "mina/queue/mail", "../mina", "%6dina", "mina;session=" + mina.session, "{stomp.user}", "ΜΙΝΑ"} {
		c := dial(t, s.ws("/ws"), "passcode:"+hs(t, name, map[string]any{"team": "**"}))
		c.subscribe("/user/queue/mail")
		mina.send("SEND", "to mina", "destination:/user/mina/queue/mail")
		if m := mina.expect("MESSAGE"); m.body != "to mina" {
			t.Errorf("%v", m)
		}
		c.quiet()
	}
	mina.quiet()
}

// Who has failed too often waits, whatever he presents then; others do not.
func TestFailedAttempts(t *testing.T) {
	s := run(t, endpointWith("servers {\n\t\ttrusted_proxies static 127.0.0.1/8\n\t}",
		"authenticate jwt {\n key HS256 "+testSecret+"\n}\nauthenticate password {\n mina "+hashed(t, "wonder")+"\n}\nfailed_attempts 3 0.001"))
	from := func(address string) http.Header { return http.Header{"X-Forwarded-For": {address}} }
	const tooMany = "ERROR: too many failed attempts, try again later"
	try := func(address, passcode string) string {
		return userOf(t, s.ws("/ws"), from(address), "login:mina", "passcode:"+passcode)
	}
	for range 5 { // costs nothing, and tells nothing
		expectUser(t, "missing", userOf(t, s.ws("/ws"), from("192.0.2.1")), refusedMissing)
		expired := hs(t, "mina", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
		expectUser(t, "expired", userOf(t, s.ws("/ws"), from("192.0.2.1"), "passcode:"+expired), refusedExpired)
	}
	for range 3 {
		expectUser(t, "wrong", try("192.0.2.1", "guess"), refusedInvalid)
		expectUser(t, "wrong, by IPv6", try("2001:db8::1", "guess"), refusedInvalid)
	}
	expectUser(t, "too often", try("192.0.2.1", "wonder"), tooMany)
	expectUser(t, "too often, with a good token", userOf(t, s.ws("/ws"), from("192.0.2.1"), "Authorization:Bearer "+hs(t, "mina", nil)), tooMany)
	expectUser(t, "another address of the same network", try("2001:db8::ffff:2", "wonder"), tooMany)
	expectUser(t, "another network", try("2001:db8:0:1::1", "wonder"), "mina")
	expectUser(t, "another address", try("192.0.2.2", "wonder"), "mina")
}

// Addresses without end do not use up the memory, and do not push out who is
// failing all the time.
func TestFailedAttemptsAreBounded(t *testing.T) {
	f := newFailures(&FailedAttempts{Burst: 10, PerSecond: 1})
	now := time.Now()
	f.now = func() time.Time { return now }
	for range 10 {
		f.count("192.0.2.1")
	}
	for i := range 2 * mostBuckets {
		f.count(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))
	}
	if n := len(f.buckets); n > mostBuckets {
		t.Errorf("%d addresses", n)
	}
	if !f.exhausted("192.0.2.1") {
		t.Error("the attacker was forgotten")
	}
	now = now.Add(1001 * time.Millisecond)
	if f.exhausted("192.0.2.1") {
		t.Error("no token after a second")
	}
	for _, address := range []string{"", "no address"} { // unknown
		for range 20 {
			f.count(address)
		}
		if f.exhausted(address) {
			t.Errorf("%q", address)
		}
	}
}

// A user that there is not takes as long as one that there is, whatever the
// password: one hash is computed, of the cost of somebody's, and always of the
// same for a name.
func TestUnknownUserTakesAsLong(t *testing.T) {
	var hashes []string
	p := &Password{
		accounts: []account{{"mina", []byte("cheap")}, {"omar", []byte("dear")}}, byName: map[string]int{"mina": 0, "omar": 1},
		key: []byte("key"), passed: make(map[[32]byte]struct{}),
		hash: comparer(func(hash []byte) (bool, error) {
			hashes = append(hashes, string(hash))
			return string(hash) == "cheap", nil // even if it is the password of the one
		}),
	}
	ask := func(login string) string {
		hashes = nil
		connect := &frame.Frame{Command: frame.Connect, Header: frame.Header{{Name: "login", Value: login}, {Name: "passcode", Value: "x"}}}
		id, err := p.Authenticate(&Attempt{Handshake: &stomp.Handshake{}, Frame: connect})
		if (err == nil) != (login == "mina") || err != nil && (id != nil || err.Error() != "wrong login or passcode") || len(hashes) != 1 {
			t.Fatalf("%s is %v, %v after %d hashes", login, id, err, len(hashes))
		}
		return hashes[0]
	}
	if ask("mina") != "cheap" || ask("omar") != "dear" {
		t.Error("compared with another's hash")
	}
	used := make(map[string]bool)
	for n := range 50 {
		name := fmt.Sprint("nobody", n)
		hash := ask(name)
		if again := ask(name); again != hash {
			t.Errorf("%s is compared with %s, then with %s", name, hash, again)
		}
		used[hash] = true
	}
	if len(used) != 2 {
		t.Errorf("of two hashes unknown users have %d", len(used))
	}
}

// Passwords are hashed by a few at a time, and who was waiting while his address
// failed too often is not hashed any more.
func TestHashingIsBounded(t *testing.T) {
	var running, most atomic.Int64
	p := &Password{
		accounts: []account{{"mina", nil}}, byName: map[string]int{"mina": 0}, key: []byte("key"),
		passed: make(map[[32]byte]struct{}),
		hash: comparer(func([]byte) (bool, error) {
			n := running.Add(1)
			for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
			}
			time.Sleep(10 * time.Millisecond)
			running.Add(-1)
			return false, nil
		}),
	}
	f := newFailures(&FailedAttempts{Burst: 5})
	var hashedOnes atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			hs := &stomp.Handshake{Address: "192.0.2.1"}
			connect := &frame.Frame{Command: frame.Connect, Header: frame.Header{{Name: "login", Value: "mina"}, {Name: "passcode", Value: "x"}}}
			_, err := p.Authenticate(&Attempt{Handshake: hs, Frame: connect, failures: f})
			if err != nil && strings.Contains(err.Error(), "wrong") {
				f.count(hs.Address)
				hashedOnes.Add(1)
			}
		})
	}
	all.Wait()
	if most.Load() > int64(cap(hashing)) {
		t.Errorf("%d at the same time, %d are allowed", most.Load(), cap(hashing))
	}
	if n := hashedOnes.Load(); n < 5 || n > 5+int64(cap(hashing)) {
		t.Errorf("%d were hashed, 5 may fail", n)
	}
}

type comparer func(hash []byte) (bool, error)

func (c comparer) Compare(hash, _ []byte) (bool, error) { return c(hash) }

// A token larger than any is refused before it is looked at, a large one is not.
func TestLargeTokens(t *testing.T) {
	s := run(t, withSecret("cookie session"))
	big := func(n int) string { return hs(t, "mina", map[string]any{"padding": strings.Repeat("x", n)}) }
	expectUser(t, "5 KB", userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+big(3600)), "mina")
	expectUser(t, "5 KB in a cookie", userOf(t, s.ws("/ws"), http.Header{"Cookie": {"session=" + big(3600)}}), "mina")
	expectUser(t, "20 KB", userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+big(15_000)), fmt.Sprint("ERROR: limit exceeded: Authorization ", maxToken+7))
	expectUser(t, "20 KB in a cookie", userOf(t, s.ws("/ws"), http.Header{"Cookie": {"session=" + big(15_000)}}), refusedMissing)
	c := dial(t, s.ws("/ws"), "passcode:"+hs(t, "mina", nil))
	c.send("SEND", big(15_000), "destination:/app/refresh")
	if before := c.expectClose(1008); len(before) != 1 || before[0].header["message"] != "credentials are not valid" {
		t.Errorf("%v", before)
	}
}

// Whatever is presented, and wherever, no log has it.
func TestTokensAreNotLogged(t *testing.T) {
	t.Setenv("AUTH_TEST_SECRET", testSecret)
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT {
	log
	stomp /ws {
		authenticate jwt {
			key HS256 {env.AUTH_TEST_SECRET}
			leeway 0s
			cookie session
			query token
		}
		authenticate password {
			mina `+hashed(t, "open-sesame")+`
		}
		sockjs
		failed_attempts off
	}
}
`)
	var secrets []string
	secret := func(claims map[string]any) string {
		token := hs(t, "mina", claims)
		secrets = append(secrets, strings.Split(token, ".")[1:]...)
		return token
	}
	for _, more := range []map[string]any{{"n": 1}, {"n": 2, "exp": 1}, {"n": 3, "sub": "a\nb"}, {"n": 4, "exp": "x"}, {"n": 5, "nbf": int64(1) << 40}} {
		for _, mangle := range []string{"", "A", ".x", "="} {
			token := secret(more) + mangle
			userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+token)
			userOf(t, s.ws("/ws"), nil, "login:mina", "passcode:"+token)
			userOf(t, s.ws("/ws"), http.Header{"Authorization": {"Bearer " + token}})
			userOf(t, s.ws("/ws"), http.Header{"Cookie": {"session=" + token}})
			userOf(t, s.ws("/ws?token="+token), nil)
		}
	}
	userOf(t, s.ws("/ws"), nil, "login:mina", "passcode:open-sesame")
	userOf(t, s.ws("/ws"), nil, "login:mina", "passcode:open-sesame2")
	c := dial(t, s.ws("/ws"), "passcode:"+secret(nil))
	c.send("SEND", secret(map[string]any{"n": 6})+"x", "destination:/app/refresh")
	c.expectClose(1008)
	s.stop()
	for _, part := range append(secrets, "open-sesame", testSecret) {
		if len(part) > 1 {
			s.noSecret(part, "", "")
		}
	}
}

// Attack: read the memory of the process, or a dump of it, for what clients have
// come with. Whoever is known, or not, credentials of the handshake do not live
// on with the session.
func TestCredentialsAreNotKept(t *testing.T) {
	s := run(t, withSecret("cookie session\n query token"))
	token := hs(t, "mina", nil)
	for name, tt := range map[string]struct {
		query  string
		header http.Header
	}{
		"Authorization": {"", http.Header{"Authorization": {"Bearer " + token}}},
		"cookie":        {"", http.Header{"Cookie": {"session=" + token}}},
		"query":         {"?token=" + token, nil},
	} {
		c := dialWith(t, s.ws("/ws"+tt.query), tt.header)
		session := live(t, "chat").broker.Session(c.session)
		if session.User() != "mina" || session.Handshake().Credentials != nil {
			t.Errorf("%s: kept %+v", name, session.Handshake())
		}
	}
	s.load(strings.Replace(withSecret("cookie session"), "failed_attempts off", "allow_anonymous", 1))
	c := dialWith(t, s.ws("/ws"), http.Header{"Authorization": {"Basic " + token}})
	if kept := live(t, "chat").broker.Session(c.session).Handshake().Credentials; kept != nil {
		t.Errorf("an anonymous session keeps %+v", kept)
	}
}
