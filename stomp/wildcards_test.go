package stomp_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
	"github.com/caddy-stomp/caddy-stomp/stomp/stomptest"
)

// matchTable says which destinations a pattern reaches.
var matchTable = []struct {
	pattern string
	yes, no []string
}{
	{"/topic/*", []string{"/topic/a", "/topic/*a", "/topic/\u00e9"}, []string{"/topic/a/b", "/topic/a/"}},
	{"/topic/*/b", []string{"/topic/a/b", "/topic/b/b", "/topic//b"}, []string{"/topic/b", "/topic/a/c", "/topic/a/b/c", "/topic/a/a/b"}},
	{"/topic/a/*", []string{"/topic/a/b", "/topic/a/"}, []string{"/topic/a", "/topic/b/b", "/topic/a/b/c", "/topic/ab/c"}},
	{"/topic/*/*", []string{"/topic/a/b"}, []string{"/topic/a", "/topic/a/b/c"}},
	{"/topic/**", []string{"/topic/a", "/topic/a/b/c", "/topic/a/"}, nil},
	{"/topic/a/**", []string{"/topic/a", "/topic/a/b", "/topic/a/b/c", "/topic/a/"}, []string{"/topic/b", "/topic/ab", "/topic/b/a"}},
	{"/topic/*/**", []string{"/topic/a", "/topic/a/b", "/topic/a/b/c"}, nil},
	{"/topic/*/b/**", []string{"/topic/a/b", "/topic/a/b/c/d"}, []string{"/topic/b", "/topic/a/c"}},
}

// Wildcards are segments; parts of a segment are what they are.
func TestWildcards(t *testing.T) {
	for _, tt := range matchTable {
		t.Run(tt.pattern, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c, sender := w.client(t), w.client(t)
				c.Subscribe("1", tt.pattern)
				for _, d := range append(slices.Clone(tt.yes), tt.no...) {
					sender.Publish(d, d)
				}
				for _, d := range tt.yes {
					c.Expect(frame.Message, "subscription:1", "destination:"+d)
				}
				sender.Send(frame.Disconnect, "")
				synctest.Wait()
				c.Send(frame.Unsubscribe, "", "id:1", "receipt:gone")
				c.Expect(frame.Receipt) // nothing else came
				if !stomp.NoPatterns(w.Broker) {
					t.Error("something is left of the pattern")
				}
			})
		})
	}
}

// What is no wildcard is a plain name.
func TestNoWildcards(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		for _, d := range []string{"/topic/a*", "/topic/*a", "/topic/a**b", "/topic/***", "/topic/?", "/topic/#", "/topic/a.>"} {
			c.Subscribe(d, d)
			c.Publish(d, "x")
			c.Expect(frame.Message, "subscription:"+d)
			c.Publish("/topic/ab", "y")
			c.ExpectNothing()
		}
	})
}

// Each subscription that matches gets the message, once.
func TestWildcardsBesideOthers(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		for _, d := range []string{"/topic/a/b", "/topic/a/*", "/topic/*/b", "/topic/a/b/**", "/topic/a/**"} {
			c.Subscribe(d, d)
		}
		c.Subscribe("again", "/topic/a/*")
		c.Publish("/topic/a/b", "x")
		got, ids := make(map[string]int), make(map[string]bool)
		for _, f := range c.Sync() {
			got[f.Header.Get(frame.HdrSubscription)]++
			ids[f.Header.Get(frame.HdrMessageID)] = true
		}
		if len(got) != 6 || len(ids) != 6 {
			t.Errorf("messages by subscription %v, %d message-ids", got, len(ids))
		}
		c.Send(frame.Unsubscribe, "", "id:/topic/a/*")
		c.Publish("/topic/a/b", "x")
		if n := len(c.Sync()); n != 5 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestWildcardsRefused(t *testing.T) {
	for _, raw := range []string{
		"SUBSCRIBE\nid:1\ndestination:/topic/**/a\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/topic/**/**\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/topic/*/**/a\n\n\x00",
		"SEND\ndestination:/topic/*\n\nx\x00",
		"SEND\ndestination:/topic/a/**\n\nx\x00",
		"SEND\ndestination:/topic/**/a\n\nx\x00",
	} {
		t.Run(raw, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t)
				c.Raw(raw)
				c.ExpectError("*")
			})
		})
	}
}

