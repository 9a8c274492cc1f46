package caddymodule

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/presence"
	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// dataOfEvents are the names of the data of each event, as the code has them.
func dataOfEvents() map[string][]string {
	view := &presence.View{SessionID: "id", ClientData: json.RawMessage(`{"key":1,"list":[]}`)}
	all := make(map[string][]string)
	note := func(name string, data map[string]any) {
		for key := range data {
			all[name] = append(all[name], strings.Replace(key, "client_data.key", "client_data.<key>", 1))
		}
		slices.Sort(all[name])
	}
	for _, room := range []string{"", "/topic/room"} {
		for _, change := range presence.EventTypes() {
			e := queuedEvent{Change: presence.Change{View: view, Type: change, Room: room}}
			switch change {
			case presence.Subscribed:
				e.name = eventSubscribed
			case presence.Unsubscribed:
				e.name = eventUnsubscribed
			default:
				e.name = eventName(&e.Change)
			}
			if _, known := all[e.name]; !known && e.name != "" {
				note(e.name, eventData(&e))
			}
		}
	}
	connect := &frame.Frame{Command: frame.Connect, Header: frame.Header{{Name: stomp.ClientDataHeader, Value: string(view.ClientData)}}}
	note(eventConnecting, connectingData(&stomp.Handshake{}, connect, "broker", "endpoint"))
	return all
}

// docs/operations.md has all events, and says of each datum which of them have
// it.
func TestEventsAreDocumented(t *testing.T) {
	code := dataOfEvents()
	raw, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(raw), "\n## Events\n")
	page, _, _ = strings.Cut(page, "\n## ")
	quoted := regexp.MustCompile("`([^`]+)`")
	words := func(text string) (all []string) {
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		return all
	}
	exception := regexp.MustCompile("; `(stomp_\\w+)` has no (.*)")
	documented := make(map[string][]string)
	var events []string
	for line := range strings.Lines(page) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		names := words(cells[1])
		if len(names) > 0 && strings.HasPrefix(names[0], "stomp_") {
			events = append(events, names...)
			continue
		}
		of := strings.TrimSpace(cells[2])
		var without []string // of one event
		except := ""
		if m := exception.FindStringSubmatch(of); m != nil {
			except, without = m[1], words(m[2])
			of = strings.TrimSuffix(of, m[0])
		}
		listed := words(of)
		if strings.HasSuffix(of, "rooms") {
			listed = append(listed, eventRoomJoined, eventRoomLeft)
		}
		for _, event := range events {
			if slices.Contains(listed, event) == strings.HasPrefix(of, "all") {
				continue
			}
			for _, name := range names {
				if event != except || !slices.Contains(without, name) {
					documented[event] = append(documented[event], name)
				}
			}
		}
	}
	if len(events) != len(code) {
		t.Errorf("%d events are documented, there are %d", len(events), len(code))
	}
	for event, want := range code {
		slices.Sort(documented[event])
		if !slices.Equal(documented[event], want) {
			t.Errorf("%s\nhas        %q\ndocumented %q", event, want, documented[event])
		}
	}
}
