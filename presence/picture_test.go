package presence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

// What a client reads, written down apart from the types that the package
// writes it with.
type (
	page struct {
		Stream   string `json:"stream"`
		Seq      uint64 `json:"seq"`
		More     *bool  `json:"more"`
		Sessions []fact `json:"sessions"`
	}
	fact struct {
		SessionID  string          `json:"sessionId"`
		User       string          `json:"user"`
		ClientData json.RawMessage `json:"clientData"`
		State      string          `json:"state"`
	}
	news struct {
		fact
		Stream       string    `json:"stream"`
		Seq          uint64    `json:"seq"`
		Type         string    `json:"type"`
		Room         string    `json:"room"`
		Reason       string    `json:"reason"`
		At           time.Time `json:"at"`
		UserSessions *int      `json:"userSessions"`
	}
)

// picture is what a client that follows the rules makes of what a subscription
// of the register destination tells it: the roster, then every change after
// it. It is strict: whatever comes twice, is missing or has no place is an
// error.
type picture struct {
	gaps     bool // seq may leave numbers out: other scopes have them
	room     bool // a session may join again
	whole    bool // the roster is complete
	reset    bool // a reset came: nothing is known any more
	pages    int
	changes  int
	seq      uint64
	sessions []fact // in the order in which they were told
	left     map[string]bool

	roster    []fact // as it came
	rosterSeq uint64
}

func (p *picture) take(body []byte) error {
	if p.reset {
		return fmt.Errorf("after a reset: %.100s", body)
	}
	if len(body) > 0 && body[0] == '[' {
		return p.takeChanges(body)
	}
	return p.takePage(body)
}

func (p *picture) takePage(body []byte) error {
	var pg page
	if err := strictly(body, &pg); err != nil {
		return err
	}
	switch {
	case pg.Stream != streamName:
		return fmt.Errorf("stream %q", pg.Stream)
	case p.whole:
		return fmt.Errorf("a page after the last one: %.100s", body)
	case pg.More == nil:
		return fmt.Errorf("more is missing: %.100s", body)
	case p.pages > 0 && pg.Seq != p.seq:
		return fmt.Errorf("pages of different seq, %d and %d", p.seq, pg.Seq)
	}
	p.pages++
	p.seq, p.whole = pg.Seq, !*pg.More
	p.sessions = append(p.sessions, pg.Sessions...)
	p.roster, p.rosterSeq = slices.Clone(p.sessions), pg.Seq
	return nil
}

func (p *picture) takeChanges(body []byte) error {
	var all []news
	if err := strictly(body, &all); err != nil {
		return err
	}
	if !p.whole {
		return fmt.Errorf("changes before the roster is complete: %.100s", body)
	}
	for _, n := range all {
		if n.Stream != streamName {
			return fmt.Errorf("stream %q", n.Stream)
		}
		if n.Type == "reset" {
			if n.Seq < p.seq {
				return fmt.Errorf("reset to %d after %d", n.Seq, p.seq)
			}
			p.reset, p.seq = true, n.Seq
			continue
		}
		if n.Seq <= p.seq || n.Seq > p.seq+1 && !p.gaps {
			return fmt.Errorf("seq %d after %d", n.Seq, p.seq)
		}
		p.seq = n.Seq
		p.changes++
		if err := p.change(n); err != nil {
			return fmt.Errorf("seq %d: %w", n.Seq, err)
		}
	}
	return nil
}

func (p *picture) change(n news) error {
	i := slices.IndexFunc(p.sessions, func(e fact) bool { return e.SessionID == n.SessionID })
	switch {
	case p.left[n.SessionID] && !p.room:
		return fmt.Errorf("%s %s after it left", n.SessionID, n.Type)
	case (i >= 0) == (n.Type == "joined"):
		return fmt.Errorf("%s %s, of which was known: %v", n.SessionID, n.Type, i >= 0)
	}
	switch n.Type {
	case "joined":
		p.sessions = append(p.sessions, n.fact)
	case "updated", "returned":
		p.sessions[i] = n.fact
	case "unreachable":
		if n.ClientData == nil { // it may be a compact one
			n.ClientData = p.sessions[i].ClientData
		}
		p.sessions[i] = n.fact
		p.sessions[i].State = "unreachable"
	case "left":
		p.sessions = slices.Delete(p.sessions, i, i+1)
		if p.left == nil {
			p.left = make(map[string]bool)
		}
		p.left[n.SessionID] = true
	default:
		return fmt.Errorf("type %q", n.Type)
	}
	return nil
}

// sameAs says how the picture differs from what the registry holds.
func (p *picture) sameAs(views []*View) error {
	if !p.whole {
		return fmt.Errorf("the roster never was complete: %d pages", p.pages)
	}
	return same(p.sessions, views)
}

func same(facts []fact, views []*View) error {
	if len(facts) != len(views) {
		return fmt.Errorf("%d sessions, the registry has %d", len(facts), len(views))
	}
	for i, v := range views {
		f := facts[i]
		if f.SessionID != v.SessionID || f.User != v.User || !bytes.Equal(f.ClientData, v.ClientData) || (f.State == "unreachable") != v.Unreachable {
			return fmt.Errorf("at %d: %s %q %s, the registry has %s %q %s", i, f.SessionID, f.User, f.ClientData, v.SessionID, v.User, v.ClientData)
		}
	}
	return nil
}

// asOf is the roster after the change with that seq, by what the listener was
// told.
func asOf(changes []Change, seq uint64) []*View {
	var views []*View
	for _, c := range changes {
		at := slices.IndexFunc(views, func(v *View) bool { return v.SessionID == c.SessionID })
		switch {
		case c.Seq == 0 || c.Seq > seq:
		case c.Type == Joined:
			views = append(views, c.View)
		case (c.Type == Updated || c.Type == Unreachable || c.Type == Returned) && at >= 0:
			views[at] = c.View
		case c.Type == Left && at >= 0:
			views = slices.Delete(views, at, at+1)
		}
	}
	return views
}

func takeAll(bodies [][]byte) (*picture, error) {
	p := new(picture)
	for i, body := range bodies {
		if err := p.take(body); err != nil {
			return p, fmt.Errorf("message %d: %w", i, err)
		}
	}
	return p, nil
}

// picture is what the client knows from a subscription.
func (c *client) picture(t testing.TB, subscription string) *picture {
	t.Helper()
	p, err := takeAll(c.bodies(t, subscription))
	if err != nil {
		t.Fatalf("%s: %v", c.session.ID(), err)
	}
	return p
}

// wantRight: the client's picture is the registry's.
func (s *server) wantRight(t testing.TB, c *client, subscription string) {
	t.Helper()
	p := c.picture(t, subscription)
	if p.reset {
		t.Fatalf("%s: got a reset", c.session.ID())
	}
	if err := p.sameAs(s.roster()); err != nil {
		t.Fatalf("%s: %v", c.session.ID(), err)
	}
}

// news are the changes that a subscription was told.
func (c *client) news(t testing.TB, subscription string) []news {
	t.Helper()
	var all []news
	for _, body := range c.bodies(t, subscription) {
		if body[0] != '[' {
			continue
		}
		var some []news
		if err := strictly(body, &some); err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

// strictly decodes one JSON value and nothing after it.
func strictly(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	return nil
}
