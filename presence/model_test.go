package presence

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// The life of a registry as a whole: whatever happens to its sessions, its
// settings, its store and its process, in whatever order, the peers can rely
// on what doc.go promises. Reproduce a failure with the -rapid.seed or
// -rapid.failfile that it prints; -rapid.checks looks longer.
func TestModel(t *testing.T) {
	seen := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		first := drawSettings(rt)
		acts := rapid.SliceOfN(rapid.Custom(drawAct), 40, 200).Draw(rt, "acts")
		var err error
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(morning))
			m := newModel(t, first)
			defer m.stop()
			defer func() {
				for _, c := range m.log {
					seen[string(c.Type)+" "+c.ReasonName()]++
				}
			}()
			if err = m.perform(acts); err == nil {
				err = m.finish()
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	t.Logf("told: %v", seen)
	for _, what := range []string{
		"joined ", "updated ", "returned ", "unreachable connection-lost", "left connection-lost", "left server-crash", "left server-shutdown",
		"left policy", "left unsubscribed", "left disconnect", "left closed",
	} {
		if seen[what] == 0 && !t.Failed() {
			t.Errorf("never told: %s", what)
		}
	}
}

// act is something that happens. Who and N choose among what there is then.
type act struct {
	What string
	Who  int // of the tabs
	N    int
	Wait time.Duration // before the next act
}

var acts = []string{
	"connect", "connect", "connect", "register", "register", "join", "join", "part", "ask",
	"lose", "lose", "close", "disconnect", "silent", "resume", "resume", "resume", "resume slowly", "try slowly", "take over", "old token", "kick", "late end",
	"configure", "slow", "fast", "crash", "crash while writing", "restart", "pass",
	"receiver hangs", "receiver fails", "receiver rejects", "receiver works", "reload", "reload another", "reload another",
}

const tabs = 5

func drawAct(t *rapid.T) act {
	return act{
		What: rapid.SampledFrom(acts).Draw(t, "what"),
		Who:  rapid.IntRange(0, tabs-1).Draw(t, "who"),
		N:    rapid.IntRange(0, 5).Draw(t, "n"),
		Wait: rapid.SampledFrom([]time.Duration{-1, 0, 0, time.Millisecond, 300 * time.Millisecond, 3 * time.Second, 7 * time.Second, 40 * time.Second}).Draw(t, "wait"),
	}
}

func drawSettings(t *rapid.T) Settings {
	return Settings{
		Register: registerAt, Announce: announceAt, Rooms: rooms,
		Grace:               rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 30 * time.Second}).Draw(t, "grace"),
		GraceReasons:        rapid.SampledFrom([][]stomp.Reason{nil, {stomp.ReasonClosed, stomp.ReasonConnectionLost}}).Draw(t, "reasons"),
		AnnounceUnreachable: rapid.Bool().Draw(t, "announce unreachable"),
		RecoveryGrace:       20 * time.Second,
	}
}

// tab is a browser tab: it has a connection or not, and remembers its tokens.
type tab struct {
	client *client
	old    *client // the connection before
	id     string
	user   string
	token  string
	rooms  []int // the numbers of its subscriptions to rooms
	used   []string
}

// reader is a subscription to a roster, that of all or of a room.
type reader struct {
	client *client
	id     string
	room   string // "" for all
}

type model struct {
	t *testing.T
	*computer
	tabs    [tabs]tab
	witness *witness
	readers []reader
	number  int
	log     []Change          // what was told and is true, over all processes
	bySeq   map[uint64]string // what was told with a number
	deaths  map[string]death  // of whom a process that died has left behind
	before  int               // how many of told.all() were looked at
	wrong   error
	crashes int
	inbox   *inbox            // of a receiver that is told everything
	events  map[string]*Event // what was told, by id
	another *transient
	jumps   uint64 // crashes of which no number is above those set aside yet
}

// death is how a session must leave unless it returns.
type death struct {
	reason   stomp.Reason
	from, to time.Time
}

// witness sees that what is told is in the store by then.
type witness struct {
	*listener
	disk  *memoryStore
	early []string
}

func (w *witness) Changed(c Change) {
	if c.Seq > w.disk.seq() {
		w.early = append(w.early, fmt.Sprintf("seq %d, %s of %s, was told before it was in the store", c.Seq, c.Type, c.SessionID))
	}
	w.listener.Changed(c)
}

// admitAfter is a header of CONNECT: how long it takes to admit the client.
const admitAfter = "admit-after"

func (m *model) watch() {
	m.endpoint.SetPolicy(slowly(func(connect *frame.Frame) error {
		takes, _ := time.ParseDuration(connect.Header.Get(admitAfter))
		time.Sleep(takes)
		if connect.Header.Get("refuse") != "" {
			return stomp.Refuse("not you")
		}
		return nil
	}))
	m.witness = &witness{listener: m.told, disk: m.disk}
	m.registry.SetListener(m.witness)
}

