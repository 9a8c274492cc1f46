package caddymodule

import (
	"net/http"
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
	q, err := queryOf(r, "id")
	if err != nil {
		return err
	}
	var all retried
	if q.Has("id") {
		n, ok := b.registry.RetryDead(q.Get("id"))
		if !ok {
			return failed(http.StatusNotFound, "no webhook %.256q at broker %q", q.Get("id"), b.broker.Name())
		}
		all.Retried = n
		return respond(w, http.StatusOK, all)
	}
	for _, a := range b.registry.Announcers() {
		n, _ := b.registry.RetryDead(a.ID)
		all.Retried += n
	}
	return respond(w, http.StatusOK, all)
}
