package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// remembered is how many sessions are remembered that have left, so that
// nothing late brings them back.
const remembered = 100_000

// Event is what happened to a session, as much of it as is needed here.
type Event struct {
	ID          string          `json:"id"` // <stream>-<position>
	Stream      string          `json:"stream"`
	Seq         uint64          `json:"seq,omitempty"` // 0: the session was not announced, or nothing changes who is there
	Broker      string          `json:"broker"`
	Type        string          `json:"type"`
	SessionID   string          `json:"sessionId"`
	Room        string          `json:"room,omitempty"`
	User        string          `json:"user,omitempty"`
	ClientData  json.RawMessage `json:"clientData,omitempty"`
	ConnectedAt string          `json:"connectedAt,omitempty"`
}

// position orders the events of a stream.
func (e *Event) position() uint64 {
	position, _ := strconv.ParseUint(strings.TrimPrefix(e.ID, e.Stream+"-"), 10, 64)
	return position
}

// key names what an event is about: a session, or a session in a room.
func (e *Event) key() string { return e.Stream + " " + e.SessionID + " " + e.Room }

// state is who is present, as it is written to the file.
type state struct {
	There   map[string]Event    `json:"there"`   // the event that was applied last
	Left    map[string]uint64   `json:"left"`    // of who has left: the position of the event that said so
	Order   []string            `json:"order"`   // the keys of Left, the oldest first
	Streams map[string][]string `json:"streams"` // of a broker; the last one is counted now
}

// Presence is who is present. The file is where your application has its
// database: Take is one transaction there, which changes the rows and is
// committed before the request is answered with 2xx. It may be called from any
// goroutine.
type Presence struct {
	mu    sync.Mutex
	state state
	file  *os.File
	size  int64
}

// OpenPresence reads the file, if there is one, and begins it anew with what
// it has read.
func OpenPresence(path string) (*Presence, error) {
	p := &Presence{state: state{There: map[string]Event{}, Left: map[string]uint64{}, Streams: map[string][]string{}}}
	journal, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	// what comes after the last line break was being written when the process
	// was killed: it is sent again
	for line := range bytes.Lines(journal[:bytes.LastIndexByte(journal, '\n')+1]) {
		if err := p.load(line); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if p.file, err = os.Create(path + ".new"); err != nil {
		return nil, err
	}
	if err := p.append(p.state); err != nil {
		return nil, err
	}
	return p, os.Rename(path+".new", path)
}

func (p *Presence) load(line []byte) error {
	if line[0] == '{' {
		return json.Unmarshal(line, &p.state)
	}
	var events []Event
	if err := json.Unmarshal(line, &events); err != nil {
		return err
	}
	for _, event := range events {
		p.apply(event)
	}
	return nil
}

// append returns when the line is on the disk; if that fails the file is as
// before.
func (p *Presence) append(value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if _, err = p.file.WriteAt(append(line, '\n'), p.size); err == nil {
		err = p.file.Sync()
	}
	if err != nil {
		return errors.Join(err, p.file.Truncate(p.size))
	}
	p.size += int64(len(line)) + 1
	return nil
}

// Take takes a batch. An error means that nothing was taken: answer 500, and
// it is sent again.
func (p *Presence) Take(events []Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	news := slices.DeleteFunc(events, func(event Event) bool { return !p.isNew(&event) })
	if len(news) == 0 {
		return nil
	}
	if err := p.append(news); err != nil {
		return err
	}
	for _, event := range news {
		p.apply(event)
	}
	return nil
}

// isNew is false for what was applied already and for what is older than what
// was: a repetition, or a dead letter that was sent late.
func (p *Presence) isNew(event *Event) bool {
	streams := p.state.Streams[event.Broker]
	switch slices.Index(streams, event.Stream) {
	case -1:
		return true
	case len(streams) - 1:
	default:
		return false
	}
	if last, ok := p.state.There[event.key()]; ok {
		return event.position() > last.position()
	}
	return event.position() > p.state.Left[event.key()]
}

func (p *Presence) apply(event Event) {
	if !p.isNew(&event) {
		return
	}
	streams := p.state.Streams[event.Broker]
	if !slices.Contains(streams, event.Stream) {
		// the server has forgotten everything, because it keeps no store:
		// whoever was there has gone with it
		maps.DeleteFunc(p.state.There, func(_ string, there Event) bool { return there.Broker == event.Broker })
		streams = append(streams, event.Stream)
		p.state.Streams[event.Broker] = streams[max(0, len(streams)-100):]
	}
	if event.Seq == 0 {
		return
	}
	switch key := event.key(); event.Type {
	case "joined", "updated", "returned", "unreachable": // who is unreachable may come back: keep the seat meanwhile
		p.state.There[key] = event
		delete(p.state.Left, key)
	case "left":
		delete(p.state.There, key)
		p.state.Left[key] = event.position()
		p.state.Order = append(p.state.Order, key)
		if len(p.state.Order) > remembered {
			delete(p.state.Left, p.state.Order[0])
			p.state.Order = p.state.Order[1:]
		}
	default: // what there may be one day
	}
}

// Session is who is present, or in a room.
type Session struct {
	Broker      string          `json:"broker"`
	SessionID   string          `json:"sessionId"`
	User        string          `json:"user,omitempty"`
	ClientData  json.RawMessage `json:"clientData,omitempty"`
	Room        string          `json:"room,omitempty"`
	ConnectedAt string          `json:"connectedAt,omitempty"`
	Unreachable bool            `json:"unreachable,omitempty"`
}

// List returns the sessions that are there.
func (p *Presence) List() []Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Session, 0, len(p.state.There))
	for _, event := range p.state.There {
		list = append(list, Session{
			event.Broker, event.SessionID, event.User, event.ClientData, event.Room, event.ConnectedAt, event.Type == "unreachable",
		})
	}
	return list
}
