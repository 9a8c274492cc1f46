// Package wordfilter is an interceptor for caddy-stomp: it replaces words in
// what clients send to topics, and answers SEND to /app/words with the list of
// them.
//
// It shows all that an interceptor can do: pass, change, refuse and answer.
package wordfilter

import (
	"bytes"
	"errors"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stomp/caddy-stomp/caddymodule"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func init() {
	caddy.RegisterModule(new(WordFilter))
}

// WordFilter replaces words by asterisks.
type WordFilter struct {
	// The words, as they are written.
	Words []string `json:"words"`
	// How many of them a message may have before it is refused. Default: any
	// number.
	Most int `json:"most,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*WordFilter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stomp.interceptors.word_filter", New: func() caddy.Module { return new(WordFilter) }}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	word_filter <word>...
func (w *WordFilter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // word_filter
	w.Words = d.RemainingArgs()
	return w.Validate()
}

// Validate implements [caddy.Validator].
func (w *WordFilter) Validate() error {
	for _, word := range w.Words {
		if word == "" {
			return errors.New("word_filter: a word must not be empty")
		}
	}
	if len(w.Words) == 0 {
		return errors.New("word_filter: expected words")
	}
	return nil
}

// Intercept implements [caddymodule.Interceptor]. All sessions call it at the
// same time; frame and body are valid during the call only.
func (w *WordFilter) Intercept(s *stomp.Session, f *frame.Frame) (answered bool, err error) {
	if f.Command != frame.Send {
		return false, nil // pass
	}
	if f.Header.Get(frame.HdrDestination) == "/app/words" {
		// answer, as a message of the subscription that the client names
		if !s.Deliver(f.Header.Get("answer-to"), "/app/words", nil, []byte(strings.Join(w.Words, "\n"))) {
			return false, stomp.Refuse("answer-to: there is no such subscription")
		}
		return true, nil
	}
	found := 0
	for _, word := range w.Words {
		if n := bytes.Count(f.Body, []byte(word)); n > 0 {
			found += n
			// change: a new body, for the old one is not ours
			f.Body = bytes.ReplaceAll(f.Body, []byte(word), bytes.Repeat([]byte("*"), len(word)))
		}
	}
	if w.Most > 0 && found > w.Most {
		return false, stomp.Refuse("such words are not welcome here")
	}
	return false, nil
}

// Interface guards
var (
	_ caddymodule.Interceptor = (*WordFilter)(nil)
	_ caddy.Validator         = (*WordFilter)(nil)
	_ caddyfile.Unmarshaler   = (*WordFilter)(nil)
)
