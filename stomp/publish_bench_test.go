//go:build unix

package stomp

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// What a message costs: to nobody, and to one among many, whether names or
// patterns, without and with the frame that it came in. In processor time too, which others on the
// machine leave as it is.
func BenchmarkPublish(b *testing.B) {
	const many = 100_000
	for _, bb := range []struct {
		name        string
		pattern     string // of the subscribers; "" for none
		subscribers int
		others      int
		other       string // what they subscribed to, with a number
	}{
		{"to nobody", "", 0, 0, ""},
		{"to nobody among 100,000", "", 0, many, "/topic/other/%d"},
		{"to nobody among 100,000 patterns", "", 0, many, "/topic/other/%d/*"},
		{"1 match among 100,000", "/topic/a", 1, many, "/topic/other/%d"},
		{"1 match among 100,000 patterns", "/topic/*", 1, many, "/topic/other/%d/**"},
		{"fan-out 1,000", "/topic/a", 1000, 0, ""},
	} {
		b.Run(bb.name, func(b *testing.B) {
			broker := newTestBroker(b)
			policy := unlimited()
			policy.PingTimeout = time.Hour // nobody says anything while others are measured
			e := broker.Endpoint("/", policy)
			for i := 0; i < bb.others; {
				s := open(b, e, discard{})
				for range 1000 {
					say(b, s, "SUBSCRIBE\nid:%d\ndestination:"+bb.other+"\n\n\x00", i, i)
					i++
				}
			}
			var written atomic.Int64
			for range bb.subscribers {
				s := open(b, e, sink{n: &written})
				say(b, s, "SUBSCRIBE\nid:1\ndestination:%s\n\n\x00", bb.pattern)
			}
			sender := open(b, e, discard{})
			header, body := frame.Header{{Name: "content-type", Value: "text/plain"}}, fmt.Appendf(nil, "%0128d", 0)
			send := fmt.Appendf(nil, "SEND\ndestination:/topic/a\ncontent-type:text/plain\n\n%0128d\x00", 0)
			measure := func(name string, do func() error) {
				b.Run(name, func(b *testing.B) {
					runtime.GC()
					b.ReportAllocs()
					before := cpu(b)
					for b.Loop() {
						if err := do(); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
				})
			}
			measure("publish", func() error { return broker.Publish("/topic/a", header, body) })
			measure("SEND", func() error { return sender.Receive(send, false) })
		})
	}
}
