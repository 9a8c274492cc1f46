package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

const twoBrokers = `{
	$GLOBAL
	stomp {
		broker shared
	}
}

http://localhost:$PORT {
	metrics /metrics
	stomp /one {
		name one
		broker shared
	}
	stomp /two {
		name two
		broker shared
	}
	stomp /own {
		name own
	}
}
`

// gather reads our metrics as Caddy's registry has them: name{label="value"}.
// The registry is a pedantic one and fails if they are inconsistent.
func gather(t *testing.T) (values map[string]float64, families []*dto.MetricFamily) {
	t.Helper()
	ctx := caddy.ActiveContext()
	all, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatalf("gathering: %v", err)
	}
	values = make(map[string]float64)
	for _, f := range all {
		if !strings.HasPrefix(f.GetName(), "caddy_stomp_") {
			continue
		}
		families = append(families, f)
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := strings.TrimPrefix(f.GetName(), "caddy_stomp_") + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.Counter != nil:
				values[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				values[key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				values[key] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return values, families
}

func wantMetrics(t *testing.T, want map[string]float64) {
	t.Helper()
	var got map[string]float64
	var wrong string
	right := func() bool {
		got, _ = gather(t)
		for key, v := range want {
			if g, ok := got[key]; !ok || g != v {
				wrong = key
				return false
			}
		}
		return true
	}
	// what is written is counted after the client has read it
	defer func() {
		if t.Failed() {
			t.Logf("%s is %v, want %v; there are %v", wrong, got[wrong], want[wrong], slices.Sorted(maps.Keys(got)))
		}
	}()
	eventually(t, "metrics to be as they should", right)
}

func TestMetrics(t *testing.T) {
	s := run(t, twoBrokers)
	wantMetrics(t, map[string]float64{
		"sessions{broker=shared,endpoint=one}": 0, "sessions{broker=shared,endpoint=two}": 0, "sessions{broker=own,endpoint=own}": 0,
		"session_ends_total{broker=own,reason=disconnect}": 0, "session_ends_total{broker=own,reason=node-lost}": 0,
		"detection_seconds{broker=own}": 0,
	})

	b := dial(t, s.ws("/two"))
	b.subscribe("/topic/presence")
	a := dial(t, s.ws("/one"), `client-data:1`)
	b.expectChange("joined", a.session)
	c := dial(t, s.ws("/own"))
	c.subscribe("/topic/x")
	c.send("SEND", "hello", "destination:/topic/x")
	c.expect("MESSAGE")
	a.send("DISCONNECT", "")
	b.expectChange("left", a.session)
	wantMetrics(t, map[string]float64{
		"sessions{broker=shared,endpoint=one}":                    0,
		"sessions{broker=shared,endpoint=two}":                    1,
		"sessions{broker=own,endpoint=own}":                       1,
		"connects_total{broker=shared}":                           2,
		"connects_total{broker=own}":                              1,
		"session_ends_total{broker=shared,reason=disconnect}":     1,
		"session_ends_total{broker=own,reason=disconnect}":        0,
		"subscriptions{broker=shared}":                            1,
		"subscriptions{broker=own}":                               1,
		"frames_total{broker=own,direction=in}":                   3,
		"frames_total{broker=own,direction=out}":                  3,
		"frames_total{broker=shared,direction=out}":               5,
		"announcements_total{broker=shared}":                      2,
		"announcements_total{broker=own}":                         0,
		"roster_sessions{broker=shared}":                          0,
		"detection_seconds{broker=shared}":                        1,
		"dropped_messages_total{broker=own}":                      0,
		"announcement_resets_total{broker=own}":                   0,
		"session_ends_total{broker=shared,reason=slow-consumer}":  0,
		"session_ends_total{broker=shared,reason=protocol-error}": 0,
	})

	// they go on across a reload, in the new configuration's registry
	before, _ := gather(t)
	s.load(twoBrokers)
	after, _ := gather(t)
	for key, v := range before {
		if after[key] != v {
			t.Errorf("%s was %v before the reload and is %v", key, v, after[key])
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d metrics before the reload, %d after", len(before), len(after))
	}
	dial(t, s.ws("/one"))
	wantMetrics(t, map[string]float64{"connects_total{broker=shared}": 3, "sessions{broker=shared,endpoint=one}": 1})
}

// An endpoint that is gone has no metrics, its ends are still counted.
func TestMetricsOfRemovedEndpoint(t *testing.T) {
	s := run(t, sharedBroker(leaveEndpoint))
	c := dial(t, s.ws("/leave"))
	s.load(sharedBroker(""))
	c.expectClose(1001)
	wantMetrics(t, map[string]float64{"session_ends_total{broker=shared,reason=server-shutdown}": 1})
	if got, _ := gather(t); got["sessions{broker=shared,endpoint=stay}"] != 0 || hasKey(got, "sessions{broker=shared,endpoint=leave}") {
		t.Errorf("metrics %v", got)
	}
}

func hasKey(m map[string]float64, key string) bool { _, ok := m[key]; return ok }

// Names, help texts and units follow Prometheus' conventions.
func TestMetricsLint(t *testing.T) {
	run(t, twoBrokers)
	_, families := gather(t)
	if len(families) != 15 { // store_healthy is there with a store only
		t.Errorf("%d families", len(families))
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Caddy's own handler serves them.
func TestMetricsHandler(t *testing.T) {
	s := run(t, twoBrokers)
	dial(t, s.ws("/own"))
	for range 2 {
		status, body := s.get(s.http("/metrics"))
		if status != http.StatusOK {
			t.Fatalf("%d: %s", status, body)
		}
		for _, want := range []string{
			`caddy_stomp_sessions{broker="own",endpoint="own"} 1`,
			`caddy_stomp_session_ends_total{broker="shared",reason="closed"} 0`,
			`caddy_stomp_detection_seconds_bucket{broker="own",le="+Inf"} 0`,
			"# TYPE caddy_stomp_frames_total counter",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("there is no %s", want)
			}
		}
		s.load(twoBrokers)
	}
}
