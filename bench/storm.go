//go:build linux

package main

import "fmt"

// storm measures what it costs that a crowd vanishes and everybody else is told.
// It is an error if anybody is told something that is not so.
func (b *bench) storm() error {
	cr, err := newCrowd(b.sessions)
	if err != nil {
		return err
	}
	defer cr.close()
	victims, survivors := cr.sessions[:b.victims], cr.sessions[b.victims:]
	some := min(100, len(survivors)) // all would take a minute of rosters
	if err := cr.watch(survivors[:some], "/app/presence"); err != nil {
		return err
	}
	if err := cr.told(b.sessions); err != nil {
		return err
	}
	if err := cr.follow(survivors[some:]); err != nil {
		return err
	}
	floor, err := newMirror(len(survivors))
	if err != nil {
		return err
	}
	defer floor.close()

	name := fmt.Sprintf("%d of %d vanish", b.victims, b.sessions)
	leave := row{Mode: "storm", Name: name, Unit: "ms CPU", To: "floor", Target: 2}
	took := row{Mode: "storm", Name: name + ": until the last is told", Unit: "ms", To: "floor"}
	again := row{Mode: "storm", Name: name + ": told to ask again", Unit: "sessions"}
	for i := range b.pairs {
		if i > 0 {
			if err := cr.back(victims); err != nil {
				return err
			}
		}
		ours, err := cr.measure(len(victims), func() error {
			for _, c := range victims {
				_ = c.socket.Close()
			}
			return nil
		})
		if err != nil {
			return err
		}
		resets, err := cr.pictures.check(cr.watchers, "left", victims)
		if err != nil {
			return err
		}
		its, err := floor.write(cr.order())
		if err != nil {
			return err
		}
		leave.Product, leave.Base = append(leave.Product, ms(ours.cpu)), append(leave.Base, ms(its.cpu))
		took.Product, took.Base = append(took.Product, ms(ours.took)), append(took.Base, ms(its.took))
		again.Product = append(again.Product, float64(resets))
	}
	b.results.add(leave)
	b.results.add(took)
	b.results.add(again)
	return nil
}

// back lets those come again who vanished.
func (cr *crowd) back(victims []*conn) error {
	done := make(chan error, 1)
	go func() {
		back, err := dialAll(len(victims), cr.target.registered)
		copy(victims, back)
		done <- err
	}()
	if err := cr.told(2 * len(victims)); err != nil { // reads meanwhile: the others are told
		return err
	}
	return <-done
}
