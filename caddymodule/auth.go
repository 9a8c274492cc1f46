package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Authenticator is implemented by the guest modules of the namespace
// stomp.authenticators, which know who a client is by the credentials that it
// presents.
type Authenticator interface {
	// Authenticate says who the client is. Nil without an error means that
	// there are no credentials of the kind that it knows: the next one is
	// asked. An error refuses the client; what the client is told depends on
	// whether [errors.Is] finds [ErrCredentialsExpired] or
	// [ErrCredentialsUnchecked], or [errors.As] a *[stomp.Error]. Its text goes
	// to the log, at DEBUG, and must not contain credentials.
	//
	// It is called on the reading goroutine of the session, from many of them
	// at the same time, and must return within seconds. The attempt is valid
	// during the call only.
	Authenticate(*Attempt) (*Identity, error)
}

// Attempt is what a client presents.
type Attempt struct {
	// Handshake is what is known of the client. It must not be changed. Its
	// Credentials are nil unless a [CredentialSource] asked for some, and when
	// a session is refreshed.
	Handshake *stomp.Handshake
	// Frame is CONNECT, or the SEND that refreshes a session.
	Frame *frame.Frame

	failures *failures
}

// Refreshes says that the attempt is to prolong a session that lives.
func (a *Attempt) Refreshes() bool { return a.Frame.Command == frame.Send }

// TooMany returns an error if the client's address has failed too often
// meanwhile: for an [Authenticator] that has waited, and is about to do what
// is expensive.
func (a *Attempt) TooMany() error {
	if a.failures.exhausted(a.Handshake.Address) {
		return stomp.Refuse("too many failed attempts, try again later")
	}
	return nil
}

// Identity is who a client has proved to be.
type Identity struct {
	// User is the authenticated name: 255 bytes of UTF-8 at most, without
	// control characters, not empty.
	User string
	// Attributes are facts about the user. They take the place of the
	// endpoint's of the same name. Values have 1024 bytes of UTF-8 at most,
	// without control characters.
	Attributes []stomp.Attribute
	// Expires is when the session ends unless it is refreshed; zero for never.
	Expires time.Time
}

// CredentialSource is implemented by an [Authenticator] that looks at the HTTP
// request of the handshake: only what is asked for is kept until CONNECT.
type CredentialSource interface {
	// CredentialSources says what is wanted. It is called after Provision.
	CredentialSources() Sources
}

// Sources are parts of an HTTP request.
type Sources struct {
	// Authorization is whether the header of that name is wanted.
	Authorization bool
	// Cookies are names of cookies.
	Cookies []string
	// Query are names of query parameters. Requests that have one of them
	// appear in Caddy's access log without their query.
	Query []string
}

// Starter is implemented by an [Authenticator] that opens files or dials when
// a configuration starts. An error refuses the configuration.
type Starter interface {
	Start() error
}

var (
	// ErrCredentialsExpired refuses credentials that were good once. It does
	// not count as a failed attempt.
	ErrCredentialsExpired = errors.New("credentials expired")
	// ErrCredentialsUnchecked says that it cannot be found out at the moment
	// whether credentials are good. The client is told to try again later.
	ErrCredentialsUnchecked = errors.New("credentials cannot be checked at the moment, try again later")
)

// AuthConfig configures who may connect.
type AuthConfig struct {
	// What knows who a client is by its credentials, in order: the first that
	// recognizes them decides. Default: whoever the handshake says.
	AuthenticatorsRaw []json.RawMessage `json:"authenticators,omitempty" caddy:"namespace=stomp.authenticators inline_key=authenticator"`

	// Whether clients without credentials may connect although there are
	// authenticators. Default: false.
	AllowAnonymous bool `json:"allow_anonymous,omitempty"`

	// How often a client address, or an IPv6 network of 64 bits, may fail.
	// Default: 10 times at once, and once a second.
	FailedAttempts *FailedAttempts `json:"failed_attempts,omitempty"`

	auth *authentication
}

// FailedAttempts bounds failed attempts of one address to authenticate.
type FailedAttempts struct {
	// How many may fail at once. Negative: no limit. Default: 10.
	Burst int `json:"burst,omitempty"`
	// How many may fail in a second in the long run. Default: 1.
	PerSecond float64 `json:"per_second,omitempty"`
}

