package presence

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// modelDelivery gives nothing up.
var modelDelivery = DeliverySettings{Types: allEvents, Batch: 3, Timeout: 3 * time.Second}

// transient is a receiver that comes and goes, and is told now this and now that.
type transient struct {
	inbox
	types   []Type // of the next configuration; nil: it is in none
	reloads []reload
}

// reload is a configuration: what has a position up to before happened before it
// came in force, and what has one above after happened under it.
type reload struct {
	before, after uint64
	types         []Type
}

const anotherID = "other"

// configured are the announcers of the next configuration.
func (m *model) configured() []AnnouncerConfig {
	all := []AnnouncerConfig{m.inbox.config(modelDelivery)}
	if m.another.types != nil {
		config := another(&m.another.inbox, m.another.types...)
		config.Batch, config.Timeout = modelDelivery.Batch, modelDelivery.Timeout
		all = append(all, config)
	}
	return all
}

// receiver is one of the two.
func (m *model) receiver(n int) *inbox { return []*inbox{m.inbox, &m.another.inbox}[n%2] }

// reload puts what is configured in force, and lets go of what was before.
func (m *model) reload() {
	m.announcers = m.configured()
	r := reload{types: m.another.types, before: m.position()}
	settle := m.registry.SetAnnouncers(m.announcers)
	r.after = m.position()
	m.another.reloads = append(m.another.reloads, r)
	go func() {
		ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Second)
		defer cancel()
		settle(ctx)
	}()
}

func (m *model) position() uint64 {
	m.registry.mu.Lock()
	defer m.registry.mu.Unlock()
	return m.registry.position
}

// delivered: the receiver has everything that was told, in order but for what it
// rejected at first, and each event is the same each time that it comes.
func (m *model) delivered() error {
	bodies, err := m.inbox.bodies()
	if err != nil {
		return err
	}
	seqs := make(map[uint64]bool)
	for _, body := range bodies {
		seqs[decoded[struct{ Seq uint64 }]([]byte(body)).Seq] = true
	}
	for id := range m.events {
		if bodies[id] == "" {
			return fmt.Errorf("event %s was told to the listener, and not to the receiver", id)
		}
	}
	for _, c := range m.log {
		if !seqs[c.Seq] {
			return fmt.Errorf("seq %d, %s of %s, was not told to the receiver", c.Seq, c.Type, c.SessionID)
		}
	}
	return nil
}

// bodies is what a receiver was told, by id.
func (i *inbox) bodies() (map[string]string, error) {
	bodies := make(map[string]string)
	rejected := make(map[uint64]bool)
	for _, try := range i.all() {
		if _, ok := errors.AsType[*RejectedError](try.err); ok && len(try.Events) == 1 {
			rejected[try.Events[0].Position] = true
		}
	}
	last := uint64(0)
	for _, e := range i.taken {
		body := string(e.JSON())
		switch known, again := bodies[e.ID()]; {
		case again && known != body:
			return nil, fmt.Errorf("event %s was %s and is %s", e.ID(), known, body)
		case again:
			continue
		case e.Position < last && !rejected[e.Position]:
			return nil, fmt.Errorf("event %s came after %d", e.ID(), last)
		}
		last = max(last, e.Position)
		bodies[e.ID()] = body
	}
	return bodies, nil
}

// wanted says whether an event is for the receiver; nobody knows, for one that
// happened just when a configuration came in force.
func (r *transient) wanted(e *Event) (wanted, known bool) {
	i := len(r.reloads) - 1
	for i >= 0 && r.reloads[i].before >= e.Position {
		i--
	}
	if i < 0 {
		return false, true
	}
	return slices.Contains(r.reloads[i].types, e.Type), e.Position > r.reloads[i].after
}

var droppedIn = regexp.MustCompile(`announcer=` + anotherID + ` dropped=(\d+) dead_letters=(\d+)`)

// delivered: the receiver has what happened while it was configured, of what it
// wanted then, or it is counted in the log, and nothing else.
func (r *transient) delivered(events map[string]*Event, logged []string) error {
	bodies, err := r.bodies()
	if err != nil {
		return err
	}
	for _, e := range r.taken {
		if wanted, known := r.wanted(e); known && !wanted {
			return fmt.Errorf("event %s, %s, is not for it: %v", e.ID(), e.Type, r.reloads)
		}
	}
	missing, dropped := 0, 0
	for id, e := range events {
		if wanted, known := r.wanted(e); known && wanted && bodies[id] == "" {
			missing++
		}
	}
	for _, n := range droppedIn.FindAllStringSubmatch(strings.Join(logged, ""), -1) {
		for _, digits := range n[1:] {
			count, _ := strconv.Atoi(digits)
			dropped += count
		}
	}
	if missing > dropped {
		return fmt.Errorf("%d events are missing, and %d are counted in the log", missing, dropped)
	}
	return nil
}
