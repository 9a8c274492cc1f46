package presence

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// inbox is what a receiver has got: it outlives the processes that tell it.
type inbox struct {
	mu     sync.Mutex
	answer func(ctx context.Context, b EventBatch) error // nil: all is taken
	tries  []try
	taken  []*Event // each as often as it was taken
}

// try is one call.
type try struct {
	EventBatch
	at  time.Time
	err error
}

var errDown = errors.New("the receiver is down")

func (i *inbox) answers(answer func(ctx context.Context, b EventBatch) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

// fails has it fail with that error; nil: it takes all.
func (i *inbox) fails(err error) {
	i.answers(func(context.Context, EventBatch) error { return err })
}

// hangs has it never answer.
func (i *inbox) hangs() {
	i.answers(func(ctx context.Context, _ EventBatch) error { <-ctx.Done(); return ctx.Err() })
}

// counted is a position, less what crashes have it jump by.
func counted(position uint64) uint64 { return position % reserve }

// positions are those of what was taken, in order, counted.
func (i *inbox) positions() (all []uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.taken {
		all = append(all, counted(e.Position))
	}
	return all
}

func (i *inbox) all() []try {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.tries)
}

// receiver is an inbox as one process knows it.
type receiver struct {
	*inbox
	id   string
	dead bool // guarded by mu: nothing of that process arrives any more
}

func (r *receiver) ID() string { return r.id }

func (r *receiver) Announce(ctx context.Context, b EventBatch) error {
	r.mu.Lock()
	answer, dead := r.answer, r.dead
	r.mu.Unlock()
	began := time.Now()
	var err error
	switch {
	case dead:
		return errDead
	case answer != nil:
		err = answer(ctx, b)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return errDead
	}
	r.tries = append(r.tries, try{b, began, err})
	if err == nil {
		r.taken = append(r.taken, b.Events...)
	}
	return err
}

func (r *receiver) die() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = true
}

const hookID = "https://app.internal/hooks"

func (i *inbox) config(s DeliverySettings) AnnouncerConfig {
	return AnnouncerConfig{Announcer: &receiver{inbox: i, id: hookID}, DeliverySettings: s}
}

// withReceiver runs a test with a server that tells a receiver of those who join
// only, and no store.
func withReceiver(t *testing.T, s DeliverySettings, test func(t *testing.T, s *server, i *inbox)) {
	t.Helper()
	inBubble(t, func(t *testing.T, srv *server) {
		i := new(inbox)
		s.Types = []Type{Joined}
		srv.registry.SetAnnouncers([]AnnouncerConfig{i.config(s)})
		defer cut(srv.registry)
		test(t, srv, i)
	})
}

// happen has n sessions join.
func (s *server) happen(t *testing.T, n int) {
	t.Helper()
	for range n {
		s.connect(t, "", stomp.ClientDataHeader, `{"name":"somebody"}`)
	}
}

func wantPositions(t *testing.T, i *inbox, from, to uint64, but ...uint64) {
	t.Helper()
	var want []uint64
	for p := from; p <= to; p++ {
		if !slices.Contains(but, p) {
			want = append(want, p)
		}
	}
	if got := i.positions(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %d to %d but %v", got, from, to, but)
	}
}

// status is that of the only announcer.
func (s *server) status(t *testing.T) AnnouncerStatus {
	t.Helper()
	all := s.registry.Announcers()
	if len(all) != 1 {
		t.Fatalf("%d announcers", len(all))
	}
	return all[0]
}

// logLines are what was logged, as text.
type logLines struct {
	mu  sync.Mutex
	all []string
}

// Write implements [io.Writer].
func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
	return len(line), nil
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// with are the lines that have a part in them.
func (l *logLines) with(part string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return lines
}