func (c *AuthConfig) validate() error {
	if f := c.FailedAttempts; f != nil && f.PerSecond < 0 {
		return errors.New("failed_attempts: per_second must not be negative")
	}
	if len(c.AuthenticatorsRaw) > 0 {
		return nil
	}
	switch {
	case c.AllowAnonymous:
		return errors.New("allow_anonymous: everybody is allowed as long as there is no authenticate")
	case c.FailedAttempts != nil:
		return errors.New("failed_attempts: nothing can fail as long as there is no authenticate")
	}
	return nil
}

// provision loads the guests, which takes their configuration away.
func (c *AuthConfig) provision(ctx caddy.Context) error {
	names := make([]string, len(c.AuthenticatorsRaw))
	for i, raw := range c.AuthenticatorsRaw {
		var guest struct {
			Name string `json:"authenticator"`
		}
		if err := json.Unmarshal(raw, &guest); err != nil {
			return fmt.Errorf("authenticators: %w", err)
		}
		names[i] = guest.Name
	}
	if len(names) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(c, "AuthenticatorsRaw")
	if err != nil {
		return fmt.Errorf("authenticators: %w", err)
	}
	c.auth = &authentication{
		anonymous: c.AllowAnonymous, failures: newFailures(c.FailedAttempts), logger: ctx.Slogger(), access: accessLogger(ctx),
	}
	for i, guest := range loaded.([]any) {
		a, ok := guest.(Authenticator)
		if !ok {
			return fmt.Errorf("module stomp.authenticators.%s is no authenticator", names[i])
		}
		c.auth.add(names[i], a)
	}
	return nil
}

func (c *AuthConfig) start() error {
	if c.auth == nil {
		return nil
	}
	for _, a := range c.auth.authenticators {
		if s, ok := a.Authenticator.(Starter); ok {
			if err := s.Start(); err != nil {
				return fmt.Errorf("authenticate %s: %w", a.name, err)
			}
		}
	}
	return nil
}

// apply has the policy ask the authenticators.
func (c *AuthConfig) apply(p *stomp.Policy) {
	if c.auth == nil {
		return
	}
	p.Authenticator = c.auth
	// tokens are longer than other headers
	p.Limits.Frame.Named = maps.Clone(p.Limits.Frame.Named)
	for _, name := range credentialHeaders {
		p.Limits.Frame.Named[name] = max(maxToken+len("Bearer "), p.Limits.Frame.HeaderLine)
	}
}

// credentialHeaders are those of frames that may carry a token.
var credentialHeaders = []string{stomp.HeaderAuthorization, stomp.HeaderAuthorizationLower, frame.HdrPasscode}

// authentication implements [stomp.Authenticator] and [stomp.Refresher] by
// asking one authenticator after the other. Nil has none.
type authentication struct {
	authenticators []namedAuthenticator
	sources        Sources
	anonymous      bool
	failures       *failures
	logger         *slog.Logger
	access         accessLog
}

type namedAuthenticator struct {
	name string
	Authenticator
}

func (a *authentication) add(name string, guest Authenticator) {
	a.authenticators = append(a.authenticators, namedAuthenticator{name, guest})
	if s, ok := guest.(CredentialSource); ok {
		wanted := s.CredentialSources()
		a.sources.Authorization = a.sources.Authorization || wanted.Authorization
		a.sources.Cookies = append(a.sources.Cookies, wanted.Cookies...)
		a.sources.Query = append(a.sources.Query, wanted.Query...)
	}
}

// Authenticate implements [stomp.Authenticator].
func (a *authentication) Authenticate(hs *stomp.Handshake, connect *frame.Frame) (*stomp.Handshake, error) {
	name, id, err := a.ask(&Attempt{Handshake: hs, Frame: connect, failures: a.failures}, "")
	switch {
	case err != nil:
		return nil, err
	case id == nil && hs.User == "" && !a.anonymous:
		return nil, stomp.Refuse("credentials are missing")
	}
	known := *hs
	known.Credentials = nil
	if id != nil {
		known.User, known.Expires, known.Authenticator = id.User, id.Expires, name
		known.Attributes = merged(hs.Attributes, id.Attributes)
	}
	return &known, nil
}