func newModel(t *testing.T, settings Settings) *model {
	m := &model{t: t, bySeq: make(map[uint64]string), deaths: make(map[string]death), inbox: new(inbox), events: make(map[string]*Event), another: new(transient)}
	m.computer = &computer{disk: newMemoryStore(), settings: settings, logged: new(logLines)}
	m.announcers = m.configured()
	m.boot(t)
	m.watch()
	return m
}

func (m *model) stop() {
	m.store.hook(nil)
	m.registry.Close()
	cut(m.registry)
	m.server.close()
}

func (m *model) perform(acts []act) error {
	for i, a := range acts {
		m.do(a)
		if a.Wait >= 0 { // else the next follows while this is under way
			if a.Wait > 0 {
				time.Sleep(a.Wait)
			}
			synctest.Wait()
		}
		look := m.look
		if a.Wait >= 3*time.Second { // all is told
			look = m.compare
		}
		if err := look(); err != nil {
			return fmt.Errorf("after act %d, %+v: %w", i, a, err)
		}
	}
	return nil
}

func (m *model) do(a act) {
	tb := &m.tabs[a.Who]
	live := tb.client != nil
	switch a.What {
	case "connect":
		if live {
			return
		}
		m.number++
		*tb = tab{user: []string{"", "mina", "zoe"}[a.N%3]}
		var header []string
		if a.N >= 3 {
			header = []string{stomp.ClientDataHeader, fmt.Sprint(m.number)}
		}
		m.connectTab(tb, stomp.Handshake{SessionID: fmt.Sprintf("session-%04d", m.number), User: tb.user}, header...)
	case "try slowly": // somebody who has the token, and is refused
		if tb.token != "" {
			go m.dial(m.t, stomp.Handshake{User: tb.user}).connect(ResumeTokenHeader, tb.token, admitAfter, fmt.Sprint(3*a.N, "s"), "refuse", "1")
		}
	case "resume", "resume slowly", "take over", "old token":
		given := tb.token
		if a.What == "old token" {
			if len(tb.used) == 0 {
				return
			}
			given = tb.used[a.N%len(tb.used)]
		}
		if given == "" || live != (a.What == "take over") {
			return
		}
		var header []string
		if a.N == 5 {
			header = []string{stomp.ClientDataHeader, `"back"`}
		}
		if a.What == "resume slowly" {
			header = append(header, admitAfter, fmt.Sprint(3*a.N, "s"))
		}
		if given == tb.token {
			tb.used = append(tb.used, given)
		}
		was := tb.id
		if live {
			tb.old, tb.client = tb.client, nil
		}
		m.connectTab(tb, stomp.Handshake{User: tb.user}, append(header, ResumeTokenHeader, given)...)
		switch {
		case a.What == "old token" && m.crashes == 0 && tb.client != nil && tb.id == was:
			m.fail("%s was resumed with a token of before, %s of %q", was, given, tb.used)
		case a.What != "old token" && tb.client != nil && tb.id != was && m.registry.Get(was) != nil:
			m.fail("%s came back as %s, and is still there", was, tb.id)
		}
	case "register":
		if live {
			go tb.client.register(fmt.Sprintf(`{"clientData":{"n":%d}}`, m.crashes*1000+a.N)) // it may wait for the store
			synctest.Wait()
		}
	case "join":
		if live && !slices.Contains(tb.rooms, a.N) {
			tb.client.subscribe([]string{roomA, roomB}[a.N%2], fmt.Sprint("room", a.N))
			tb.rooms = append(tb.rooms, a.N)
		}
	case "part":
		if live && len(tb.rooms) > 0 {
			tb.client.unsubscribe(fmt.Sprint("room", tb.rooms[0]))
			tb.rooms = tb.rooms[1:]
		}
	case "ask":
		c := m.connectAs(m.t, stomp.Handshake{})
		room := []string{"", "", roomA, roomB}[a.N%4]
		c.subscribe(registerAt+room, "r")
		m.readers = append(m.readers, reader{c, "r", room})
	case "lose", "close", "disconnect", "silent":
		if !live {
			return
		}
		c := tb.client
		tb.old, tb.client = c, nil
		switch a.What {
		case "lose":
			c.hangUp(1006)
		case "close":
			c.hangUp(1001)
		case "disconnect":
			c.disconnect()
		case "silent":
			c.session.End(stomp.End{Reason: stomp.ReasonHeartBeatTimeout})
		}
	case "kick":
		if tb.id != "" {
			m.registry.Kick(tb.id, "")
			tb.client = nil
		}
	case "late end":
		if tb.old != nil && tb.old.server == m.server {
			m.registry.Ended(tb.old.session, stomp.End{Reason: stomp.ReasonDisconnect, At: time.Now()})
			if live && m.broker.Session(tb.id) == tb.client.session && m.registry.Register(tb.client.session, []byte(`"here"`)) != nil {
				m.fail("the late end of a connection of before was that of %s", tb.id)
			}
		}
	case "configure":
		m.settings.Grace = []time.Duration{0, 5 * time.Second, 30 * time.Second}[a.N%3]
		m.settings.AnnounceUnreachable = a.N >= 3
		m.configure(m.t, m.settings)
	case "slow":
		m.store.hook(func(*Batch) error { time.Sleep(50 * time.Millisecond); return nil })
	case "fast":
		m.store.hook(nil)
	case "receiver hangs":
		m.receiver(a.N).hangs()
	case "receiver fails":
		m.receiver(a.N).fails(errDown)
	case "receiver rejects":
		m.receiver(a.N).answers(func(_ context.Context, b EventBatch) error {
			if slices.ContainsFunc(b.Events, func(e *Event) bool { return e.Position%7 == 0 }) {
				return &RejectedError{Status: 422, Err: errDown}
			}
			return nil
		})
	case "receiver works":
		m.receiver(a.N).fails(nil)
		m.registry.RetryDead([]string{hookID, anotherID}[a.N%2])
	case "reload":
		m.reload()
	case "reload another":
		m.another.types = [][]Type{nil, {Joined, Left}, {Updated, Left}}[a.N%3]
		m.reload()
	case "crash while writing":
		for _, config := range m.announcers {
			config.Announcer.(*receiver).die()
		}
		// the batch under way is durable, and nobody has been told of it
		written := false
		m.store.hook(func(*Batch) error {
			if written {
				return errDead
			}
			written = true
			return nil
		})
		fallthrough
	case "crash":
		m.collect()
		died := time.Now()
		m.jumps++
		m.die()
		for id, encoded := range m.disk.records {
			k := decoded[Record](encoded)
			switch _, known := m.deaths[id]; {
			case known:
			case k.Lost != nil:
				m.deaths[id] = death{k.Lost.Reason, k.Lost.At, k.Lost.At}
			default:
				m.deaths[id] = death{stomp.ReasonServerCrash, died.Add(-5 * time.Second), died}
			}
		}
		m.reboot()
	case "restart":
		m.collect()
		died := time.Now()
		for _, s := range m.broker.Sessions() {
			m.deaths[s.ID()] = death{stomp.ReasonServerShutdown, died, died.Add(time.Second)}
		}
		m.exit()
		m.announcers = m.configured()
		m.collect()
		m.reboot()
	}
}

