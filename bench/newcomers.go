//go:build linux

package main

import (
	"fmt"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// newcomers measures what it costs that all ask at once who is there. It is an
// error if anybody is told something that is not so.
func (b *bench) newcomers() error {
	cr, err := newCrowd(b.curious)
	if err != nil {
		return err
	}
	defer cr.close()
	floor, err := newMirror(b.curious)
	if err != nil {
		return err
	}
	defer floor.close()
	for _, c := range cr.sessions {
		cr.watchers = append(cr.watchers, cr.pictures.watch(c))
		if err := cr.poller.add(c); err != nil {
			return err
		}
	}
	r := row{Mode: "newcomers", Name: fmt.Sprintf("%d ask for the roster", b.curious), Unit: "ms CPU", To: "floor"}
	for range b.pairs {
		ours, err := cr.measure(b.curious, func() error {
			return cr.send(cr.sessions, frame.Subscribe, frame.Field{Name: "destination", Value: "/app/presence"})
		})
		if err != nil {
			return err
		}
		if _, err := cr.pictures.check(cr.watchers, "", cr.sessions); err != nil {
			return err
		}
		its, err := floor.write(cr.order())
		if err != nil {
			return err
		}
		r.Product, r.Base = append(r.Product, ms(ours.cpu)), append(r.Base, ms(its.cpu))
		if err := cr.send(cr.sessions, frame.Unsubscribe); err != nil {
			return err
		}
	}
	b.results.add(r)
	return nil
}
