package stomp

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// behind is a transport without room for what a feed has, which goes on with
// every write before that.
type behind struct {
	discard
	wrote func(bodies string)
	wait  chan struct{} // for room
}

func (w *behind) Write(batch []*Message) error {
	bodies := ""
	for _, m := range batch {
		bodies += string(m.Data[bytes.Index(m.Data, []byte("\n\n"))+2 : len(m.Data)-1])
	}
	if strings.HasPrefix(bodies, "change") {
		<-w.wait
	}
	w.wrote(bodies)
	return nil
}

type quickBehind struct{ *behind }

func (w quickBehind) TryWrite(batch []*Message) (int, bool, error) {
	if bytes.Contains(batch[0].Data, []byte("change")) {
		return 0, false, nil
	}
	return len(batch), false, w.Write(batch)
}

// What was written does not count while a feed waits for room behind it.
func TestFeedWaitsBehindWhatWasWritten(t *testing.T) {
	for name, of := range map[string]func(*behind) Transport{
		"by a worker":               func(w *behind) Transport { return quickBehind{w} },
		"by a goroutine of its own": func(w *behind) Transport { return w },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := NewBroker(Config{})
				p := unlimited()
				p.Limits.Pending = 1000
				e := b.Endpoint("/", p)
				feed := NewFeed(FeedConfig{})
				b.SetMounts(mounted{"/feed": feedMount{feed}})
				publish := func(body string) {
					if err := b.Publish("/topic/a", nil, []byte(body)); err != nil {
						t.Error(err)
					}
				}
				large, next := strings.Repeat("x", 700), strings.Repeat("y", 400) // too much together
				var got []string
				w := &behind{wait: make(chan struct{})}
				w.wrote = func(bodies string) {
					switch got = append(got, bodies); bodies {
					case "7": // the feeds are asked after the eighth
						publish(large)
					case large:
						feed.Append(1, []byte("change"))
					case "1", "2", "3", "4", "5", "6":
						publish(string(bodies[0] + 1))
					}
				}
				s := subscriber(t, e, of(w))
				synctest.Wait()
				say(t, s, "SUBSCRIBE\nid:2\ndestination:/feed\n\n\x00")
				got = nil
				publish("1")
				synctest.Wait()
				publish(next)
				synctest.Wait()
				close(w.wait)
				synctest.Wait()
				if want := []string{"1", "2", "3", "4", "5", "6", "7", large, "change", next}; !slices.Equal(got, want) {
					t.Errorf("got %.200q", got)
				}
			})
		})
	}
}