// connectTab connects a tab, which may be refused.
func (m *model) connectTab(tb *tab, hs stomp.Handshake, header ...string) {
	c := m.dial(m.t, hs)
	if c.connect(header...) != nil {
		return
	}
	tb.client, tb.id, tb.rooms = c, c.session.ID(), nil
	tb.token = token(m.registry.key, m.registry.Get(tb.id))
}

// reboot is the beginning of the next process.
func (m *model) reboot() {
	m.crashes++
	for i := range m.tabs {
		m.tabs[i].client, m.tabs[i].old = nil, nil
	}
	for _, r := range m.readers {
		if _, err := r.picture(m.t); err != nil {
			m.fail("reader of %q, until the process died: %w", r.room, err)
		}
	}
	m.readers = nil
	m.before = 0
	m.boot(m.t)
	m.watch()
}

// collect takes down what was told since the last time: what has a number is
// the same whenever it is told, and comes in order.
func (m *model) collect() {
	all := m.told.all()
	if len(m.witness.early) > 0 {
		m.fail("%s", m.witness.early[0])
	}
	for _, c := range all[m.before:] {
		if c.event != nil {
			m.events[c.event.ID()] = c.event
		}
		if c.Seq == 0 {
			continue
		}
		what := fmt.Sprint(c.Type, c.SessionID, c.Room, string(c.ClientData), c.UserSessions, c.ReasonName(), c.At.UnixNano())
		jumped, crashes := false, uint64(0)
		if len(m.log) > 0 {
			last := m.log[len(m.log)-1].Seq
			jumped, crashes = c.Seq != last+1, (c.Seq-last)/reserve
		}
		switch known, again := m.bySeq[c.Seq]; {
		case again && known != what:
			m.fail("seq %d was %s and is %s", c.Seq, known, what)
		case again && m.before == 0 && m.crashes > 0: // told again
		case jumped && (crashes < 1 || crashes > m.jumps): // or it goes back
			m.fail("seq %d after %d", c.Seq, m.log[len(m.log)-1].Seq)
		default:
			m.jumps -= crashes // what was kept, but not told before the crash, comes first
			m.bySeq[c.Seq] = what
			m.log = append(m.log, c)
			m.bury(&c)
		}
	}
	m.before = len(all)
}

// bury sees that a session that a dead process left behind leaves as it must.
func (m *model) bury(c *Change) {
	d, dead := m.deaths[c.SessionID]
	switch {
	case !dead || c.Room != "":
		return
	case c.Type == Left && c.Reason == stomp.ReasonPolicy: // kicked
	case c.Type == Left && (c.Reason != d.reason || c.At.Before(d.from) || c.At.After(d.to)):
		m.fail("%s left for %s at %v, want %s between %v and %v", c.SessionID, c.Reason, c.At, d.reason, d.from, d.to)
	}
	delete(m.deaths, c.SessionID)
}

func (m *model) fail(format string, args ...any) {
	if m.wrong == nil {
		m.wrong = fmt.Errorf(format, args...)
	}
}
