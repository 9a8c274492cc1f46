package stomp

import (
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// A decision, with as many rules before the one that decides as an operator may
// write.
func BenchmarkAllows(b *testing.B) {
	rules := make([]Rule, 0, 21)
	for range 20 {
		rules = append(rules, Rule{Action: ActionSend, Patterns: []string{"/topic/{stomp.attribute.team}/private/**"}, Users: []string{"tom"}})
	}
	rules = append(rules, Rule{Allow: true, Action: ActionSend, Patterns: []string{"/topic/{stomp.user}/**"}})
	p, err := NewPermissions(rules)
	if err != nil {
		b.Fatal(err)
	}
	hs := &Handshake{User: "mina", Attributes: []Attribute{{Name: "team", Value: "red"}}}
	b.ReportAllocs()
	for b.Loop() {
		if !p.Allows(ActionSend, hs, "session-1", "/topic/mina/x") {
			b.Fatal("denied")
		}
	}
}

type passes struct{}

func (passes) Intercept(*Session, *frame.Frame) (bool, error) { return false, nil }

// sends is what SEND costs under a policy.
func sends(p Policy) testing.BenchmarkResult {
	return testing.Benchmark(func(b *testing.B) {
		p.Limits.FramesPerSecond = -1
		s := open(b, newTestBroker(b).Endpoint("/", p), discard{})
		frames := []byte("SEND\ndestination:/topic/nobody\n\nx\x00")
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Receive(frames, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// No rule and no interceptor cost nothing, and those that there are no
// allocation.
func TestRulesAndInterceptorsCostNoAllocation(t *testing.T) {
	without := sends(Policy{})
	p, err := NewPermissions([]Rule{{Allow: true, Action: ActionSend, Patterns: []string{"/topic/**"}}})
	if err != nil {
		t.Fatal(err)
	}
	with := sends(Policy{Permissions: p, Interceptors: []Interceptor{passes{}}})
	t.Logf("SEND to nobody: %d ns, with a rule and an interceptor %d ns: %.2f times as much",
		without.NsPerOp(), with.NsPerOp(), float64(with.NsPerOp())/float64(without.NsPerOp()))
	if with.AllocsPerOp() != without.AllocsPerOp() {
		t.Errorf("%d allocations with a rule and an interceptor, %d without", with.AllocsPerOp(), without.AllocsPerOp())
	}
}

// What is asked of every frame where no interceptor is configured, beside the
// whole frame: next to nothing.
func TestNoInterceptorCostsNothing(t *testing.T) {
	whole := sends(Policy{})
	s := open(t, newTestBroker(t).Endpoint("/", Policy{}), discard{})
	f := &frame.Frame{Command: frame.Send}
	asked := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if len(s.endpoint.Policy().Interceptors) > 0 && intercepted(f.Command) {
				b.Fatal("there is one")
			}
		}
	})
	ratio := float64(asked.T) / float64(asked.N) / (float64(whole.T) / float64(whole.N))
	t.Logf("%.4f of a SEND", ratio)
	if ratio > 0.1 {
		t.Errorf("asking costs %.2f of a SEND", ratio)
	}
}
