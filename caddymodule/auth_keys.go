package caddymodule

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

// signatureAlgorithms are those of JWTs that can be configured: "none" is not
// one of them.
var signatureAlgorithms = []jose.SignatureAlgorithm{
	jose.HS256, jose.HS384, jose.HS512, jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
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

// verificationKey is a key with the only algorithms that it is used with: who
// signs chooses none of them.
type verificationKey struct {
	id         string
	key        any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	algorithms []jose.SignatureAlgorithm
}

// Sizes of keys. An RSA key that is larger costs too much to verify with.
const (
	minRSABits = 2048
	maxRSABits = 8192
	// mostKeys is how many a set may have.
	mostKeys = 100
)

// newVerificationKey pins a key to algorithms: the one that it names, or those
// of accepted that its type has, or if there are none given its usual one.
func newVerificationKey(id string, key any, named string, accepted []jose.SignatureAlgorithm) (verificationKey, error) {
	var possible []jose.SignatureAlgorithm // the usual one first
	switch k := key.(type) {
	case []byte:
		possible = fittingHMAC(len(k))
		if len(possible) == 0 {
			return verificationKey{}, fmt.Errorf("a secret needs 32 bytes at least, this one has %d", len(k))
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return verificationKey{}, fmt.Errorf("an RSA key needs %d to %d bits, this one has %d", minRSABits, maxRSABits, n)
		}
		possible = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	case *ecdsa.PublicKey:
		byCurve := map[string]jose.SignatureAlgorithm{"P-256": jose.ES256, "P-384": jose.ES384, "P-521": jose.ES512}
		algorithm, ok := byCurve[k.Curve.Params().Name]
		if !ok {
			return verificationKey{}, fmt.Errorf("no algorithm for curve %s", k.Curve.Params().Name)
		}
		possible = []jose.SignatureAlgorithm{algorithm}
	case ed25519.PublicKey:
		possible = []jose.SignatureAlgorithm{jose.EdDSA}
	default:
		return verificationKey{}, fmt.Errorf("no algorithm for a key of type %T", key)
	}
	pinned := possible[:1]
	if named != "" {
		pinned = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(named)}
	} else if len(accepted) > 0 {
		pinned = accepted
	}
	pinned = slices.DeleteFunc(slices.Clone(pinned), func(a jose.SignatureAlgorithm) bool {
		return !slices.Contains(possible, a) || len(accepted) > 0 && !slices.Contains(accepted, a)
	})
	if len(pinned) == 0 {
		return verificationKey{}, fmt.Errorf("the key is not for an algorithm that is accepted; its type has %v", possible)
	}
	return verificationKey{id, key, pinned}, nil
}

// fittingHMAC: a secret is as long as the hash at least (RFC 7518 section 3.2).
func fittingHMAC(length int) (algorithms []jose.SignatureAlgorithm) {
	for _, a := range []struct {
		algorithm jose.SignatureAlgorithm
		length    int
	}{{jose.HS256, 32}, {jose.HS384, 48}, {jose.HS512, 64}} {
		if length >= a.length {
			algorithms = append(algorithms, a.algorithm)
		}
	}
	return algorithms
}

// parseKeySet reads a JWK or a JWKS (RFC 7517). Keys that are not for verifying
// signatures, or that it cannot use, are left out; there must be one. Secrets
// are left out unless they are allowed: a document that anybody can fetch has
// none.
func parseKeySet(raw []byte, secrets bool, accepted []jose.SignatureAlgorithm) ([]verificationKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("no JSON object")
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{raw}
	}
	if len(set.Keys) > mostKeys {
		return nil, fmt.Errorf("more than %d keys", mostKeys)
	}
	var keys []verificationKey
	why := errors.New("no keys")
	for _, one := range set.Keys {
		key, err := parseJWK(one, secrets, accepted)
		if err != nil {
			why = err
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key that can be used: %w", why)
	}
	return keys, nil
}

func parseJWK(raw []byte, secrets bool, accepted []jose.SignatureAlgorithm) (verificationKey, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return verificationKey{}, err
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return verificationKey{}, fmt.Errorf("the key is for use %q", jwk.Use)
	}
	key := jwk.Key
	if _, secret := key.([]byte); secret {
		if !secrets {
			return verificationKey{}, errors.New("a secret in a public document")
		}
	} else {
		key = jwk.Public().Key
	}
	return newVerificationKey(jwk.KeyID, key, jwk.Algorithm, accepted)
}

// parseKeyFile reads PEM (a public key or a certificate), a JWK or a JWKS.
func parseKeyFile(raw []byte, named string, accepted []jose.SignatureAlgorithm) ([]verificationKey, error) {
	if !strings.Contains(string(raw), "-----BEGIN ") {
		if named != "" {
			accepted = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(named)}
		}
		return parseKeySet(raw, true, accepted)
	}
	lines := strings.Split(string(raw), "\n") // indented in a Caddyfile
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	raw = []byte(strings.Join(lines, "\n"))
	var keys []verificationKey
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		public, err := parsePEM(block)
		if err != nil {
			return nil, err
		}
		key, err := newVerificationKey("", public, named, accepted)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("PEM without a key")
	}
	return keys, nil
}

func parsePEM(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	default:
		return nil, fmt.Errorf("PEM of type %q: expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type)
	}
}

// decodeSecret is a secret as it is written in a configuration.
func decodeSecret(s string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(s, "base64:")
	if !ok {
		return []byte(s), nil
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding, base64.RawStdEncoding, base64.URLEncoding} {
		if secret, err := e.DecodeString(encoded); err == nil {
			return secret, nil
		}
	}
	return nil, errors.New("the secret is not in base64, although it begins with base64")
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
