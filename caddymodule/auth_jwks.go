package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

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

const (
	defaultJWKSRefresh     = 15 * time.Minute
	defaultJWKSMinInterval = 10 * time.Second
	defaultJWKSTimeout     = 5 * time.Second
)

// keySets are the documents of keys that configurations use, by what they are
// fetched for: they outlive reloads.
var keySets = caddy.NewUsagePool()

// keySetConfig says where keys are, and how they are fetched. It is the key of
// a set in the pool.
type keySetConfig struct {
	url                           string
	algorithms                    string // accepted, as text
	refresh, minInterval, timeout time.Duration
}

// maxKeySet bounds the document in bytes.
const maxKeySet = 512 << 10

// keySet is a JWKS that is fetched over HTTP. The keys that it has are used until
// others have come: whatever goes wrong with a fetch changes nothing.
type keySet struct {
	keySetConfig
	accepted []jose.SignatureAlgorithm
	client   *http.Client
	ctx      context.Context // of all fetches
	cancel   context.CancelFunc

	mu       sync.Mutex
	logger   *slog.Logger
	keys     []verificationKey
	fetched  time.Time     // when keys came last; zero: never
	began    time.Time     // when the fetch of them did
	tried    time.Time     // when a fetch began last
	fetching chan struct{} // closed when the fetch is over; nil: none
	failed   bool          // the last fetch
}

func newKeySet(c keySetConfig, accepted []jose.SignatureAlgorithm) *keySet {
	k := &keySet{keySetConfig: c, accepted: accepted, logger: slog.Default()}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.client = &http.Client{
		Timeout:       c.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: c.timeout}).DialContext,
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true, // one request in many minutes
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return k
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

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// Destruct implements [caddy.Destructor].
func (k *keySet) Destruct() error {
	k.cancel()
	return nil
}

func (k *keySet) setLogger(l *slog.Logger) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logger = l
}

// warm begins to fetch the keys if there are none.
func (k *keySet) warm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.fetch()
	}
}

// current are the keys at hand. It waits for a fetch, for the timeout at most,
// only if there are none, or if they are very old and nobody has tried since.
func (k *keySet) current() (keys []verificationKey) {
	k.mu.Lock()
	age := time.Since(k.fetched)
	if age > k.refresh {
		k.fetch()
	}
	keys, fetching := k.keys, k.fetching
	wait := keys == nil || age > 2*k.refresh && !k.failed
	k.mu.Unlock()
	if fetching == nil || !wait {
		return keys
	}
	<-fetching // ends after the client's timeout
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys
}

var (
	errKeysFailed = fmt.Errorf("%w: the keys could not be fetched", ErrCredentialsUnchecked)
	// errKeysFresh: a key that a token names may have come since.
	errKeysFresh = fmt.Errorf("%w: the keys were fetched just before, and are not fetched again so soon", ErrCredentialsUnchecked)
	// errKeysOlder: the same, and there may be others.
	errKeysOlder = fmt.Errorf("%w: the keys are of a fetch that was under way", ErrCredentialsUnchecked)
)

// renewed are the keys after a fetch, when those at hand, seen by the caller,
// have turned out not to do for a token that came at some time. With an error,
// one of the above, they are of a fetch that began before.
func (k *keySet) renewed(seen []verificationKey, came time.Time, timeout <-chan time.Time) ([]verificationKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stale(seen) && k.began.Before(came) {
		k.fetch()
		fetching := k.fetching
		switch {
		case fetching != nil:
		case k.failed:
			return k.keys, errKeysFailed
		default:
			return k.keys, errKeysFresh
		}
		k.mu.Unlock()
		select {
		case <-fetching:
		case <-timeout: // another was under way, and this one takes too long
		}
		k.mu.Lock()
		if k.stale(seen) {
			return k.keys, errKeysFailed
		}
	}
	if k.began.Before(came) {
		return k.keys, errKeysOlder
	}
	return k.keys, nil
}

// stale says that the keys are still those that were seen.
func (k *keySet) stale(seen []verificationKey) bool {
	return len(k.keys) == len(seen) && (len(seen) == 0 || &k.keys[0] == &seen[0])
}

// fetch begins a fetch, unless one is under way or was begun just before. k.mu
// is held.
func (k *keySet) fetch() {
	if k.fetching != nil || time.Since(k.tried) < k.minInterval {
		return
	}
	began := time.Now()
	k.tried = began
	done := make(chan struct{})
	k.fetching = done
	go func() {
		defer close(done)
		keys, err := k.get()
		k.mu.Lock()
		defer k.mu.Unlock()
		k.fetching, k.failed = nil, err != nil
		if err != nil {
			if k.ctx.Err() == nil {
				k.logger.Warn("fetching keys failed, those at hand are used", "host", k.host(), "keys", len(k.keys), "error", err)
			}
			return
		}
		k.keys, k.fetched, k.began = keys, time.Now(), began
		k.logger.Debug("fetched keys", "host", k.host(), "keys", len(keys))
	}()
}

// host is what a log may have of the URL.
func (k *keySet) host() string {
	u, err := url.Parse(k.url)
	if err != nil {
		return ""
	}
	return u.Host
}

func (k *keySet) get() (keys []verificationKey, err error) {
	defer func() {
		if v := recover(); v != nil { // what parses the answer is not ours
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	request, err := http.NewRequestWithContext(k.ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "caddy-stomp")
	response, err := k.client.Do(request)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the URL
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with status %d; redirects are not followed", response.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	switch {
	case err != nil:
		return nil, err
	case len(raw) > maxKeySet:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxKeySet)
	}
	return parseKeySet(raw, false, k.accepted)
}
