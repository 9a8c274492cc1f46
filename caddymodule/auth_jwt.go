package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
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

// JWTKey is a key that tokens are signed with: one of secret, public_key and
// file.
type JWTKey struct {
	// The only algorithm that it is used with, such as HS256. Optional for
	// files, whose keys may name it.
	Algorithm string `json:"algorithm,omitempty"`
	// The secret of HS256, HS384 or HS512: 32, 48 or 64 bytes at least, in
	// base64 if it begins with base64:. Placeholders are replaced.
	Secret string `json:"secret,omitempty"`
	// The public key or certificate, in PEM. Placeholders are replaced.
	PublicKey string `json:"public_key,omitempty"`
	// A file with a public key or certificates in PEM, a JWK or a JWKS. It is
	// read when the configuration starts.
	File string `json:"file,omitempty"`
}

// JWKS says where keys are fetched from.
type JWKS struct {
	// The URL. Redirects are not followed. Of the answer, 512 KiB at most,
	// symmetric keys are not used.
	URL string `json:"url"`
	// How old the keys may be before they are fetched anew, while those at
	// hand are used. After twice that time clients wait for a first try.
	// Default: 15m.
	Refresh caddy.Duration `json:"refresh,omitempty"`
	// How often they may be fetched, such as for tokens that name a key that
	// is not at hand. Default: 10s.
	MinInterval caddy.Duration `json:"min_interval,omitempty"`
	// How long a fetch may take, and a client wait for it. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// ClaimAttribute makes a claim an attribute.
type ClaimAttribute struct {
	// The name by which events, permissions and peers know it.
	Name string `json:"name"`
	// The claim. Dots lead into objects, if there is no claim of the whole
	// name.
	Claim string `json:"claim"`
	// Whether other clients are told. Default: false.
	Public bool `json:"public,omitempty"`
}

// maxToken is the longest token in bytes.
const maxToken = 8 << 10

const (
	defaultLeeway          = 30 * time.Second
	defaultUserClaim       = "sub"
	defaultJWKSRefresh     = 15 * time.Minute
	defaultJWKSMinInterval = 10 * time.Second
	defaultJWKSTimeout     = 5 * time.Second
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

// takeKeySet takes a reference to the set of keys in the pool.
func (j *JWT) takeKeySet() error {
	if j.JWKS == nil {
		return nil
	}
	address, err := caddy.NewReplacer().ReplaceOrErr(j.JWKS.URL, true, true)
	if err != nil {
		return fmt.Errorf("jwks: %w", err)
	}
	config := keySetConfig{
		url: address, algorithms: strings.Join(j.Algorithms, " "),
		refresh:     orDefault(j.JWKS.Refresh, defaultJWKSRefresh),
		minInterval: orDefault(j.JWKS.MinInterval, defaultJWKSMinInterval),
		timeout:     orDefault(j.JWKS.Timeout, defaultJWKSTimeout),
	}
	if _, err := parseJWKSURL(address); err != nil {
		return err
	}
	pooled, _, err := keySets.LoadOrNew(config, func() (caddy.Destructor, error) { return newKeySet(config, j.accepted), nil })
	if err != nil {
		return err
	}
	j.remote, j.pooled = pooled.(*keySet), &config
	return nil
}

func orDefault(d caddy.Duration, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return time.Duration(d)
}

func parseJWKSURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("jwks: expected a URL such as https://id.example.com/keys")
	}
	return u, nil
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

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
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

func (k *JWTKey) validate() error {
	given := 0
	for _, s := range []string{k.Secret, k.PublicKey, k.File} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("expected one of secret, public_key and file")
	case k.Algorithm == "" && k.File != "":
		return nil
	case !slices.Contains(signatureAlgorithms, jose.SignatureAlgorithm(k.Algorithm)):
		return fmt.Errorf("algorithm %q is none of %v", k.Algorithm, signatureAlgorithms)
	case strings.HasPrefix(k.Algorithm, "HS") != (k.Secret != "") && k.File == "":
		return fmt.Errorf("%s: a secret is for HS256, HS384 and HS512, a public key for the others", k.Algorithm)
	}
	return nil
}

