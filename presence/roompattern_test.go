package presence

import "testing"

// A subscription to a pattern reads many rooms and is in none: not even in one
// that is called like the pattern, which it could never leave.
func TestPatternIsNoRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.configure(t, Settings{Rooms: []string{"/topic/rooms/*", "/topic/halls/**"}})
		mina := s.connect(t, "session-mina", "client-data", `"Mina"`)
		for _, pattern := range []string{"/topic/rooms/*", "/topic/halls/**", "/topic/*/a"} {
			if err := mina.subscribe(pattern, pattern); err != nil {
				t.Fatal(err)
			}
		}
		settle()
		if changes := s.told.of("session-mina"); len(changes) != 2 { // connected, joined
			t.Errorf("told %v", changes)
		}
		if err := mina.subscribe("/topic/rooms/a", "a"); err != nil {
			t.Fatal(err)
		}
		settle()
		if changes := s.told.of("session-mina"); len(changes) != 3 || changes[2].Room != "/topic/rooms/a" {
			t.Errorf("told %v, want that she went into the room", changes)
		}
	})
}
