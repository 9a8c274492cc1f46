package caddymodule

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer serves a JWKS, and misbehaves when it is told to.
type issuer struct {
	*httptest.Server
	asked  atomic.Int64
	under  atomic.Int64 // requests under way
	most   atomic.Int64 // at the same time
	mu     sync.Mutex
	answer http.HandlerFunc
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		for n, was := i.under.Add(1), i.most.Load(); n > was && !i.most.CompareAndSwap(was, n); was = i.most.Load() {
		}
		defer i.under.Add(-1)
		i.mu.Lock()
		answer := i.answer
		i.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) answers(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

// serves has the keys be those of names, all of them the same but for the name.
func (i *issuer) serves(kids ...string) {
	set := keysNamed(kids...)
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) })
}

func keysNamed(kids ...string) (set jose.JSONWebKeySet) {
	for _, kid := range kids {
		set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: kid, Key: &rsaKey().PublicKey, Algorithm: "RS256", Use: "sig"})
	}
	return set
}

func (i *issuer) config(options string) string {
	return endpointWith("", "authenticate jwt {\n jwks "+i.URL+"/keys?key=issuer-secret {\n "+options+"\n}\n}\nfailed_attempts off")
}

// by is who a token of the issuer makes of the client.
func by(t *testing.T, s *server, kid string) string {
	t.Helper()
	return userOf(t, s.ws("/ws"), nil, "Authorization:Bearer "+signed(t, "RS256", rsaKey(), kid, claimsOf("mina", nil)))
}

const refusedUnchecked = "ERROR: credentials cannot be checked at the moment, try again later"

// A public document with a symmetric key: whoever reads it could sign.
func TestSecretInJWKS(t *testing.T) {
	i := newIssuer(t)
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{KeyID: "s", Key: []byte(testSecret), Algorithm: "HS256"},
		{KeyID: "one", Key: rsaKey(), Algorithm: "RS256"}, // a private key that was published by mistake
	}}
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) })
	s := run(t, i.config("min_interval 1ns"))
	expectUser(t, "the secret", userOf(t, s.ws("/ws"), nil, "passcode:"+signed(t, "HS256", []byte(testSecret), "s", claimsOf("mina", nil))), refusedInvalid)
	expectUser(t, "the public half", by(t, s, "one"), "mina")
}