// To topics only: there is no telling which queue such a consumer would be of.
func TestWildcardsAreForTopics(t *testing.T) {
	for _, raw := range []string{
		"SUBSCRIBE\nid:1\ndestination:/queue/*\n\n\x00",
		"SUBSCRIBE\nid:1\ndestination:/queue/**\n\n\x00",
		"SEND\ndestination:/queue/*\n\nx\x00",
		"SUBSCRIBE\nid:1\ndestination:/user/queue/*\n\n\x00",
	} {
		t.Run(raw, func(t *testing.T) {
			bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
				c := w.client(t)
				c.Raw(raw)
				c.ExpectError("*")
			})
		})
	}
}

// A session that ends takes its patterns along.
func TestWildcardsGoWithTheSession(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		c := w.client(t)
		for _, tt := range matchTable {
			c.Subscribe(tt.pattern, tt.pattern)
		}
		c.Abort()
		w.observer.NextEnd(t)
		if !stomp.NoPatterns(w.Broker) {
			t.Error("something is left")
		}
	})
}

// broadcast is a mounted feed that patterns reach.
type broadcast struct{ feed *stomp.Feed }

func (broadcast) Send(*stomp.Session, *frame.Frame) error { return stomp.Refuse("not here") }
func (b broadcast) Subscribe(*stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	return b.feed, nil, nil
}
func (b broadcast) Feed() *stomp.Feed { return b.feed }

// private is one that they do not reach.
type private struct{ b broadcast }

func (p private) Send(s *stomp.Session, f *frame.Frame) error { return p.b.Send(s, f) }
func (p private) Subscribe(s *stomp.Session) (*stomp.Feed, *stomp.Snapshot, error) {
	return p.b.Subscribe(s)
}

// A pattern reaches the mounts that are broadcasts, and no others, beside the
// topics that it reaches.
func TestWildcardsReachBroadcasts(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		presence, elsewhere, secret := stomp.NewFeed(stomp.FeedConfig{}), stomp.NewFeed(stomp.FeedConfig{}), stomp.NewFeed(stomp.FeedConfig{})
		w.SetMounts(mounts{
			"/topic/presence": broadcast{presence}, "/topic/else/where": broadcast{elsewhere}, "/topic/secret": private{broadcast{secret}},
		})
		c := w.client(t)
		c.Subscribe("1", "/topic/*")
		presence.Append(1, []byte("joined"))
		elsewhere.Append(1, []byte("no"))
		secret.Append(1, []byte("no"))
		f := expectBodies(t, c, "joined")[0]
		if f.Header.Get(frame.HdrDestination) != "/topic/presence" || f.Header.Get(frame.HdrSubscription) != "1" {
			t.Errorf("got %s", stomptest.Show(f))
		}
		c.Publish("/topic/a", "x")
		expectBodies(t, c, "x")
		c.Send(frame.Unsubscribe, "", "id:1", "receipt:1")
		c.Expect(frame.Receipt)
		presence.Append(2, []byte("left"))
		c.ExpectNothing()
		if n := presence.Readers() + elsewhere.Readers() + secret.Readers(); n != 0 {
			t.Errorf("%d readers are left", n)
		}
	})
}

// What a pattern with ack:client gets of a broadcast either needs no ACK, or
// its ACK is taken.
func TestWildcardsReachBroadcastsWithAck(t *testing.T) {
	bubble(t, stomp.Policy{}, func(t *testing.T, w *world) {
		feed := stomp.NewFeed(stomp.FeedConfig{})
		w.SetMounts(mounts{"/topic/presence": broadcast{feed}})
		c := w.client(t)
		consume(c, "1", "/topic/**", "client-individual")
		feed.Append(1, []byte("joined"))
		f := expectBodies(t, c, "joined")[0]
		if ack, ok := f.Header.Lookup(frame.HdrAck); ok {
			c.Send(frame.Ack, "", "id:"+ack, "receipt:1")
			c.Expect(frame.Receipt, "receipt-id:1")
		}
	})
}
