package caddymodule

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func init() {
	caddy.RegisterModule(new(Password))
}

// Password knows clients by login and passcode of CONNECT, as classic STOMP
// clients send them.
type Password struct {
	// The algorithm with which the passwords are hashed, as `caddy
	// hash-password` does. Default: bcrypt.
	HashRaw json.RawMessage `json:"hash,omitempty" caddy:"namespace=http.authentication.hashes inline_key=algorithm"`

	// The accounts. Placeholders in names and hashes are replaced.
	Accounts []caddyauth.Account `json:"accounts,omitempty"`

	hash     caddyauth.Comparer
	accounts []account
	byName   map[string]int
	key      []byte // random: decides what unknown users are compared with, and hides what passed

	mu     sync.Mutex
	passed map[[sha256.Size]byte]struct{}
}

type account struct {
	name string
	hash []byte
}

const (
	// hashWait is how long a client waits for its turn to be hashed.
	hashWait = 5 * time.Second
	// mostPassed is how many right passwords are remembered, hashed with a
	// random key: clients come back all at once.
	mostPassed = 1000
	// maxPasscode is the longest passcode in bytes.
	maxPasscode = 1024
)

// hashing bounds how many passwords the process hashes at the same time: each
// takes a core for up to a second, and argon2id 46 MiB.
var hashing = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// CaddyModule implements [caddy.Module].
func (*Password) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.authenticators.password", New: func() caddy.Module { return new(Password) }}
}

// Provision implements [caddy.Provisioner].
func (p *Password) Provision(ctx caddy.Context) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if p.HashRaw == nil {
		p.HashRaw = json.RawMessage(`{"algorithm":"bcrypt"}`)
	}
	guest, err := ctx.LoadModule(p, "HashRaw")
	if err != nil {
		return fmt.Errorf("password: hash: %w", err)
	}
	p.hash = guest.(caddyauth.Comparer)
	repl := caddy.NewReplacer()
	p.byName = make(map[string]int)
	for _, configured := range p.Accounts {
		a := account{name: repl.ReplaceKnown(configured.Username, "")}
		if a.hash, err = decodeHash(repl.ReplaceKnown(configured.Password, "")); err != nil {
			return fmt.Errorf("password: user %s: %w", a.name, err)
		}
		if _, known := p.byName[a.name]; known || a.name == "" {
			return fmt.Errorf("password: user %q: names must be unique and not empty", a.name)
		}
		if err := p.checkHash(a.hash); err != nil {
			return fmt.Errorf("password: user %s: %w", a.name, err)
		}
		p.byName[a.name] = len(p.accounts)
		p.accounts = append(p.accounts, a)
	}
	p.key = make([]byte, sha256.Size)
	if _, err := rand.Read(p.key); err != nil {
		return err
	}
	p.passed = make(map[[sha256.Size]byte]struct{})
	return nil
}

// decodeHash: what does not begin with $ is in base64, as in Caddy's basic_auth.
func decodeHash(s string) ([]byte, error) {
	if strings.HasPrefix(s, "$") {
		return []byte(s), nil
	}
	hash, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(hash) == 0 {
		return nil, errors.New("expected a hash as `caddy hash-password` prints it")
	}
	return hash, nil
}

// Validate implements [caddy.Validator].
func (p *Password) Validate() error {
	if len(p.Accounts) == 0 {
		return errors.New("password: expected users and the hashes of their passwords")
	}
	seen := make(map[string]bool)
	for _, a := range p.Accounts {
		if a.Username == "" || a.Password == "" || seen[a.Username] {
			return fmt.Errorf("password: user %q: names must be unique, names and hashes not empty", a.Username)
		}
		seen[a.Username] = true
	}
	return nil
}

// Authenticate implements [Authenticator].
func (p *Password) Authenticate(a *Attempt) (*Identity, error) {
	login, passcode := a.Frame.Header.Get(frame.HdrLogin), a.Frame.Header.Get(frame.HdrPasscode)
	if login == "" {
		return nil, nil
	}
	if len(login) > maxUser || len(passcode) > maxPasscode {
		return nil, errors.New("login or passcode is too long")
	}
	i, known := p.byName[login]
	if !known {
		i = p.decoy(login)
	}
	seal := p.seal(login, passcode)
	if known && p.hasPassed(seal) {
		return &Identity{User: login}, nil
	}
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
	case <-timer.C:
		return nil, fmt.Errorf("%w: too many passwords are waiting to be hashed", ErrCredentialsUnchecked)
	}
	if err := a.TooMany(); err != nil {
		return nil, err
	}
	same, err := p.hash.Compare(p.accounts[i].hash, []byte(passcode))
	if err != nil || !same || !known {
		return nil, errors.New("wrong login or passcode")
	}
	p.remember(seal)
	return &Identity{User: p.accounts[i].name}, nil
}

// checkHash: a hash of another algorithm would refuse its user for ever, and
// sooner than others.
func (p *Password) checkHash(hash []byte) (err error) {
	switch p.hash.(type) {
	case *caddyauth.BcryptHash, caddyauth.BcryptHash:
		_, err = bcrypt.Cost(hash)
	case *caddyauth.Argon2idHash, caddyauth.Argon2idHash:
		_, _, err = caddyauth.DecodeHash(hash)
	}
	return err
}

// decoy chooses an account for a user that there is not, always the same for a
// name: to find the password wrong then takes as long as for a user of the
// same hash.
func (p *Password) decoy(login string) int {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(login))
	return int(binary.BigEndian.Uint32(mac.Sum(nil)) % uint32(len(p.accounts))) //nolint:gosec // the accounts of a configuration
}

func (p *Password) seal(login, passcode string) (seal [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.key)
	mac.Write(bytes.Join([][]byte{[]byte("passed"), []byte(login), []byte(passcode)}, []byte{0})) // headers have no NUL
	copy(seal[:], mac.Sum(nil))
	return seal
}

func (p *Password) hasPassed(seal [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.passed[seal]
	return ok
}

func (p *Password) remember(seal [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.passed) >= mostPassed {
		for any := range p.passed {
			delete(p.passed, any)
			break
		}
	}
	p.passed[seal] = struct{}{}
}

// Interface guards
var (
	_ caddy.Provisioner = (*Password)(nil)
	_ caddy.Validator   = (*Password)(nil)
	_ Authenticator     = (*Password)(nil)
)