// Refresh implements [stomp.Refresher]. The user must be the same, and so must be
// what is known of him, which the session keeps.
func (a *authentication) Refresh(hs *stomp.Handshake, f *frame.Frame) (time.Time, error) {
	if hs.Authenticator == "" {
		return time.Time{}, stomp.Refuse("this session has no credentials to refresh")
	}
	_, id, err := a.ask(&Attempt{Handshake: hs, Frame: f, failures: a.failures}, hs.Authenticator)
	switch {
	case err != nil:
		return time.Time{}, err
	case id == nil:
		return time.Time{}, stomp.Refuse("credentials are missing")
	case id.User != hs.User:
		return time.Time{}, stomp.Refuse("credentials are those of another user")
	case !slices.Equal(merged(hs.Attributes, id.Attributes), hs.Attributes):
		return time.Time{}, stomp.Refuse("credentials say something else about the user: connect again")
	}
	return id.Expires, nil
}

// ask asks the authenticators, all of them or those of a name, until one
// recognizes the credentials.
func (a *authentication) ask(attempt *Attempt, only string) (name string, id *Identity, err error) {
	if err := attempt.TooMany(); err != nil {
		return "", nil, err
	}
	for _, guest := range a.authenticators {
		if only != "" && guest.name != only {
			continue
		}
		id, err = guest.Authenticate(attempt)
		if err == nil && id != nil {
			err = id.check()
		}
		if err != nil {
			return "", nil, a.refuse(guest.name, attempt.Handshake, err)
		}
		if id != nil {
			return guest.name, id, nil
		}
	}
	return "", nil, nil
}

// refuse is what the client is told.
func (a *authentication) refuse(name string, hs *stomp.Handshake, err error) *stomp.Error {
	a.logger.Debug("credentials refused", "authenticator", name, "remote_addr", hs.RemoteAddr, "error", err)
	refusal, ok := errors.AsType[*stomp.Error](err)
	switch {
	case errors.Is(err, ErrCredentialsExpired):
		return stomp.Refuse("%s", ErrCredentialsExpired.Error())
	case errors.Is(err, ErrCredentialsUnchecked):
		return &stomp.Error{Message: ErrCredentialsUnchecked.Error(), Reason: stomp.ReasonInternalError, Code: 1013}
	case !ok:
		refusal = stomp.Refuse("credentials are not valid")
	}
	a.failures.count(hs.Address)
	return refusal
}

// Longest values of an [Identity], or of placeholders, in bytes.
const (
	maxUser           = 255
	maxAttributeValue = 1024
)

// check: what comes from credentials ends up in headers, destinations and logs.
func (id *Identity) check() error {
	if id.User == "" {
		return errors.New("no user")
	}
	if err := checkUser(id.User); err != nil {
		return err
	}
	for _, attribute := range id.Attributes {
		if !plain(attribute.Value, maxAttributeValue) {
			return fmt.Errorf("attribute %s is longer than %d bytes, or not plain text", attribute.Name, maxAttributeValue)
		}
	}
	return nil
}

func checkUser(user string) error {
	if !plain(user, maxUser) {
		return fmt.Errorf("the user is longer than %d bytes, or not plain text", maxUser)
	}
	return nil
}

// checkHandshake: a placeholder may be what the client wrote, of any length, and
// is kept for as long as the session.
func checkHandshake(hs *stomp.Handshake) error {
	err := checkUser(hs.User)
	for _, attribute := range hs.Attributes {
		if len(attribute.Value) > maxAttributeValue {
			err = fmt.Errorf("attribute %s is longer than %d bytes", attribute.Name, maxAttributeValue)
		}
	}
	if err != nil {
		return &stomp.Error{Message: err.Error(), Reason: stomp.ReasonPolicy, Code: stomp.ReasonPolicy.Code()}
	}
	return nil
}

func plain(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// merged are the attributes of the endpoint with those of the credentials.
func merged(endpoint, credentials []stomp.Attribute) []stomp.Attribute {
	if len(credentials) == 0 {
		return endpoint
	}
	all := slices.Clone(endpoint)
	for _, attribute := range credentials {
		i := slices.IndexFunc(all, func(a stomp.Attribute) bool { return a.Name == attribute.Name })
		if i < 0 {
			all = append(all, attribute)
		} else {
			all[i] = attribute
		}
	}
	return all
}

// Interface guards
var (
	_ stomp.Authenticator = (*authentication)(nil)
	_ stomp.Refresher     = (*authentication)(nil)
)
