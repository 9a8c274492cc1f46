package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Where a token may be; each only if it is configured.
func TestJWTSources(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT {
	log
	stomp /ws {
		authenticate jwt {
			key HS256 `+testSecret+`
			cookie session
			query token
		}
		sockjs
	}
	stomp /plain {
		authenticate jwt {
			key HS256 `+testSecret+`
		}
	}
}
`)
	token := hs(t, "mina", nil)
	for _, path := range []string{"/ws", "/ws/websocket"} {
		expectUser(t, "Authorization in CONNECT", userOf(t, s.ws(path), nil, "Authorization:Bearer "+token), "mina")
		expectUser(t, "authorization in CONNECT", userOf(t, s.ws(path), nil, "authorization:bearer "+token), "mina")
		expectUser(t, "passcode", userOf(t, s.ws(path), nil, "login:whoever", "passcode:"+token), "mina")
		expectUser(t, "HTTP Authorization", userOf(t, s.ws(path), http.Header{"Authorization": {"Bearer " + token}}), "mina")
		expectUser(t, "cookie", userOf(t, s.ws(path), http.Header{"Cookie": {"a=b; session=" + token}}), "mina")
		expectUser(t, "query", userOf(t, s.ws(path+"?a=b&token="+token), nil), "mina")
		expectUser(t, "CONNECT comes first", userOf(t, s.ws(path+"?token=nonsense"), nil, "Authorization:Bearer "+token), "mina")
		expectUser(t, "nothing", userOf(t, s.ws(path), nil), refusedMissing)
		expectUser(t, "another scheme", userOf(t, s.ws(path), http.Header{"Authorization": {"Basic " + token}}), refusedMissing)
	}
	expectUser(t, "cookie that is not configured", userOf(t, s.ws("/plain"), http.Header{"Cookie": {"session=" + token}}), refusedMissing)
	expectUser(t, "query that is not configured", userOf(t, s.ws("/plain?token="+hs(t, "x", nil)[:20]), nil), refusedMissing)
	expectUser(t, "a password is no token", userOf(t, s.ws("/plain"), nil, "login:mina", "passcode:secret"), refusedMissing)
}

// The access log has the requests whose query is hidden as it has others, but
// for the query; and nothing else has the token either.
func TestJWTQueryIsNotLogged(t *testing.T) {
	t.Setenv("AUTH_TEST_SECRET", testSecret) // what stands in the configuration Caddy logs at DEBUG
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT {
	log named {
		output file $DIR/access.log
		format json
	}
	stomp /app/ws {
		authenticate jwt {
			key HS256 {env.AUTH_TEST_SECRET}
			query token
		}
		sockjs
	}
	respond "else"
}
http://127.0.0.1:$PORT {
	log
	stomp /ws {
		authenticate jwt {
			key HS256 {env.AUTH_TEST_SECRET}
			query token
		}
	}
}
`)
	token := hs(t, "mina", nil)
	expectUser(t, "query", userOf(t, s.ws("/app/ws?token="+token), nil), "mina")
	expectUser(t, "escaped", userOf(t, s.ws("/app/ws?a=b&%74oken="+token), nil), "mina")
	expectUser(t, "refused", userOf(t, s.ws("/app/ws?token="+token+"x"), nil), refusedInvalid)
	expectUser(t, "another host", userOf(t, strings.Replace(s.ws("/ws?token="+token), "localhost", "127.0.0.1", 1), nil), "mina")
	s.get(s.http("/app/ws/info?token=" + token))
	s.get(s.http("/app/ws?token=" + token + ";token=" + token)) // no query that Go would parse
	s.get(s.http("/app/other?page=1"))
	s.stop()

	var uris []string
	for _, name := range []string{"access.log", "caddy.log"} {
		raw, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range append(strings.Split(token, "."), testSecret) {
			if strings.Contains(string(raw), part) {
				at := strings.Index(string(raw), part)
				t.Errorf("%s has a part of the token, or the secret: ...%s...", name, raw[max(0, at-300):at+len(part)])
			}
		}
		for line := range strings.Lines(string(raw)) {
			var entry struct {
				Logger  string
				Msg     string
				Status  int
				Request struct{ URI, Method string }
				UserID  *string `json:"user_id"`
			}
			if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "handled request" {
				continue
			}
			if entry.UserID == nil || entry.Request.Method != "GET" {
				t.Errorf("%s", line)
			}
			uris = append(uris, fmt.Sprintf("%s %d %s", entry.Logger, entry.Status, entry.Request.URI))
		}
	}
	want := []string{
		"http.log.access.named 101 /app/ws?REDACTED", "http.log.access.named 101 /app/ws?REDACTED",
		"http.log.access.named 101 /app/ws?REDACTED",
		"http.log.access.named 200 /app/ws/info?REDACTED", "http.log.access.named 200 /app/ws?REDACTED",
		"http.log.access.named 200 /app/other?page=1", "http.log.access 101 /ws?REDACTED",
	}
	if fmt.Sprint(uris) != fmt.Sprint(want) {
		t.Errorf("access log: %q\nwant %q", uris, want)
	}
}