// A key whose signatures cost the server much to check, or an attacker little to
// make.
func TestSizesOfKeys(t *testing.T) {
	for bits, fits := range map[uint]bool{1024: false, minRSABits - 1: false, minRSABits: true, maxRSABits: true, maxRSABits + 1: false, 1 << 16: false} {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		_, err := newVerificationKey("", &rsa.PublicKey{N: n, E: 65537}, "", nil)
		if (err == nil) != fits {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}

// Tokens that name keys which there are not: the issuer is asked once in
// min_interval, whoever has a good token does not wait. Nobody can say that such
// a token is bad before the issuer was asked again, and nobody's address has
// failed: when the issuer has changed its keys, it is all of his users.
func TestUnknownKidStorm(t *testing.T) {
	i := newIssuer(t)
	i.serves("one")
	s := run(t, strings.Replace(i.config("min_interval 1m"), "failed_attempts off", "failed_attempts 3 0.001", 1))
	expectUser(t, "good", by(t, s, "one"), "mina")
	var storm sync.WaitGroup
	for n := range 200 {
		token := signed(t, "RS256", rsaKey(), fmt.Sprint("unknown", n), claimsOf("mina", nil))
		ws := dialRaw(t, s.ws("/ws"), nil)
		storm.Go(func() { expectUser(t, "unknown kid", connectRaw(t, ws, "passcode:"+token), refusedUnchecked) })
	}
	start := time.Now()
	expectUser(t, "good, in the storm", by(t, s, "one"), "mina")
	if took := time.Since(start); took > 10*time.Second { // min_interval is 1m
		t.Errorf("took %s", took)
	}
	storm.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// A token that names a key at hand, but an algorithm that is not that key's, is
// guessing, and counts as such: the issuer is not asked.
func TestAlgorithmOfANamedKey(t *testing.T) {
	i := newIssuer(t)
	i.serves("one")
	s := run(t, strings.Replace(i.config("min_interval 1m"), "failed_attempts off", "failed_attempts 3 0.001", 1))
	expectUser(t, "good", by(t, s, "one"), "mina")
	token := signed(t, "HS256", []byte(strings.Repeat("s", 32)), "one", claimsOf("mina", nil))
	for range 3 {
		expectUser(t, "another algorithm", connectRaw(t, dialRaw(t, s.ws("/ws"), nil), "passcode:"+token), refusedInvalid)
	}
	if got := by(t, s, "one"); got == "mina" {
		t.Error("three guesses did not count as failed attempts")
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// The issuer changes its keys; those that are gone are not used any more.
func TestRotation(t *testing.T) {
	i := newIssuer(t)
	i.serves("one")
	s := run(t, i.config("refresh 300ms\n min_interval 1ms"))
	expectUser(t, "one", by(t, s, "one"), "mina")
	live := dial(t, s.ws("/ws"), "passcode:"+signed(t, "RS256", rsaKey(), "one", claimsOf("mina", nil)))
	i.serves("one", "two")
	expectUser(t, "two, at its first use", by(t, s, "two"), "mina")
	i.serves("two")
	eventually(t, "one to be gone", func() bool { return by(t, s, "one") == refusedInvalid })
	expectUser(t, "two", by(t, s, "two"), "mina")
	live.alive()
	asked := i.asked.Load()
	s.load(strings.Replace(i.config("refresh 300ms\n min_interval 1ms"), "failed_attempts off", "allow_anonymous", 1))
	i.Close()
	expectUser(t, "two, after a reload while the issuer is down", by(t, s, "two"), "mina")
	live.alive()
	if asked == i.asked.Load() && asked < 3 {
		t.Errorf("asked %d times", asked)
	}
}

// The issuer makes a new key for each client that connects, while others do. Who
// has a token of a key that is published is let in, or told to try again: never
// that it is not valid, which would count as a failed attempt of all who share an
// address.
func TestRotationUnderLoad(t *testing.T) {
	i := newIssuer(t)
	i.serves("0")
	s := run(t, strings.Replace(i.config("refresh 50ms\n min_interval 1ns"), "failed_attempts off", "failed_attempts 1 0.001", 1))
	live := dial(t, s.ws("/ws"), "passcode:"+signed(t, "RS256", rsaKey(), "0", claimsOf("mina", nil)))
	const clients, each = 4, (mostKeys - 20) / 4
	var mu sync.Mutex
	kids := []string{"0"}
	newest := func() string {
		mu.Lock()
		defer mu.Unlock()
		kid := fmt.Sprint(len(kids))
		kids = append(kids, kid)
		i.serves(kids...)
		return kid
	}
	var in, later atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				kid := newest()
				token := signed(t, "RS256", rsaKey(), kid, claimsOf("mina", nil))
				for answer := ""; answer != "mina"; {
					ws, _, err := reach(&dialer, s.ws("/ws"), nil)
					if err != nil {
						t.Error(err)
						return
					}
					answer = connectRaw(t, ws, "passcode:"+token)
					ws.Close()
					switch answer {
					case "mina":
						in.Add(1)
					case refusedUnchecked:
						later.Add(1)
					default:
						t.Errorf("key %s: %q", kid, answer)
						return
					}
				}
			}
		})
	}
	all.Wait()
	live.alive()
	t.Logf("%d let in, %d told to try again, %d fetches", in.Load(), later.Load(), i.asked.Load())
	if in.Load() != clients*each || i.most.Load() > 1 {
		t.Errorf("%d were let in, with %d fetches at the same time", in.Load(), i.most.Load())
	}
}

// An issuer that hangs, talks nonsense, too much, or sends elsewhere: the keys at
// hand go on, who needs others is told within the timeout, and who needs none
// does not notice.
func TestIssuerMisbehaves(t *testing.T) {
	elsewhere := newIssuer(t)
	elsewhere.serves("two")
	var huge atomic.Int64 // bytes that somebody has read, or sockets hold
	for name, answer := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"hangs midway": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>\x00") },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"null":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `null`) },
		"keys of no use": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"keys":[{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},7,null]}`)
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(w).Encode(keysNamed("one", "two"))
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"huge": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"padding":"`)
			for chunk := strings.Repeat("x", 1<<16); ; huge.Add(1 << 16) {
				if _, err := fmt.Fprint(w, chunk); err != nil || r.Context().Err() != nil {
					return
				}
			}
		},
		"a little too large": func(w http.ResponseWriter, _ *http.Request) {
			raw := must(json.Marshal(keysNamed("one", "two")))
			fmt.Fprint(w, strings.Repeat(" ", maxKeySet+1-len(raw)), string(raw))
		},
		"too many keys": func(w http.ResponseWriter, _ *http.Request) {
			kids := []string{"one", "two"}
			for n := range mostKeys {
				kids = append(kids, fmt.Sprint("other", n))
			}
			_ = json.NewEncoder(w).Encode(keysNamed(kids...))
		},
		"an enormous key": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"keys":[{"kty":"RSA","kid":"two","e":"AQAB","n":"`+strings.Repeat("_", 60_000)+`"}]}`)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.answers(answer)
			s := run(t, i.config("timeout 2s\n min_interval 1ms\n refresh 200ms"))
			start := time.Now()
			expectUser(t, "no keys yet", by(t, s, "one"), refusedUnchecked)
			i.serves("one")
			expectUser(t, "the issuer is well", by(t, s, "one"), "mina")
			live := dial(t, s.ws("/ws"), "passcode:"+signed(t, "RS256", rsaKey(), "one", claimsOf("mina", nil)))
			i.answers(answer)
			asked := i.asked.Load()
			expectUser(t, "a key that is not at hand", by(t, s, "two"), refusedUnchecked)
			if took := time.Since(start); took > 12*time.Second { // two of them wait for the timeout at most
				t.Errorf("three clients took %s", took)
			}
			if i.asked.Load() == asked {
				t.Error("the issuer was not asked")
			}
			time.Sleep(250 * time.Millisecond) // past refresh
			start = time.Now()
			expectUser(t, "the keys at hand", by(t, s, "one"), "mina")
			if took := time.Since(start); took > 1500*time.Millisecond { // a fetch may take 2 s
				t.Errorf("who needs no fetch waited %s", took)
			}
			live.alive()
			if n := huge.Load(); n > 64<<20 { // some MiB are in the buffers of three connections
				t.Errorf("%d MiB were read", n>>20)
			}
			if n := elsewhere.asked.Load(); n != 0 {
				t.Errorf("a redirect was followed %d times", n)
			}
			s.noSecret("issuer-secret", "logger", "http.auto_https")
		})
	}
}

// `caddy validate` asks nobody and opens nothing; what a configuration fetches is
// given back when nobody has it any more.
func TestValidateFetchesNothing(t *testing.T) {
	i := newIssuer(t)
	i.serves("one")
	site := "http://localhost:1 {\n stomp /ws {\n authenticate jwt {\n jwks " + i.URL + "\n key_file /no/such/file\n }\n }\n}"
	if err := validateErr(t, must(adapt(site))); err != nil {
		t.Error(err)
	}
	if n := i.asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
	s := run(t, i.config(""))
	eventually(t, "the keys to be asked for before any client comes", func() bool { return i.asked.Load() == 1 })
	expectUser(t, "a configuration that runs", by(t, s, "one"), "mina")
	s.stop()
	keySets.Range(func(key, _ any) bool {
		t.Errorf("kept: %v", key)
		return true
	})
}
