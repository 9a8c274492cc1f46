package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func init() {
	caddy.RegisterModule(new(JWT))
}

// JWT knows clients by JSON Web Tokens (RFC 7519) that are signed (RFC 7515),
// and ends their sessions when the token expires.
//
// The token is taken from where it is found first: the header Authorization
// (Bearer) of the frame CONNECT, its passcode if that looks like a token, the
// HTTP header Authorization (Bearer) of the handshake, the cookie, the query
// parameter. A SEND to /app/refresh may have it in its body instead.
type JWT struct {
	// Keys that tokens are signed with.
	Keys []JWTKey `json:"keys,omitempty"`

	// Where a set of public keys (JWKS, RFC 7517) is fetched from.
	JWKS *JWKS `json:"jwks,omitempty"`

	// The algorithms that are accepted, of HS256, HS384, HS512, RS256, RS384,
	// RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. Each key is
	// used with the algorithm that it names and no other. Default: for keys
	// that name none the usual one of their type: HS256, RS256, ES256, ES384 or
	// ES512 by the curve, EdDSA.
	Algorithms []string `json:"algorithms,omitempty"`

	// The issuers whose tokens are accepted (iss). Default: any.
	Issuer []string `json:"issuer,omitempty"`

	// The audiences of which a token must name one (aud). Default: any.
	Audience []string `json:"audience,omitempty"`

	// By how much clocks may differ. Default: 30s.
	Leeway *caddy.Duration `json:"leeway,omitempty"`

	// Whether tokens that never expire are accepted. Default: false.
	AllowNoExpiry bool `json:"allow_no_expiry,omitempty"`

	// The claim that is the user: a string or a number. Dots lead into
	// objects, if there is no claim of the whole name. Default: sub.
	UserClaim string `json:"user_claim,omitempty"`

	// The claims that become attributes. Strings are taken as they are,
	// everything else as JSON; without the claim the attribute is empty.
	Attributes []ClaimAttribute `json:"attributes,omitempty"`

	// The cookie that may have the token. Default: none.
	Cookie string `json:"cookie,omitempty"`

	// The query parameter that may have the token. The endpoint's requests
	// then appear in the access log without their query; other logs, of
	// handlers before this one or of proxies, may still have it.
	// Default: none.
	Query string `json:"query,omitempty"`

	logger   *slog.Logger
	accepted []jose.SignatureAlgorithm
	leeway   time.Duration
	keys     []verificationKey // of Keys
	remote   *keySet
	pooled   *keySetConfig
}

// maxToken is the longest token in bytes.
const maxToken = 8 << 10

const (
	defaultLeeway    = 30 * time.Second
	defaultUserClaim = "sub"
)

// CaddyModule implements [caddy.Module].
func (*JWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.authenticators.jwt", New: func() caddy.Module { return new(JWT) }}
}

// Provision implements [caddy.Provisioner]. It reads no file and dials nobody.
func (j *JWT) Provision(ctx caddy.Context) error {
	if err := j.Validate(); err != nil {
		return err
	}
	j.logger = ctx.Slogger()
	for _, name := range j.Algorithms {
		j.accepted = append(j.accepted, jose.SignatureAlgorithm(name))
	}
	j.leeway = defaultLeeway
	if j.Leeway != nil {
		j.leeway = time.Duration(*j.Leeway)
	}
	if j.UserClaim == "" {
		j.UserClaim = defaultUserClaim
	}
	for i := range j.Keys {
		if err := j.Keys[i].replace(); err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		key, err := j.Keys[i].inline(j.accepted)
		if err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		j.keys = append(j.keys, key...)
	}
	return j.takeKeySet()
}

// Start implements [Starter]: it reads the files, and begins to fetch the keys.
func (j *JWT) Start() error {
	for i, k := range j.Keys {
		if k.File == "" {
			continue
		}
		raw, err := os.ReadFile(k.File)
		if err == nil {
			var keys []verificationKey
			keys, err = parseKeyFile(raw, k.Algorithm, j.accepted)
			j.keys = append(j.keys, keys...)
		}
		if err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	if j.remote != nil {
		if u, err := parseJWKSURL(j.remote.url); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
			j.logger.Warn("keys are fetched without TLS: whoever is between can sign tokens", "host", u.Host)
		}
		j.remote.setLogger(j.logger)
		j.remote.warm()
	}
	return nil
}

// Cleanup implements [caddy.CleanerUpper].
func (j *JWT) Cleanup() error {
	if j.pooled == nil {
		return nil
	}
	_, err := keySets.Delete(*j.pooled)
	return err
}

