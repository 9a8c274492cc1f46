package presence

import (
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

func TestTemplate(t *testing.T) {
	v := &View{SessionID: "mina-0001", User: "mina", Attributes: []stomp.Attribute{
		{Name: "team", Value: "red"},
		{Name: "path", Value: "a/b"},
		{Name: "star", Value: "*"},
		{Name: "stars", Value: "**"},
		{Name: "odd", Value: "ä %2F{stomp.user}"},
		{Name: "dots", Value: ".."},
		{Name: "a.b", Value: "c"},
	}}
	for _, tt := range []struct {
		template, want string // "" if it is refused
	}{
		{"/topic/presence", "/topic/presence"},
		{"/topic/teams/{stomp.attribute.team}", "/topic/teams/red"},
		{"/topic/{stomp.user}/{stomp.session_id}/x", "/topic/mina/mina-0001/x"},
		{"/topic/{stomp.user}-{stomp.user}", "/topic/mina-mina"},
		{"/topic/teams/{stomp.attribute.path}", "/topic/teams/a%2Fb"},
		{"/topic/teams/{stomp.attribute.star}", "/topic/teams/%2A"},
		{"/topic/teams/{stomp.attribute.stars}/x", "/topic/teams/%2A%2A/x"},
		{"/topic/teams/{stomp.attribute.odd}", "/topic/teams/%C3%A4%20%252F%7Bstomp.user%7D"},
		{"/topic/teams/{stomp.attribute.a.b}", "/topic/teams/c"},
		{"/topic/teams/{stomp.attribute.none}", "/topic/teams"},
		{"/topic/teams/{stomp.attribute.none}/x", "/topic/teams//x"},
		{"/topic/{stomp.attribute.}", ""},
		{"/topic/{user}", ""},
		{"/topic/{stomp.user", ""},
		{"/topic/{}", ""},
	} {
		parsed, err := parseTemplate(tt.template)
		if (err == nil) != (tt.want != "") {
			t.Errorf("%s: %v", tt.template, err)
		}
		if err != nil {
			continue
		}
		got := parsed.destination(parsed.values(v))
		if got != tt.want {
			t.Errorf("%s is %s, want %s", tt.template, got, tt.want)
		}
		if !parsed.matches(got) {
			t.Errorf("%s does not match %s, which it makes", tt.template, got)
		}
		for _, other := range []string{"/topic/presence/x", "/topic", "/topic/*", tt.want + "/x/y", "/queue" + strings.TrimPrefix(tt.want, "/topic"), "/topic/teams/*"} {
			if other != tt.want && parsed.matches(other) {
				t.Errorf("%s matches %s", tt.template, other)
			}
		}
	}
}

func TestSettingsValidate(t *testing.T) {
	for _, tt := range []struct {
		settings Settings
		wrong    string // "" if it is right
	}{
		{Settings{}, ""},
		{Settings{Announce: "/topic/{stomp.user}"}, ""},
		{Settings{Announce: "/topic/{nobody}"}, "expected {stomp.user}"},
		{Settings{Announce: "/topic/*"}, "without *"},
		{Settings{Register: "/app/*"}, "without *"},
		{Settings{Register: "/topic/x", Announce: "/topic/x/"}, "same destination"},
		{Settings{Register: "/topic/mina", Announce: "/topic/{stomp.user}"}, "same destination"},
		{Settings{Rooms: []string{"/topic/rooms/*", "/topic/r/**"}}, ""},
		{Settings{Rooms: []string{"rooms"}}, "pattern of a topic"},
		{Settings{Rooms: []string{"/topic/**/x"}}, "pattern of a topic"},
		{Settings{Grace: -1}, "negative"},
		{Settings{RecoveryGrace: -1}, "negative"},
		{Settings{Sync: -1}, "negative"},
		{Settings{GraceReasons: []stomp.Reason{stomp.ReasonClosed}}, ""},
		{Settings{GraceReasons: []stomp.Reason{stomp.ReasonPolicy}}, "policy is final"},
		{Settings{GraceReasons: []stomp.Reason{stomp.ReasonDisconnect}}, "disconnect is final"},
	} {
		err := tt.settings.Validate()
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%+v: %v, want %q", tt.settings, err, tt.wrong)
		}
	}
}

func ofTeam(id, team string) stomp.Handshake {
	hs := stomp.Handshake{SessionID: id}
	if team != "" {
		hs.Attributes = []stomp.Attribute{{Name: "team", Value: team}}
	}
	return hs
}

