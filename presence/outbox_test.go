package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// An event says everything that the server knows, and nothing that is a key.
func TestEventJSON(t *testing.T) {
	connectedAt := time.Date(2030, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", 3600))
	view := &View{
		SessionID: "mina-0001", User: "mina", ClientData: json.RawMessage(`{"name":"<Mina>"}`), ConnectedAt: connectedAt,
		Attributes: []stomp.Attribute{{Name: "team", Value: "red", Public: true}, {Name: "ip", Value: "192.0.2.7"}},
		Broker:     "chat", Endpoint: "/ws", Transport: "websocket", Version: "1.2", RemoteAddr: "192.0.2.7:4711", Epoch: 2,
	}
	bare := &View{SessionID: "nobody-01", ConnectedAt: connectedAt, Broker: "chat", Endpoint: "/ws", Transport: "xhr-streaming", RemoteAddr: "192.0.2.7:4711", Epoch: 1}
	at := connectedAt.Add(90 * time.Second)
	common := `,"epoch":2,"broker":"chat","endpoint":"/ws","transport":"websocket","remoteAddr":"192.0.2.7:4711"`
	who := `,"sessionId":"mina-0001","user":"mina","clientData":{"name":"<Mina>"},"attributes":{"team":"red","ip":"192.0.2.7"},"connectedAt":"2030-01-02T02:04:05.678Z","at":"2030-01-02T02:05:35.678Z"`
	for _, tt := range []struct {
		name   string
		change Change
		want   string
	}{
		{"joined", Change{View: view, Type: Joined, Seq: 42, At: at, UserSessions: 1}, `{"id":"s-7","stream":"s","seq":42,"type":"joined"` + who + `,"userSessions":1` + common + `}`},
		{
			"left a room",
			Change{View: view, Type: Left, Room: "/topic/rooms/1", Seq: 43, At: at, Reason: stomp.ReasonConnectionLost, Code: 1006},
			`{"id":"s-7","stream":"s","seq":43,"type":"left","room":"/topic/rooms/1","reason":"connection-lost","code":1006,"clean":false,"connectedFor":90` + who + `,"userSessions":0` + common + `}`,
		},
		{"subscribed", Change{View: view, Type: Subscribed, At: at, Destination: "/topic/a"}, `{"id":"s-7","stream":"s","type":"subscribed","destination":"/topic/a"` + who + common + `}`},
		{
			"nobody knew it",
			Change{View: bare, Type: Left, At: at, Reason: stomp.ReasonDisconnect, Code: 1000},
			`{"id":"s-7","stream":"s","type":"left","sessionId":"nobody-01","reason":"disconnect","code":1000,"clean":true,"connectedFor":90,
			"connectedAt":"2030-01-02T02:04:05.678Z","at":"2030-01-02T02:05:35.678Z","epoch":1,"broker":"chat","endpoint":"/ws","transport":"xhr-streaming","remoteAddr":"192.0.2.7:4711"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvent("s", 7, &tt.change)
			if got, want := decoded[map[string]any](e.JSON()), decoded[map[string]any]([]byte(tt.want)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s\nwant\n%s", e.JSON(), tt.want)
			}
			kept := decoded[Event](encoded(e))
			if !reflect.DeepEqual(decoded[any](kept.JSON()), decoded[any](e.JSON())) || kept.ID() != e.ID() || kept.Type != e.Type || !kept.Since.Equal(e.Since) || !strings.Contains(string(e.JSON()), tt.change.SessionID) {
				t.Errorf("it comes back from a store as %s", kept.JSON())
			}
		})
	}
}

// Only what an announcer wants has a position.
func TestPositions(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		i := new(inbox)
		s.happen(t, 3)
		if p := s.registry.position; p != 0 {
			t.Errorf("position %d without announcers", p)
		}
		s.registry.SetAnnouncers([]AnnouncerConfig{i.config(DeliverySettings{Types: []Type{Left, Subscribed}})})
		defer cut(s.registry)
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		s.registry.TellSubscription(c.session, Subscribed, "/topic/a")
		s.registry.TellSubscription(c.session, Unsubscribed, "/topic/a")
		c.disconnect()
		s.registry.TellSubscription(c.session, Subscribed, "/topic/late")
		settle()
		var got []Type
		for _, try := range i.all() {
			for _, e := range try.Events {
				got = append(got, e.Type)
			}
		}
		if want := []Type{Subscribed, Left}; !slices.Equal(got, want) || s.registry.position != 2 {
			t.Errorf("told %v up to position %d, want %v", got, s.registry.position, want)
		}
		s.registry.SetAnnouncers(nil)(t.Context())
		s.happen(t, 3)
		if p := s.registry.position; p != 2 {
			t.Errorf("position %d without announcers any more", p)
		}
	})
}

// A reload with the same announcer keeps what waits for it; a call of before is
// cut off in time, and what it had comes again.
func TestReloadKeepsTheQueue(t *testing.T) {
	withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
		i.hangs()
		s.happen(t, 5)
		synctest.Wait()
		next := new(inbox)
		began := time.Now()
		settle := s.registry.SetAnnouncers([]AnnouncerConfig{next.config(DeliverySettings{Types: []Type{Joined}, Batch: 2})})
		s.happen(t, 1)
		settle(t.Context())
		if took := time.Since(began); took > callGrace {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		wantPositions(t, next, 1, 6)
		wantPositions(t, i, 1, 0)
		if st := s.status(t); st.State != StateOK || st.Pending != 0 {
			t.Errorf("afterwards %+v", st)
		}
	})
}

// An announcer that is gone is told what was left, in the time there is; the
// rest is dropped, and counted in the log.
func TestAnnouncerRemoved(t *testing.T) {
	for _, tt := range []struct {
		name    string
		heals   bool
		want    uint64
		dropped string
	}{{"it works", true, 5, ""}, {"it hangs", false, 0, "dropped=5"}} {
		t.Run(tt.name, func(t *testing.T) {
			withReceiver(t, DeliverySettings{}, func(t *testing.T, s *server, i *inbox) {
				log := new(logLines)
				s.registry.SetLogger(log.logger())
				i.fails(errDown)
				s.happen(t, 5)
				time.Sleep(time.Minute)
				synctest.Wait()
				i.hangs()
				if tt.heals {
					i.fails(nil)
				}
				other := new(inbox)
				settle := s.registry.SetAnnouncers([]AnnouncerConfig{another(other, Joined)})
				s.happen(t, 2) // not for the one that is gone
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				settle(ctx)
				if took := time.Since(began); took > 4*time.Second {
					t.Errorf("it took %v", took)
				}
				wantPositions(t, i, 1, tt.want)
				synctest.Wait()
				wantPositions(t, other, 6, 7)
				if logged := strings.Join(log.with("not configured any more"), ""); !strings.Contains(logged, tt.dropped) || (logged == "") != tt.heals {
					t.Errorf("logged %q", logged)
				}
				if st := s.status(t); st.ID != "other" {
					t.Errorf("it is still there: %+v", st)
				}
			})
		})
	}
}

// Without a store those who an exit ends are told of within the time there is.
func TestExitWithoutAStore(t *testing.T) {
	for _, tt := range []struct {
		name string
		down bool
	}{{"up", false}, {"down", true}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server) {
				log := new(logLines)
				s.registry.SetLogger(log.logger())
				i := new(inbox)
				s.registry.SetAnnouncers([]AnnouncerConfig{i.config(DeliverySettings{Types: []Type{Left}})})
				s.happen(t, 10)
				if tt.down {
					i.hangs()
				}
				for _, session := range s.broker.Sessions() {
					session.End(stomp.End{Reason: stomp.ReasonServerShutdown})
				}
				s.registry.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				s.registry.StopAnnouncers(ctx)
				want := 10
				if tt.down {
					want = 0
				}
				if got := len(i.positions()); got != want {
					t.Errorf("told %d", got)
				}
				if logged := log.with("dropped=10"); len(logged) > 0 != tt.down {
					t.Errorf("logged %q", logged)
				}
			})
		})
	}
}

// hookedComputer is a computer whose processes tell a receiver.
func hookedComputer(t *testing.T, settings DeliverySettings, test func(t *testing.T, c *computer, i *inbox)) {
	t.Helper()
	onComputer(t, Settings{RecoveryGrace: time.Second}, func(t *testing.T, c *computer) {
		i := new(inbox)
		c.crash() // and the next is told of the receiver
		c.announcers = []AnnouncerConfig{i.config(settings)}
		c.boot(t)
		test(t, c, i)
	})
}

// die crashes, and whatever the process still does arrives nowhere.
func (c *computer) die() {
	for _, a := range c.announcers {
		a.Announcer.(*receiver).die()
	}
	c.crash()
	for n, a := range c.announcers {
		before := a.Announcer.(*receiver)
		c.announcers[n].Announcer = &receiver{inbox: before.inbox, id: before.id}
	}
}

// An event is told when it is in the store, and not before; what was not told
// when the process died is told by the next, under the same id.
func TestEventsOutliveACrash(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined, Left}}, func(t *testing.T, c *computer, i *inbox) {
		g := c.store.gated()
		c.happen(t, 3)
		settle()
		if n := len(i.all()); n > 0 {
			t.Errorf("%d calls before the commit", n)
		}
		i.fails(errDown)
		close(g)
		settle()
		if n := len(i.all()); n == 0 || len(c.disk.events) != 3 {
			t.Errorf("%d calls, and %d events in the store", n, len(c.disk.events))
		}
		c.die()
		i.fails(nil)
		c.boot(t)
		synctest.Wait()
		wantPositions(t, i, 1, 3)
		time.Sleep(time.Minute) // they do not come back
		settle()
		wantPositions(t, i, 1, 6)
		reasons := decoded[map[string]any](i.taken[5].JSON())
		if (*reasons)["reason"] != "server-crash" || (*reasons)["type"] != "left" || (*reasons)["id"] != fmt.Sprintf("%s-%d", streamName, uint64(2*reserve+6)) {
			t.Errorf("the last is %s", i.taken[5].JSON())
		}
		if len(c.disk.events) != 0 || c.disk.meta.Position != 2*reserve+6 {
			t.Errorf("%d events remain in the store, at position %d", len(c.disk.events), c.disk.meta.Position)
		}
	})
}

// What was told some time before a crash is not told again, nor what was told
// before an exit.
func TestToldOnce(t *testing.T) {
	for _, exit := range []bool{false, true} {
		hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
			c.happen(t, 3)
			if exit {
				settle()
				if !c.exit() {
					t.Error("nothing was kept")
				}
				c.announcers[0] = i.config(c.announcers[0].DeliverySettings)
			} else {
				time.Sleep(2 * aliveEvery)
				settle()
				c.die()
			}
			c.boot(t)
			c.happen(t, 1)
			settle()
			wantPositions(t, i, 1, 4)
		})
	}
}

// An exit with a store does not wait for a receiver that hangs, and loses
// nothing.
func TestExitWithAStore(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined, Left}}, func(t *testing.T, c *computer, i *inbox) {
		i.hangs()
		c.happen(t, 3)
		settle()
		began := time.Now()
		c.exit()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		i.fails(nil)
		c.announcers[0] = i.config(c.announcers[0].DeliverySettings)
		c.boot(t)
		time.Sleep(time.Minute)
		settle()
		wantPositions(t, i, 1, 6)
	})
}

// Dead letters outlive a crash, and so does that they are to be tried again.
func TestDeadLettersOutliveACrash(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		i.answers(poisonous(2, 4))
		c.happen(t, 5)
		time.Sleep(2 * aliveEvery)
		settle()
		if len(c.disk.events) != 2 {
			t.Errorf("%d events in the store", len(c.disk.events))
		}
		c.die()
		c.boot(t)
		synctest.Wait()
		st := c.status(t)
		if len(st.Dead) != 2 || counted(st.Dead[0].Position) != 2 || st.Dead[1].Letter.Status != 400 || st.Pending != 0 {
			t.Errorf("after the crash: %+v", st)
		}
		i.fails(errDown)
		c.registry.RetryDead(hookID)
		c.happen(t, 1)
		time.Sleep(2 * aliveEvery)
		settle()
		c.die()
		i.fails(nil)
		c.boot(t)
		settle()
		if got, want := i.positions(), []uint64{1, 3, 5, 2, 4, 6}; !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		time.Sleep(2 * aliveEvery)
		settle()
		if len(c.disk.events) != 0 {
			t.Errorf("%d events remain in the store", len(c.disk.events))
		}
	})
}

// What waits in the store for an announcer of before is dropped, and counted in
// the log; a new one begins with what happens from now on.
func TestStoreOfAnotherConfiguration(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		i.fails(errDown)
		c.happen(t, 3)
		settle()
		c.die()
		other := new(inbox)
		c.announcers, c.logged = []AnnouncerConfig{another(other, Joined)}, new(logLines)
		c.boot(t)
		c.happen(t, 1)
		settle()
		wantPositions(t, other, 4, 4)
		if logged := c.logged.with("not configured any more"); len(logged) != 1 || !strings.Contains(logged[0], "dropped=3 dead_letters=0") || !strings.Contains(logged[0], hookID) {
			t.Errorf("logged %q", logged)
		}
		time.Sleep(2 * aliveEvery)
		settle()
		if len(c.disk.events) != 0 || len(c.disk.states) != 1 {
			t.Errorf("%d events and %d announcers remain", len(c.disk.events), len(c.disk.states))
		}
	})
}

// A store that fails stops no event; when it works again it has what waits.
func TestEventsWithoutTheStore(t *testing.T) {
	hookedComputer(t, DeliverySettings{Types: []Type{Joined}}, func(t *testing.T, c *computer, i *inbox) {
		c.store.hook(func(*Batch) error { return errDisk })
		c.happen(t, 2)
		settle()
		wantPositions(t, i, 1, 2)
		i.fails(errDown)
		c.happen(t, 3)
		settle()
		c.store.hook(nil)
		time.Sleep(2 * retryEvery)
		settle()
		if err := c.registry.Health(); err != nil || len(c.disk.events) != 3 {
			t.Errorf("%v, with %d events in the store", err, len(c.disk.events))
		}
		c.die()
		i.fails(nil)
		c.boot(t)
		synctest.Wait()
		wantPositions(t, i, 1, 5)
	})
}

// An event of a store that cannot be read is an error, not an event.
func TestEventThatIsNone(t *testing.T) {
	for _, raw := range []string{`{}`, `{"position":1}`, `{"event":{}}`, `7`, `{"position":-1,"event":{}}`} {
		if err := json.Unmarshal([]byte(raw), new(Event)); err == nil {
			t.Errorf("%s is taken", raw)
		}
	}
	if err := (DeliverySettings{Types: []Type{"parted"}}).Validate(); err == nil || !strings.Contains(err.Error(), "parted") {
		t.Errorf("error %v", err)
	}
	for _, s := range []DeliverySettings{{Batch: -1}, {BatchBytes: -1}, {Pending: -1}, {PendingBytes: -1}, {Timeout: -1}, {MaxAge: -1}} {
		if s.Validate() == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	rejected := &RejectedError{Err: errDown}
	for _, err := range []error{&RetryError{Err: errDown}, rejected, &GoneError{Err: errDown}} {
		if !errors.Is(err, errDown) || err.Error() != errDown.Error() {
			t.Errorf("%T hides what it is about", err)
		}
	}
}
