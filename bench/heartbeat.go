//go:build linux

package main

import (
	"fmt"
	"time"
)

// heartBeat measures what share of a processor goes into heart-beats, 10 s both
// ways. Its floor reads and writes as many bytes as often, at the same time: of
// a tenth of the connections, ten times as often, as there are not enough file
// descriptors for both.
func (b *bench) heartBeat() error {
	const beat, fewer = 10 * time.Second, 10
	const window = 3 * time.Second // of one measurement
	c, err := startCaddy("http", "\tstomp /ws {"+endpointOptions+"\t}\n")
	if err != nil {
		return err
	}
	defer c.stop()
	f, err := startFloor()
	if err != nil {
		return err
	}
	defer f.stop()
	poll, err := newPoller()
	if err != nil {
		return err
	}
	defer poll.close()

	t := target{addr: c.addr, path: "/ws", beat: beat}
	began := time.Now()
	sessions, err := dialAll(b.sessions, func(i int) (*conn, error) { // all over the interval
		time.Sleep(time.Until(began.Add(beat * time.Duration(i) / time.Duration(b.sessions))))
		return t.newcomer(i)
	})
	if err != nil {
		return err
	}
	echoes, err := f.connect(b.sessions / fewer)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f.in, "echo"); err != nil {
		return err
	}
	beats := make([]beater, 0, 2)
	for _, conns := range [][]*conn{sessions, echoes} {
		for _, c := range conns {
			if err := poll.add(c); err != nil {
				return err
			}
		}
		interval := beat * time.Duration(len(conns)) / time.Duration(b.sessions)
		beats = append(beats, beater{conns: conns, each: interval / time.Duration(len(conns)), next: time.Now()})
	}
	r := row{Mode: "heart-beat", Name: fmt.Sprintf("%d sessions, 10 s both ways", b.sessions), Unit: "% of a processor", To: "floor", Target: 4, OfValue: true}
	for i := range b.pairs + 1 {
		ours, err := c.cpu()
		if err != nil {
			return err
		}
		its, err := f.cpu()
		if err != nil {
			return err
		}
		from, bytes := time.Now(), poll.bytes
		for time.Since(from) < window {
			time.Sleep(10 * time.Millisecond) // to be woken would be charged to who sends
			if err := poll.poll(0); err != nil {
				return err
			}
			for i := range beats {
				if err := beats[i].due(); err != nil {
					return err
				}
			}
		}
		took := time.Since(from)
		oursNow, err := c.cpu()
		if err != nil {
			return err
		}
		itsNow, err := f.cpu()
		if err != nil {
			return err
		}
		if i == 0 {
			continue // until it is steady
		}
		if got, want := poll.bytes-bytes, int64(2*3*b.sessions)*int64(window)/int64(beat); got < want*2/3 || got > want*3/2 {
			return fmt.Errorf("%d bytes of heart-beats came, not about %d", got, want)
		}
		r.pair(100*float64(oursNow-ours)/float64(took), 100*float64(itsNow-its)/float64(took))
	}
	b.results.add(r)
	return nil
}

// beater sends heart-beats, one after the other.
type beater struct {
	conns []*conn
	each  time.Duration
	next  time.Time
	at    int
}

func (b *beater) due() error {
	for ; !b.next.After(time.Now()); b.next = b.next.Add(b.each) {
		if err := b.conns[b.at].write(opText, []byte{'\n'}); err != nil {
			return err
		}
		b.at = (b.at + 1) % len(b.conns)
	}
	return nil
}
