package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// The metrics. They are counted by the brokers and read when they are scraped,
// so that they go on across reloads.
var (
	descSessions = metric("sessions", "Connected sessions.", "broker", "endpoint")
	descConnects = metric("connects_total", "Sessions that were connected.", "broker")
	descEnds     = metric("session_ends_total", "Sessions that ended, by reason.", "broker", "reason")
	descFrames   = metric("frames_total", "STOMP frames, by direction (in, out).", "broker", "direction")
	descBytes    = metric("bytes_total", "Bytes of STOMP, by direction (in, out).", "broker", "direction")
	descSubs     = metric("subscriptions", "Live subscriptions.", "broker")
	descDropped  = metric("dropped_messages_total", "Messages that were not written because their receiver ended or could not carry them.", "broker")
	descResets   = metric("announcement_resets_total", "Readers of announcements that were too far behind and told to start again.", "broker")
	descAnnounce = metric("announcements_total", "Changes announced to peers.", "broker")
	descRoster   = metric("roster_sessions", "Sessions that are announced.", "broker")
	descUnreach  = metric("unreachable_sessions", "Sessions that lost their connection and may come back.", "broker")
	descRooms    = metric("rooms", "Rooms that somebody is in.", "broker")
	descResumed  = metric("resumed_total", "Sessions that came back after they had lost their connection.", "broker")
	descRegister = metric("registrations_total", "Times that clients told their client data.", "broker")
	descStore    = metric("store_healthy", "Whether the store is written (1) or sessions are in memory only (0); absent without a store.", "broker")
	descHookDone = metric("webhook_delivered_total", "Events that an announcer has been told.", "broker", "announcer")
	descHookMore = metric("webhook_retried_total", "Calls of an announcer that failed, whose events are told again.", "broker", "announcer")
	descHookDead = metric("webhook_dead_total", "Events that an announcer rejected.", "broker", "announcer")
	descHookLost = metric("webhook_dropped_total", "Events that were given up, as too much or for too long waited for an announcer.", "broker", "announcer")
	descHookWait = metric("webhook_pending", "Events that wait for an announcer.", "broker", "announcer")
	descHookAge  = metric("webhook_oldest_seconds", "For how long the oldest event has waited for an announcer; 0 without any.", "broker", "announcer")
	descHookTime = metric("webhook_duration_seconds", "What calls of an announcer took.", "broker", "announcer")
	descDetect   = metric("detection_seconds", "Time from the last byte received until the session was left.", "broker")
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("caddy", "stomp", name), help, labels, nil)
}

// collector reads the brokers of an app. It implements [prometheus.Collector].
type collector struct{ app *App }

// Describe implements [prometheus.Collector].
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descSessions, descConnects, descEnds, descFrames, descBytes, descSubs,
		descDropped, descResets, descAnnounce, descRoster, descUnreach, descRooms, descResumed, descRegister, descStore,
		descHookDone, descHookMore, descHookDead, descHookLost, descHookWait, descHookAge, descHookTime,
		descDetect,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.app.mu.Lock()
	defer c.app.mu.Unlock()
	for name, cl := range c.app.claims {
		if cl.running != nil {
			cl.running.collect(ch, name)
		}
	}
}

func (r *running) collect(ch chan<- prometheus.Metric, broker string) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, append([]string{broker}, labels...)...)
	}
	s := r.broker.Stats()
	for _, e := range r.broker.Endpoints() {
		send(descSessions, prometheus.GaugeValue, float64(e.Sessions()), e.Name())
	}
	send(descConnects, prometheus.CounterValue, float64(s.Connects))
	for _, reason := range stomp.Reasons() {
		send(descEnds, prometheus.CounterValue, float64(s.Ends[reason]), reason.String())
	}
	send(descFrames, prometheus.CounterValue, float64(s.FramesIn), "in")
	send(descFrames, prometheus.CounterValue, float64(s.FramesOut), "out")
	send(descBytes, prometheus.CounterValue, float64(s.BytesIn), "in")
	send(descBytes, prometheus.CounterValue, float64(s.BytesOut), "out")
	send(descSubs, prometheus.GaugeValue, float64(s.Subscriptions))
	send(descDropped, prometheus.CounterValue, float64(s.Dropped))
	send(descResets, prometheus.CounterValue, float64(s.Resets))
	send(descAnnounce, prometheus.CounterValue, float64(r.registry.Announced()))
	p := r.registry.Stats()
	send(descRoster, prometheus.GaugeValue, float64(p.Announced))
	send(descUnreach, prometheus.GaugeValue, float64(p.Unreachable))
	send(descRooms, prometheus.GaugeValue, float64(p.Rooms))
	send(descResumed, prometheus.CounterValue, float64(p.Resumed))
	send(descRegister, prometheus.CounterValue, float64(p.Registrations))
	if p.Store {
		healthy := 0.0
		if r.registry.Health() == nil {
			healthy = 1
		}
		send(descStore, prometheus.GaugeValue, healthy)
	}
	for _, a := range r.registry.Announcers() {
		send(descHookDone, prometheus.CounterValue, float64(a.Delivered), a.ID)
		send(descHookMore, prometheus.CounterValue, float64(a.Retried), a.ID)
		send(descHookDead, prometheus.CounterValue, float64(a.Rejected), a.ID)
		send(descHookLost, prometheus.CounterValue, float64(a.Dropped), a.ID)
		send(descHookWait, prometheus.GaugeValue, float64(a.Pending), a.ID)
		age := 0.0
		if !a.Oldest.IsZero() {
			age = max(0, time.Since(a.Oldest).Seconds()) // the clock may have been set back since it was stored
		}
		send(descHookAge, prometheus.GaugeValue, age, a.ID)
		ch <- histogram(descHookTime, presence.CallBounds(), a.Calls, a.CallsSum, broker, a.ID)
	}
	ch <- histogram(descDetect, stomp.DetectionBounds(), s.Detection[:], s.DetectionSum, broker)
}

// histogram makes one of counts by bounds, the last of which have none.
func histogram(d *prometheus.Desc, bounds []float64, counts []uint64, sum time.Duration, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	var count uint64
	for i, n := range counts {
		count += n
		if i < len(bounds) {
			buckets[bounds[i]] = count
		}
	}
	return prometheus.MustNewConstHistogram(d, count, sum.Seconds(), buckets, labels...)
}