// Every algorithm, with keys from everywhere.
func TestJWTAlgorithms(t *testing.T) {
	dir := t.TempDir()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{KeyID: "r", Key: &rsaKey().PublicKey, Use: "sig"},
		{KeyID: "e", Key: &ecKeys()["ES384"].PublicKey, Algorithm: "ES384"},
		{KeyID: "d", Key: edKey().Public()},
		{KeyID: "enc", Key: &ecKeys()["ES256"].PublicKey, Use: "enc"},
		{KeyID: "s", Key: []byte(testSecret), Algorithm: "HS512"},
	}}
	raw := must(json.Marshal(set))
	if err := os.WriteFile(filepath.Join(dir, "set.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ps.pem"), []byte(publicPEM(t, &rsaKey().PublicKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := run(t, endpointWith("", `authenticate jwt {
			key HS384 `+testSecret+`
			key HS256 base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
			key ES512 `+"`"+publicPEM(t, &ecKeys()["ES512"].PublicKey)+"`"+`
			key_file `+dir+`/set.json
			key_file `+dir+`/ps.pem PS256
		}
		failed_attempts off`))
	as := func(algorithm string, key any, kid string) string {
		return userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+signed(t, algorithm, key, kid, claimsOf("mina", nil)))
	}
	secret := []byte(testSecret)
	for _, tt := range []struct {
		algorithm string
		key       any
		kid, want string
	}{
		{"HS384", secret, "", "mina"},
		{"HS384", secret, "whatever", "mina"}, // the key has no name
		{"HS256", secret[:32], "", "mina"},
		{"HS256", secret, "", refusedInvalid}, // pinned to HS384 and HS512
		{"HS512", secret, "s", "mina"},
		{"HS512", secret, "x", refusedInvalid},
		{"RS256", rsaKey(), "r", "mina"},
		{"RS256", rsaKey(), "", "mina"},
		{"RS512", rsaKey(), "r", refusedInvalid}, // pinned to RS256
		{"PS256", rsaKey(), "", "mina"},
		{"PS256", rsaKey(), "r", "mina"}, // by the key without a name
		{"PS512", rsaKey(), "", refusedInvalid},
		{"ES384", ecKeys()["ES384"], "e", "mina"},
		{"ES384", ecKeys()["ES384"], "r", refusedInvalid},
		{"ES512", ecKeys()["ES512"], "", "mina"},
		{"ES256", ecKeys()["ES256"], "enc", refusedInvalid},
		{"EdDSA", edKey(), "d", "mina"},
	} {
		expectUser(t, fmt.Sprint(tt.algorithm, " ", tt.kid), as(tt.algorithm, tt.key, tt.kid), tt.want)
	}
}

// iss, aud, exp, nbf, the leeway, and what becomes user and attributes.
func TestJWTClaims(t *testing.T) {
	s := run(t, `{
	$GLOBAL
}
http://localhost:$PORT {
	stomp /ws {
		name chat
		authenticate jwt {
			key HS256 `+testSecret+`
			issuer https://a.example https://b.example
			audience chat
			leeway 10s
			user_claim profile.name
			attribute team team public
			attribute roles profile.roles
			attribute level a.b
		}
		failed_attempts off
	}
	stomp /forever {
		authenticate jwt {
			key HS256 `+testSecret+`
			allow_no_expiry
		}
		failed_attempts off
	}
}
`)
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, tt := range []struct {
		name, want string
		more       map[string]any
	}{
		{"good", "mina", nil},
		{"the other issuer, one of several audiences", "mina", map[string]any{"iss": "https://b.example", "aud": []string{"x", "chat"}}},
		{"wrong issuer", refusedInvalid, map[string]any{"iss": "https://c.example"}},
		{"no issuer", refusedInvalid, map[string]any{"iss": nil}},
		{"wrong audience", refusedInvalid, map[string]any{"aud": "mail"}},
		{"no audience", refusedInvalid, map[string]any{"aud": nil}},
		{"audience is no text", refusedInvalid, map[string]any{"aud": 7}},
		{"expired within the leeway", "mina", map[string]any{"exp": at(-5 * time.Second)}},
		{"expired", refusedExpired, map[string]any{"exp": at(-15 * time.Second)}},
		{"expiry is no number", refusedInvalid, map[string]any{"exp": "tomorrow"}},
		{"expiry overflows", refusedInvalid, map[string]any{"exp": 1e300}},
		{"expiry in the year 10^18", "mina", map[string]any{"exp": 1e18}},
		{"no expiry", refusedInvalid, map[string]any{"exp": nil}},
		{"not yet valid within the leeway", "mina", map[string]any{"nbf": at(5 * time.Second)}},
		{"not yet valid", refusedInvalid, map[string]any{"nbf": at(30 * time.Second)}},
		{"issued in the future", refusedInvalid, map[string]any{"iat": at(30 * time.Second)}},
		{"no user", refusedInvalid, map[string]any{"profile": map[string]any{}}},
		{"the user is null", refusedInvalid, map[string]any{"profile": map[string]any{"name": nil}}},
		{"the user is an object", refusedInvalid, map[string]any{"profile": map[string]any{"name": map[string]any{}}}},
		{"the user is a list", refusedInvalid, map[string]any{"profile": map[string]any{"name": []string{"mina"}}}},
		{"the user is true", refusedInvalid, map[string]any{"profile": map[string]any{"name": true}}},
		{"a large number stays exact", "9007199254740993", map[string]any{"profile": map[string]any{"name": int64(9007199254740993)}}},
	} {
		more := map[string]any{"iss": "https://a.example", "aud": "chat", "profile": map[string]any{"name": "mina", "roles": []string{"a", "b"}}}
		maps.Copy(more, tt.more)
		expectUser(t, tt.name, userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+hs(t, "ignored", more)), tt.want)
	}
	expectUser(t, "no expiry, which is allowed", userOf(t, s.ws("/forever"), nil, "passcode:"+hs(t, "mina", map[string]any{"exp": nil})), "mina")

	reader := dial(t, s.ws("/ws"), "Authorization:Bearer "+hs(t, "", map[string]any{
		"iss": "https://a.example", "aud": "chat", "profile": map[string]any{"name": "reader"},
	}))
	reader.subscribe("/topic/presence")
	dial(t, s.ws("/ws"), "Authorization:Bearer "+hs(t, "", map[string]any{
		"iss": "https://a.example", "aud": "chat", "team": "red", "a.b": 3, "profile": map[string]any{"name": "mina", "roles": []string{"a", "b"}},
	}))
	if _, told := reader.nextChange(); !strings.Contains(told, `"attributes":{"team":"red"}`) || strings.Contains(told, "roles") {
		t.Errorf("announced: %s", told)
	}
}

