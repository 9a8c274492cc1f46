package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// capture copies what the authenticators ask for, nil if it is nothing. What is
// longer than any token is not there.
func (a *authentication) capture(r *http.Request) *stomp.Credentials {
	if a == nil {
		return nil
	}
	var c stomp.Credentials
	found := false
	if a.sources.Authorization {
		if v := r.Header.Get("Authorization"); v != "" && len(v) <= maxToken+len("Bearer ") {
			c.Authorization, found = strings.Clone(v), true
		}
	}
	keep := func(into *map[string]string, name, value string) {
		if value == "" || len(value) > maxToken {
			return
		}
		if *into == nil {
			*into = make(map[string]string, 1)
		}
		(*into)[name], found = strings.Clone(value), true
	}
	for _, name := range a.sources.Cookies {
		if cookie, err := r.Cookie(name); err == nil {
			keep(&c.Cookies, name, cookie.Value)
		}
	}
	if len(a.sources.Query) > 0 {
		query := r.URL.Query()
		for _, name := range a.sources.Query {
			keep(&c.Query, name, query.Get(name))
		}
	}
	if !found {
		return nil
	}
	return &c
}