// A session hears of those of its own scope, and cannot ask for another.
func TestAnnounceScopes(t *testing.T) {
	inBubbleWith(t, Settings{Announce: "/topic/teams/{stomp.attribute.team}"}, func(t *testing.T, s *server) {
		red, blue, star, none := s.connectAs(t, ofTeam("red-00001", "red")), s.connectAs(t, ofTeam("blue-0001", "blue")), s.connectAs(t, ofTeam("star-0001", "*")), s.connectAs(t, ofTeam("none-0001", ""))
		all := map[*client]string{red: "/topic/teams/red", blue: "/topic/teams/blue", star: "/topic/teams/%2A", none: "/topic/teams"}
		for c, own := range all {
			c.subscribe(own, "own")
			c.subscribe(own+"/", "slash")
			c.subscribe("/topic/teams/*", "one")
			c.subscribe("/topic/**", "any")
			c.subscribe(registerAt, "roster")
		}
		settle()
		for c, own := range all {
			id := c.session.ID()
			c.register(`{"clientData":1}`)
			settle()
			for other := range all {
				for _, subscription := range []string{"own", "slash", "any", "roster"} {
					n := other.told(t, subscription)
					if other == c {
						wantStrings(t, id+" "+subscription, n, "joined "+id)
					} else if len(n) > 0 && strings.Contains(strings.Join(n, " "), id) {
						t.Errorf("%s heard of %s: %v", other.session.ID(), id, n)
					}
				}
			}
			if own != "/topic/teams" { // which * does not reach, but ** does
				wantStrings(t, id+" one", c.told(t, "one"), "joined "+id)
			}
			late := s.connectAs(t, stomp.Handshake{Attributes: c.session.Handshake().Attributes})
			late.subscribe(registerAt, "roster")
			settle()
			if sessions := late.picture(t, "roster").sessions; len(sessions) != 1 || sessions[0].SessionID != id {
				t.Errorf("the roster of %s is %v", own, sessions)
			}
		}
	})
}

// Attack: the announcements of others, in all spellings.
func TestAnnouncementsOfOthers(t *testing.T) {
	for _, destination := range []string{"/topic/teams/blue", "/topic/teams/blue/", "/topic/teams/", "/topic/teams"} {
		for _, command := range []string{frame.Subscribe, frame.Send} {
			inBubbleWith(t, Settings{Announce: "/topic/teams/{stomp.attribute.team}"}, func(t *testing.T, s *server) {
				blue, none := s.connectAs(t, ofTeam("blue-0001", "blue")), s.connectAs(t, ofTeam("none-0001", ""))
				for _, c := range []*client{blue, none} {
					c.subscribe("/topic/**", "any")
				}
				settle()
				c := s.connectAs(t, ofTeam("red-00001", "red"))
				c.send(command, "", frame.HdrDestination, destination, frame.HdrID, "1")
				settle()
				if got := c.refusal(t); !strings.Contains(got, "announce") {
					t.Errorf("%s %s: ERROR %q", command, destination, got)
				}
				for _, other := range []*client{blue, none} {
					if got := other.bodies(t, "any"); len(got) != 0 {
						t.Errorf("%s %s: %s got %q", command, destination, other.session.ID(), got)
					}
				}
			})
		}
	}
}

// When the template changes, those who are connected stay among themselves:
// an equal value of another placeholder is not the same scope.
func TestScopeAfterAnotherTemplate(t *testing.T) {
	inBubbleWith(t, Settings{Announce: "/topic/teams/{stomp.attribute.team}"}, func(t *testing.T, s *server) {
		red := s.connectAs(t, ofTeam("red-00001", "red"), stomp.ClientDataHeader, `"of the team"`)
		red.subscribe(registerAt, "r")
		s.configure(t, Settings{Announce: "/topic/users/{stomp.user}"})
		user := s.connectAs(t, stomp.Handshake{SessionID: "user-0001", User: "red"})
		user.subscribe(registerAt, "r")
		settle()
		wantStrings(t, "of the team", red.told(t, "r"))
		for _, body := range user.bodies(t, "r") {
			if strings.Contains(string(body), "red-00001") {
				t.Errorf("the user was told %s", body)
			}
		}
		user.subscribe("/topic/users/red", "own")
		settle()
		if got := user.refusal(t); got != "" {
			t.Errorf("ERROR %s", got)
		}
		red.hangUp(1006)
		settle()
		wantStrings(t, "the user", user.told(t, "own"))
	})
}

// The name of a destination without placeholders may change while everybody
// stays together.
func TestScopeAfterAnotherName(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		old := s.peer(t, announceAt)
		s.configure(t, Settings{Announce: "/topic/others"})
		c := s.connect(t, "mina-0001", stomp.ClientDataHeader, `1`)
		c.subscribe("/topic/others", "o")
		settle()
		c.hangUp(1006)
		settle()
		wantStrings(t, "of before", old.told(t, "a"), "joined mina-0001", "left mina-0001")
	})
}