// A session ends with its token, unless another one of the same user came.
func TestJWTExpiresAndRefresh(t *testing.T) {
	s := run(t, withSecret("leeway 0s\n attribute team team"))
	soon := func(user string, after time.Duration, team string) string {
		return hs(t, user, map[string]any{"exp": time.Now().Add(after).Unix() + 1, "team": team})
	}
	start := time.Now()
	ends := dial(t, s.ws("/ws"), "Authorization:Bearer "+soon("mina", time.Second, "red"))
	stays := dial(t, s.ws("/ws"), "Authorization:Bearer "+soon("mina", time.Second, "red"))
	stays.request("SEND", soon("mina", time.Minute, "red"), "destination:/app/refresh")
	stays.request("SEND", "", "destination:/app/refresh", "Authorization:Bearer "+soon("mina", time.Minute, "red"))
	before := ends.expectClose(1008)
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("ended after %s", took)
	}
	if len(before) != 1 || before[0].command != "ERROR" || before[0].header["message"] != "credentials expired" {
		t.Errorf("before the end: %v", before)
	}
	stays.alive()

	for _, tt := range []struct{ name, body, want string }{
		{"another user", soon("omar", time.Minute, "red"), "credentials are those of another user"},
		{"another team", soon("mina", time.Minute, "blue"), "credentials say something else about the user: connect again"},
		{"expired", hs(t, "mina", map[string]any{"exp": time.Now().Add(-time.Minute).Unix(), "team": "red"}), "credentials expired"},
		{"nonsense", "nonsense", "credentials are not valid"},
		{"nothing", "", "credentials are missing"},
	} {
		c := dial(t, s.ws("/ws"), "Authorization:Bearer "+soon("mina", time.Minute, "red"))
		c.send("SEND", tt.body, "destination:/app/refresh")
		if before := c.expectClose(1008); len(before) != 1 || before[0].header["message"] != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, before, tt.want)
		}
	}
}
