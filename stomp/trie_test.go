package stomp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomName makes destinations, and patterns if there is wild, that have a
// lot in common.
func randomName(r *rand.Rand, wild bool) string {
	segments := []string{"topic"}
	for range 1 + r.IntN(5) {
		s := []string{"a", "b", "ab", ""}[r.IntN(4)]
		if wild && r.IntN(3) == 0 {
			s = "*"
		}
		segments = append(segments, s)
	}
	if wild && r.IntN(3) == 0 {
		segments = append(segments, "**")
	}
	return "/" + strings.Join(segments, "/")
}

// naive is the definition: ** is any number of segments, * is one.
func naive(pattern, destination []string) bool {
	if len(pattern) == 0 {
		return len(destination) == 0
	}
	if pattern[0] == "**" {
		return true
	}
	return len(destination) > 0 && (pattern[0] == "*" || pattern[0] == destination[0]) && naive(pattern[1:], destination[1:])
}

func TestMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	yes := 0
	for range 20_000 {
		p, d := randomName(r, true), randomName(r, false)
		want := naive(strings.Split(p, "/"), strings.Split(d, "/"))
		if got := Matches(p, d); got != want {
			t.Fatalf("%q matches %q: %v", p, d, got)
		}
		if want {
			yes++
		}
	}
	if yes < 500 {
		t.Errorf("%d matches are not enough to say much", yes)
	}
}

// The trie finds what matches, whatever comes and goes, and is empty in the
// end.
func TestTrie(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		var w wildcards
		var all []*Subscription
		session := new(Session)
		for step := range 300 {
			if len(all) > 0 && r.IntN(5) < 2 {
				i := r.IntN(len(all))
				w.remove(all[i])
				all = slices.Delete(all, i, i+1)
			} else {
				sub := &Subscription{session: session, destination: randomName(r, true), id: fmt.Sprint(step)}
				w.add(sub)
				all = append(all, sub)
			}
			destination := randomName(r, false)
			found, want := make(map[*Subscription]int), make(map[*Subscription]int)
			w.match(destination, func(tp *topic) {
				for _, g := range tp.groups {
					for _, sub := range g.members {
						found[sub]++
					}
				}
			})
			for _, sub := range all {
				if Matches(sub.destination, destination) {
					want[sub] = 1
				}
			}
			if fmt.Sprint(found) != fmt.Sprint(want) {
				t.Fatalf("seed %d, step %d: %q reaches %d subscriptions, want %d", seed, step, destination, len(found), len(want))
			}
			if w.count.Load() != int64(len(all)) {
				t.Fatalf("%d counted, %d there", w.count.Load(), len(all))
			}
		}
		for _, sub := range all {
			w.remove(sub)
		}
		if !w.root.empty() || w.count.Load() != 0 {
			t.Errorf("seed %d: something is left", seed)
		}
	}
}

// What matches costs the same among 100 and 100,000 subscriptions to other
// destinations.
func BenchmarkMatch(b *testing.B) {
	for _, kind := range []string{"topics", "patterns"} {
		for _, others := range []int{100, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind, others), func(b *testing.B) {
				br := NewBroker(Config{})
				e := br.Endpoint("/", unlimited())
				reader := open(b, e, discard{})
				s := open(b, e, discard{})
				for i := range others {
					destination := fmt.Sprintf("/topic/%d/x/%d", i%1000, i)
					if kind == "patterns" {
						destination = fmt.Sprintf("/topic/%d/*/%d", i%1000, i)
					}
					sub := &Subscription{session: s, id: fmt.Sprint(i), destination: destination, kind: kindTopic}
					if kind == "topics" {
						br.topics.add(destination, sub)
					} else {
						br.wildcards.add(sub)
					}
				}
				destination := "/topic/7/y/7/one"
				if kind == "topics" {
					say(b, reader, "SUBSCRIBE\nid:1\ndestination:%s\n\n\x00", destination)
				} else {
					say(b, reader, "SUBSCRIBE\nid:1\ndestination:/topic/7/*/7/one\n\n\x00")
				}
				p := &publication{body: make([]byte, 100)}
				b.ReportAllocs()
				for b.Loop() {
					br.publish(destination, p)
				}
			})
		}
	}
}

// A destination that nobody listens to.
func BenchmarkPublishToNobody(b *testing.B) {
	br := NewBroker(Config{})
	s := open(b, br.Endpoint("/", unlimited()), discard{})
	for i := range 1000 {
		say(b, s, "SUBSCRIBE\nid:%d\ndestination:/topic/other/%d\n\n\x00", i, i)
	}
	message := []byte("SEND\ndestination:/topic/nobody\ncontent-length:100\n\n" + strings.Repeat("x", 100) + "\x00")
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Receive(message, false); err != nil {
			b.Fatal(err)
		}
	}
}
