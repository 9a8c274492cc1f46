package caddymodule

import (
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// How many sessions a page has.
const (
	defaultPage = 100
	maxPage     = 1000
)

// sessionsPage is a page as the admin endpoint shows it.
type sessionsPage struct {
	Sessions []*presence.Session `json:"sessions"`
	Next     string              `json:"next,omitempty"` // the cursor of the next page
}

func listSessions(b *running, w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r, "limit", "user", "cursor")
	if err != nil {
		return err
	}
	l := presence.List{Limit: defaultPage, After: q.Get("cursor"), OfUser: q.Has("user"), User: q.Get("user")}
	if q.Has("limit") {
		if l.Limit, err = strconv.Atoi(q.Get("limit")); err != nil || l.Limit < 1 || l.Limit > maxPage {
			return failed(http.StatusBadRequest, "query: limit: expected a number from 1 to %d, not %.32q", maxPage, q.Get("limit"))
		}
	}
	page, err := b.registry.List(l)
	if err != nil {
		return failed(http.StatusBadRequest, "query: cursor: %w; it is the next of an earlier page", err)
	}
	return respond(w, http.StatusOK, sessionsPage(*page))
}

func showSession(b *running, w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	s := b.registry.Session(r.PathValue("id"))
	if s == nil {
		return noSession(r)
	}
	return respond(w, http.StatusOK, s)
}

// maxKickText is how many bytes of the operator's own words a kick may have: what
// fits into a close frame (RFC 6455 section 5.5).
const maxKickText = 123

// kickSession ends a session, whatever it is connected with and whether it is
// or not. The client reads the text in the ERROR frame and as the close reason.
func kickSession(b *running, w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r, "reason")
	if err != nil {
		return err
	}
	text := q.Get("reason")
	if len(text) > maxKickText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return failed(http.StatusBadRequest, "query: reason: expected one line of UTF-8, at most %d bytes", maxKickText)
	}
	if !b.registry.Kick(r.PathValue("id"), text) {
		return noSession(r)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func noSession(r *http.Request) error {
	return failed(http.StatusNotFound, "no session %.64q at broker %q", r.PathValue("id"), r.PathValue("name"))
}
