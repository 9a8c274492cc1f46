package websocket

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Origins is a policy on the Origin header (RFC 6454), which browsers send
// with every WebSocket handshake and every request of a script: which pages
// may connect. It is one for all transports of an endpoint. A nil *Origins
// allows the same origin only.
//
// A request without an Origin is allowed: it does not come from a page, and
// other clients can write into the header what they like.
type Origins struct {
	any      bool
	patterns []originPattern
}

type originPattern struct {
	text               string // as it was written
	scheme, host, port string
	subdomains         bool // of host, not host itself
}

// ParseOrigins reads a list of origins such as "https://example.com",
// "https://*.example.com" (any subdomain), "http://localhost:3000", or "*" for
// any, which must stand alone. The same origin is always allowed. No patterns
// means that no other is.
func ParseOrigins(patterns ...string) (*Origins, error) {
	o := &Origins{}
	for _, p := range patterns {
		if p == "*" {
			if len(patterns) > 1 {
				return nil, fmt.Errorf("origin * allows every page: it stands alone")
			}
			o.any = true
			continue
		}
		parsed, err := parseOrigin(p)
		if err != nil {
			return nil, err
		}
		o.patterns = append(o.patterns, parsed)
	}
	return o, nil
}

func parseOrigin(p string) (originPattern, error) {
	u, err := url.Parse(strings.Replace(p, "://*.", "://", 1))
	if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil ||
		strings.Contains(u.Host, "*") {
		return originPattern{}, fmt.Errorf("origin %q: expected scheme://host[:port], scheme://*.host[:port] or *", p)
	}
	return originPattern{
		text:   p,
		scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: portOf(u),
		subdomains: strings.Contains(p, "://*."),
	}, nil
}

// Any says whether every page may connect.
func (o *Origins) Any() bool { return o != nil && o.any }

// Patterns are the allowed origins as they were written, none for the same
// origin only, or any.
func (o *Origins) Patterns() []string {
	if o == nil {
		return nil
	}
	texts := make([]string, 0, len(o.patterns))
	for _, p := range o.patterns {
		texts = append(texts, p.text)
	}
	return texts
}

// Allow decides about a request.
func (o *Origins) Allow(r *http.Request) bool {
	values := r.Header["Origin"]
	if len(values) == 0 || o.Any() {
		return true
	}
	if len(values) > 1 {
		return false
	}
	u, err := url.Parse(values[0])
	if err != nil || u.Host == "" {
		return false // "null" too: a sandboxed frame, a file
	}
	if sameOrigin(u, r) {
		return true
	}
	if o == nil {
		return false
	}
	host, port := strings.ToLower(u.Hostname()), portOf(u)
	for _, p := range o.patterns {
		if p.scheme != strings.ToLower(u.Scheme) || p.port != port {
			continue
		}
		if p.host == host && !p.subdomains || p.subdomains && strings.HasSuffix(host, "."+p.host) {
			return true
		}
	}
	return false
}

// sameOrigin compares host and port. Without TLS the scheme is left out: behind
// a proxy that ends TLS the server does not know it.
func sameOrigin(origin *url.URL, r *http.Request) bool {
	if r.TLS != nil && !strings.EqualFold(origin.Scheme, "https") {
		return false
	}
	return strings.EqualFold(origin.Host, r.Host) ||
		strings.EqualFold(origin.Hostname()+":"+portOf(origin), r.Host) ||
		strings.EqualFold(origin.Host, strings.TrimSuffix(r.Host, ":"+portOf(origin)))
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "https", "wss":
		return "443"
	case "http", "ws":
		return "80"
	}
	return ""
}