// replace replaces placeholders.
func (k *JWTKey) replace() error {
	repl := caddy.NewReplacer()
	for _, s := range []*string{&k.Secret, &k.PublicKey, &k.File} {
		replaced, err := repl.ReplaceOrErr(*s, true, true)
		if err != nil {
			return err
		}
		*s = replaced
	}
	return k.validate()
}

// inline are the keys that are not in a file.
func (k *JWTKey) inline(accepted []jose.SignatureAlgorithm) ([]verificationKey, error) {
	switch {
	case k.Secret != "":
		secret, err := decodeSecret(k.Secret)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(fittingHMAC(len(secret)), jose.SignatureAlgorithm(k.Algorithm)) {
			return nil, fmt.Errorf("the secret is too short for %s: it needs as many bytes as the hash has, 32, 48 or 64", k.Algorithm)
		}
		key, err := newVerificationKey("", secret, k.Algorithm, accepted)
		return []verificationKey{key}, err
	case k.PublicKey != "":
		return parseKeyFile([]byte(k.PublicKey), k.Algorithm, accepted)
	default:
		return nil, nil
	}
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
	header := token.Headers[0]
	found, err := verifyWith(j.keys, token, into)
	if found || j.remote == nil {
		return err
	}
	keys := j.remote.current()
	if keys == nil {
		return fmt.Errorf("%w: there are no keys", ErrCredentialsUnchecked)
	}
	if found, err = verifyWith(keys, token, into); found {
		return err
	}
	renewed, failed := j.remote.renewed(keys)
	if failed != nil {
		return failed
	}
	if _, again := verifyWith(renewed, token, into); again != nil {
		return fmt.Errorf("%w (algorithm %s)", again, header.Algorithm)
	}
	return nil
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

// identity checks the claims, and makes of them what the session is to know.
func (j *JWT) identity(known *jwt.Claims, claims map[string]json.RawMessage) (*Identity, error) {
	if known.Expiry == nil && !j.AllowNoExpiry {
		return nil, errors.New("the token never expires")
	}
	if len(j.Issuer) > 0 && !slices.Contains(j.Issuer, known.Issuer) {
		return nil, jwt.ErrInvalidIssuer
	}
	err := known.ValidateWithLeeway(jwt.Expected{AnyAudience: j.Audience}, j.leeway)
	if errors.Is(err, jwt.ErrExpired) {
		return nil, ErrCredentialsExpired
	}
	if err != nil {
		return nil, err
	}
	id := new(Identity)
	user := findClaim(claims, j.UserClaim)
	if id.User = claimText(user); id.User == "" || user[0] != '"' && (user[0] < '0' || user[0] > '9') && user[0] != '-' {
		return nil, fmt.Errorf("claim %s is no string or number", j.UserClaim)
	}
	for _, a := range j.Attributes {
		id.Attributes = append(id.Attributes, stomp.Attribute{Name: a.Name, Value: claimText(findClaim(claims, a.Claim)), Public: a.Public})
	}
	if known.Expiry != nil {
		id.Expires = known.Expiry.Time().Add(j.leeway)
	}
	return id, nil
}

// findClaim finds a claim, nil if there is none.
func findClaim(claims map[string]json.RawMessage, name string) json.RawMessage {
	if value, ok := claims[name]; ok {
		return value
	}
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		var inner map[string]json.RawMessage
		if json.Unmarshal(claims[name[:i]], &inner) == nil && inner != nil {
			if value := findClaim(inner, name[i+1:]); value != nil {
				return value
			}
		}
	}
	return nil
}

// claimText is a claim as text: a string itself, everything else its JSON, empty for
// null.
func claimText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return ""
	}
	return compact.String()
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
