package caddymodule

import (
	"net/http"
	"net/url"

	"github.com/caddy-stomp/caddy-stomp/presence"
)

// listWebhooks shows the announcers, webhooks and others. Their dead letters are
// no more than package presence keeps, so that there are no pages.
func listWebhooks(b *running, w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	return respond(w, http.StatusOK, b.registry.Announcers())
}

// retried is how many dead letters are tried again.
type retried struct {
	Retried int `json:"retried"`
}

// retryWebhooks has dead letters tried again, of one announcer or of all. They
// are told later than what happened after them.
func retryWebhooks(b *running, w http.ResponseWriter, r *http.Request) error {
	announcers, _, err := announcersOf(b, r)
	if err != nil {
		return err
	}
	var all retried
	for _, a := range announcers {
		n, _ := b.registry.RetryDead(a.ID)
		all.Retried += n
	}
	return respond(w, http.StatusOK, all)
}

// listDead shows the dead letters of one announcer or of all, with their events:
// as much as package presence keeps.
func listDead(b *running, w http.ResponseWriter, r *http.Request) error {
	announcers, _, err := announcersOf(b, r)
	if err != nil {
		return err
	}
	all := []presence.DeadEvent{}
	for _, a := range announcers {
		all = append(all, a.Dead...)
	}
	return respond(w, http.StatusOK, all)
}

// discarded is how many dead letters were thrown away.
type discarded struct {
	Discarded int `json:"discarded"`
}

// discardDead throws dead letters away, of one announcer or of all: each, or the
// one whose event is named.
func discardDead(b *running, w http.ResponseWriter, r *http.Request) error {
	announcers, q, err := announcersOf(b, r, "event")
	if err != nil {
		return err
	}
	event := q.Get("event")
	if q.Has("event") && event == "" { // it would be all
		return failed(http.StatusBadRequest, "query: event: expected the id of an event")
	}
	var all discarded
	for _, a := range announcers {
		n, _ := b.registry.DiscardDead(a.ID, event)
		all.Discarded += n
	}
	if event != "" && all.Discarded == 0 {
		return failed(http.StatusNotFound, "no dead letter %.256q at broker %q", event, b.broker.Name())
	}
	return respond(w, http.StatusOK, all)
}

// announcersOf are the announcer that the query names, or all, and the query,
// which may have other parameters.
func announcersOf(b *running, r *http.Request, parameters ...string) ([]presence.AnnouncerStatus, url.Values, error) {
	q, err := queryOf(r, append(parameters, "id")...)
	if err != nil {
		return nil, nil, err
	}
	announcers := b.registry.Announcers()
	if !q.Has("id") {
		return announcers, q, nil
	}
	for _, a := range announcers {
		if a.ID == q.Get("id") {
			return []presence.AnnouncerStatus{a}, q, nil
		}
	}
	return nil, nil, failed(http.StatusNotFound, "no webhook %.256q at broker %q", q.Get("id"), b.broker.Name())
}
