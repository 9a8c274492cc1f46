package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// Attack: be called by a pattern, or by a path, where rules and destinations of
// presence have the name. Each name is a segment, which it alone has.
func TestPatternsAsNames(t *testing.T) {
	s := run(t, withRules(`attribute team {http.request.header.X-Team}
		allow subscribe /topic/users/{stomp.user}/** /topic/teams/{stomp.attribute.team} /topic/here/** /app/here
		allow send /topic/users/{stomp.user}/out /topic/alive
		allow send /topic/** user postmaster
		presence {
			register /app/here
			announce /topic/here/{stomp.attribute.team}
		}`))
	as := func(user, team string) http.Header { return http.Header{"X-User": {user}, "X-Team": {team}} }
	mina := dialWith(t, s.ws("/ws"), as("mina", "red"))
	mina.subscribe("/topic/users/mina/mail")
	mina.subscribe("/topic/teams/red")
	postmaster := dialWith(t, s.ws("/ws"), as("postmaster", "post"))

	names := []string{"**", "*", "/", "mina/", "/mina", "mina/**", "mina/mail", "../mina", "%6dina", "%2A%2A", "%", "{stomp.user}", ".", ".."}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			own := stomp.EncodeSegment(name)
			c := dialWith(t, s.ws("/ws"), as(name, name))
			c.subscribe("/topic/users/" + own + "/mail")
			c.subscribe("/topic/teams/" + own)
			c.send("SUBSCRIBE", "", "id:roster", "destination:/app/here")
			if m := c.expect("MESSAGE"); strings.Contains(m.body, "mina") != strings.Contains(name, "mina") || strings.Count(m.body, "sessionId") != 1 {
				t.Errorf("the roster is %v", m)
			}
			for _, to := range []string{"/topic/users/mina/mail", "/topic/teams/red"} {
				postmaster.request("SEND", "to mina", "destination:"+to)
				if m := mina.expect("MESSAGE"); m.body != "to mina" {
					t.Errorf("%v", m)
				}
			}
			postmaster.request("SEND", "to you", "destination:/topic/users/"+own+"/mail")
			if m := c.expect("MESSAGE"); m.body != "to you" {
				t.Errorf("got %v", m)
			}
			for _, action := range []string{"SUBSCRIBE", "SEND"} {
				for _, to := range []string{
					"/topic/users/mina/mail", "/topic/users/mina/out", "/topic/users/**", "/topic/users/*/mail", "/topic/users/*/out", "/topic/**",
					"/topic/users/" + name + "/mail", "/topic/teams/*", "/topic/teams/**", "/topic/teams/red",
				} {
					if to == "/topic/users/"+own+"/mail" && action == "SUBSCRIBE" {
						continue
					}
					attacker := dialWith(t, s.ws("/ws"), as(name, name))
					attacker.send(action, "", "id:attack", "destination:"+to)
					if m := attacker.next(); m.command != "ERROR" {
						t.Errorf("%s %s: %v", action, to, m)
					}
					attacker.ws.Close()
				}
			}
		})
	}
	mina.quiet()
}

// The same names over an announce destination: whoever is called by a pattern is
// told of those only who are called the same.
func TestPatternsAsScopes(t *testing.T) {
	s := run(t, withRules(`attribute team {http.request.header.X-Team}
		presence {
			register /app/here
			announce /topic/here/{stomp.attribute.team}
		}`))
	as := func(user, team string) http.Header { return http.Header{"X-User": {user}, "X-Team": {team}} }
	for _, team := range []string{"**", "*", "/", "red/", "r*", "%72ed", ".."} {
		t.Run(team, func(t *testing.T) {
			own := stomp.EncodeSegment(team)
			c := dialWith(t, s.ws("/ws"), as("mallory", team))
			c.subscribe("/topic/here/" + own)
			c.subscribe("/topic/here/**") // its own is all that it reaches
			red := dialWith(t, s.ws("/ws"), as("mina", "red"))
			red.ws.Close()
			mate := dialWith(t, s.ws("/ws"), as("mate", team))
			for range 2 { // once for each subscription
				c.expectChange("joined", mate.session)
			}
			c.quiet()
		})
	}
}
