// Package authenticator is an example of an authenticator for the stomp
// directive: clients present an API key, in the header api-key of CONNECT or, of
// programs that cannot set it, in the HTTP header Authorization.
//
//	stomp /ws {
//		authenticate api_key {
//			file /etc/keys
//		}
//	}
//
// Each line of the file is a user and the SHA-256 sum of the user's key in hex,
// as `printf %s "$KEY" | sha256sum` prints it.
package authenticator

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/caddymodule"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(new(APIKey)) // xcaddy build --with this package is all that it takes
}

// APIKey knows users by keys that were given to them.
type APIKey struct {
	// The file with the users and the sums of their keys.
	File string `json:"file"`

	users map[[sha256.Size]byte]string
}

// CaddyModule implements [caddy.Module]. The last part of the ID is what stands
// behind `authenticate` in a Caddyfile.
func (*APIKey) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.authenticators.api_key", New: func() caddy.Module { return new(APIKey) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	api_key {
//		file <path>
//	}
func (a *APIKey) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // api_key
	for d.NextBlock(0) {
		if d.Val() != "file" || !d.Args(&a.File) || d.NextArg() {
			return d.Errf("api_key: expected file <path>, got %q", d.Val())
		}
	}
	return nil
}

// Validate implements [caddy.Validator]. It is called for a Caddyfile, too, so
// that the error names the line.
func (a *APIKey) Validate() error {
	if a.File == "" {
		return errors.New("api_key: expected a file")
	}
	return nil
}

// Start implements [caddymodule.Starter]. Files are not opened in Provision:
// `caddy validate` touches nothing.
func (a *APIKey) Start() error {
	file, err := os.Open(a.File)
	if err != nil {
		return err
	}
	defer file.Close()
	a.users = make(map[[sha256.Size]byte]string)
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		var sum [sha256.Size]byte
		if len(fields) != 2 || len(fields[1]) != hex.EncodedLen(len(sum)) {
			return fmt.Errorf("%s, line %d: expected a user and a SHA-256 sum", a.File, n)
		}
		if _, err := hex.Decode(sum[:], []byte(fields[1])); err != nil {
			return fmt.Errorf("%s, line %d: %w", a.File, n, err)
		}
		a.users[sum] = fields[0]
	}
	return lines.Err()
}

// CredentialSources implements [caddymodule.CredentialSource]. Nothing of the
// HTTP request is kept until CONNECT that was not asked for.
func (*APIKey) CredentialSources() caddymodule.Sources {
	return caddymodule.Sources{Authorization: true}
}

// Authenticate implements [caddymodule.Authenticator].
func (a *APIKey) Authenticate(attempt *caddymodule.Attempt) (*caddymodule.Identity, error) {
	key := attempt.Frame.Header.Get("api-key")
	if c := attempt.Handshake.Credentials; key == "" && c != nil {
		key, _ = strings.CutPrefix(c.Authorization, "ApiKey ")
		if key == c.Authorization {
			key = "" // of another scheme
		}
	}
	if key == "" {
		return nil, nil // the next authenticator may know the client
	}
	// looked up by its sum: how long that takes says nothing about the key
	user, ok := a.users[sha256.Sum256([]byte(key))]
	if !ok {
		return nil, errors.New("no user has the key") // for the log; the client is told that it is not valid
	}
	return &caddymodule.Identity{
		User:       user,
		Attributes: []stomp.Attribute{{Name: "signed_in_by", Value: "api_key"}},
	}, nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler        = (*APIKey)(nil)
	_ caddy.Validator              = (*APIKey)(nil)
	_ caddymodule.Authenticator    = (*APIKey)(nil)
	_ caddymodule.CredentialSource = (*APIKey)(nil)
	_ caddymodule.Starter          = (*APIKey)(nil)
)