// Validate implements [caddy.Validator].
func (j *JWT) Validate() error {
	if len(j.Keys) == 0 && j.JWKS == nil {
		return errors.New("jwt: no keys: expected key, key_file or jwks")
	}
	for _, name := range j.Algorithms {
		if !slices.Contains(signatureAlgorithms, jose.SignatureAlgorithm(name)) {
			return fmt.Errorf("jwt: algorithm %q is none of %v", name, signatureAlgorithms)
		}
	}
	for i := range j.Keys {
		if err := j.Keys[i].validate(); err != nil {
			return fmt.Errorf("jwt: key %d: %w", i+1, err)
		}
	}
	if j.Leeway != nil && *j.Leeway < 0 {
		return errors.New("jwt: leeway must not be negative")
	}
	if s := j.JWKS; s != nil && (s.Refresh < 0 || s.MinInterval < 0 || s.Timeout < 0) {
		return errors.New("jwt: jwks: durations must not be negative")
	}
	seen := make(map[string]bool)
	for _, a := range j.Attributes {
		if a.Name == "" || a.Claim == "" || seen[a.Name] {
			return fmt.Errorf("jwt: attribute %q: names must be unique, names and claims not empty", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// CredentialSources implements [CredentialSource].
func (j *JWT) CredentialSources() Sources {
	s := Sources{Authorization: true}
	if j.Cookie != "" {
		s.Cookies = []string{j.Cookie}
	}
	if j.Query != "" {
		s.Query = []string{j.Query}
	}
	return s
}

// Authenticate implements [Authenticator].
func (j *JWT) Authenticate(a *Attempt) (*Identity, error) {
	token := j.token(a)
	if token == "" {
		return nil, nil
	}
	if len(token) > maxToken {
		return nil, fmt.Errorf("the token has more than %d bytes", maxToken)
	}
	parsed, err := jwt.ParseSigned(token, signatureAlgorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, errors.New("malformed token, or an algorithm that is not accepted")
	}
	var known jwt.Claims
	var claims map[string]json.RawMessage
	if err := j.verify(parsed, &known, &claims); err != nil {
		return nil, err
	}
	return j.identity(&known, claims)
}

// token is what the client has presented, empty for nothing.
func (j *JWT) token(a *Attempt) string {
	for _, name := range []string{stomp.HeaderAuthorization, stomp.HeaderAuthorizationLower} {
		if t := bearer(a.Frame.Header.Get(name)); t != "" {
			return t
		}
	}
	if t := a.Frame.Header.Get(frame.HdrPasscode); likeToken(t) {
		return t
	}
	if a.Refreshes() {
		return string(bytes.TrimSpace(a.Frame.Body[:min(len(a.Frame.Body), maxToken+1)]))
	}
	c := a.Handshake.Credentials
	if c == nil {
		return ""
	}
	if t := bearer(c.Authorization); t != "" {
		return t
	}
	if t := c.Cookies[j.Cookie]; t != "" && j.Cookie != "" {
		return t
	}
	if j.Query == "" {
		return ""
	}
	return c.Query[j.Query]
}

// bearer is the token of an Authorization header (RFC 6750 section 2.1), empty if
// it is of another scheme.
func bearer(header string) string {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(header[len(scheme):])
}

// likeToken tells a token from a password: a JSON object in base64, and two
// dots.
func likeToken(s string) bool { return strings.HasPrefix(s, "ey") && strings.Count(s, ".") == 2 }

// verify checks the signature, and decodes the claims that it covers.
func (j *JWT) verify(token *jwt.JSONWebToken, into ...any) error {
	came, header := time.Now(), token.Headers[0]
	found, err := verifyWith(j.keys, token, into)
	if found || j.remote == nil {
		return err
	}
	keys := j.remote.current()
	if keys == nil {
		return fmt.Errorf("%w: there are no keys", ErrCredentialsUnchecked)
	}
	if found, err = verifyWith(keys, token, into); found || named(keys, header.KeyID) {
		return err
	}
	timeout := time.NewTimer(j.remote.timeout)
	defer timeout.Stop()
	for {
		var older error
		keys, older = j.remote.renewed(keys, came, timeout.C)
		found, err = verifyWith(keys, token, into)
		switch {
		case found || named(keys, header.KeyID):
			return err
		case errors.Is(older, errKeysOlder): // there may be others
		case errors.Is(older, errKeysFailed), older != nil && header.KeyID != "":
			return older
		default:
			return fmt.Errorf("%w (algorithm %s)", err, header.Algorithm)
		}
	}
}

var errSignature = errors.New("the signature is not that of a key")

// verifyWith tries the keys that the token may be signed with. It is not found if
// there is none, or if the token names none and none fits: another may come.
func verifyWith(keys []verificationKey, token *jwt.JSONWebToken, into []any) (found bool, err error) {
	header := token.Headers[0]
	for _, k := range keys {
		if header.KeyID != "" && k.id != "" && k.id != header.KeyID || !slices.Contains(k.algorithms, jose.SignatureAlgorithm(header.Algorithm)) {
			continue
		}
		if err := token.Claims(k.key, into...); err == nil {
			return true, nil
		} else if !errors.Is(err, jose.ErrCryptoFailure) {
			return true, errors.New("malformed claims or header")
		}
		found = found || header.KeyID != "" && k.id != ""
	}
	return found, errSignature
}

// named says whether a key has an id that a token names: then no other key is
// meant, whatever algorithm the token names with it.
func named(keys []verificationKey, id string) bool {
	return id != "" && slices.ContainsFunc(keys, func(k verificationKey) bool { return k.id == id })
}

// Interface guards
var (
	_ caddy.Provisioner  = (*JWT)(nil)
	_ caddy.Validator    = (*JWT)(nil)
	_ caddy.CleanerUpper = (*JWT)(nil)
	_ Authenticator      = (*JWT)(nil)
	_ CredentialSource   = (*JWT)(nil)
	_ Starter            = (*JWT)(nil)
)
