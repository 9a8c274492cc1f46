package sockjs

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// xhrSend takes messages of a session: an array of strings, whatever the
// content type says.
func (h *Handler) xhrSend(w http.ResponseWriter, r *http.Request, key string) {
	s, body, ok := h.payload(w, r, key)
	if ok && receive(w, s, body) {
		noCache(w)
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.WriteHeader(http.StatusNoContent)
	}
}

// jsonpSend takes messages in a form's field d, or in the body.
func (h *Handler) jsonpSend(w http.ResponseWriter, r *http.Request, key string) {
	s, body, ok := h.payload(w, r, key)
	if !ok {
		return
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			serverError(w, "Broken form encoding.")
			return
		}
		body = []byte(form.Get("d"))
	}
	if receive(w, s, body) {
		noCache(w)
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		_, _ = io.WriteString(w, "ok")
	}
}

// payload finds the session of a request and reads its body, up to the largest
// message: only who knows a session makes the server hold one. The error has
// been answered if it cannot.
func (h *Handler) payload(w http.ResponseWriter, r *http.Request, key string) (*session, []byte, bool) {
	limited := http.MaxBytesReader(w, r.Body, h.config.WebSocket.MaxMessage)
	s := h.config.Sessions.find(key, h.owner(r))
	if s == nil {
		_, _ = io.Copy(io.Discard, limited) // so that the connection can be used again
		http.NotFound(w, r)
		return nil, nil, false
	}
	body, err := io.ReadAll(limited)
	if err == nil {
		return s, body, true
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		http.Error(w, "Payload too large.", http.StatusRequestEntityTooLarge)
	} else {
		http.Error(w, "Payload not readable.", http.StatusBadRequest)
	}
	return nil, nil, false
}

// receive gives a payload to its session. The error has been answered if it is
// none.
func receive(w http.ResponseWriter, s *session, body []byte) bool {
	if len(body) == 0 {
		serverError(w, "Payload expected.")
		return false
	}
	messages, err := decodePayload(body)
	if err != nil {
		serverError(w, "Broken JSON encoding.")
		return false
	}
	s.receive(messages)
	return true
}

func serverError(w http.ResponseWriter, text string) {
	http.Error(w, text, http.StatusInternalServerError)
}
