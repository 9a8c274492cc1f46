package stomptest

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// STOMP 1.2, "Connecting", "Protocol Negotiation" and "Heart-beating".
var connectChecks = []check{
	{"version negotiation", checkVersions},
	{"no common version", checkNoCommonVersion},
	{"STOMP command", checkStompCommand},
	{"headers of CONNECTED", checkConnectedHeaders},
	{"EOLs before CONNECT", checkLeadingEOLs},
	{"heart-beats of the server", checkServerHeartBeats},
	{"no heart-beats unless wanted", checkNoHeartBeats},
	{"heart-beats of the client", checkClientHeartBeats},
}

func checkVersions(t *testing.T, dial Dialer) {
	for _, tt := range []struct{ accept, want string }{
		{"", "1.0"}, // STOMP 1.2, "Protocol Negotiation": no header means 1.0
		{"accept-version:1.0", "1.0"},
		{"accept-version:1.1", "1.1"},
		{"accept-version:1.2", "1.2"},
		{"accept-version:1.0,1.1,1.2", "1.2"},
		{"accept-version:1.2,1.1,1.0", "1.2"},
		{"accept-version:1.1,1.0", "1.1"},
		{"accept-version:1.1, 1.0", "1.1"},
		{"accept-version:1.1,2.0", "1.1"},
	} {
		t.Run(tt.accept, func(t *testing.T) {
			c := dial(t)
			header := []string{"host:localhost"}
			if tt.accept != "" {
				header = append(header, tt.accept)
			}
			c.Send(frame.Connect, "", header...)
			f := c.Expect(frame.Connected)
			if got := f.Header.Get(frame.HdrVersion); got != tt.want {
				t.Errorf("version %q, want %q", got, tt.want)
			}
			c.ExpectNothing()
		})
	}
}

func checkNoCommonVersion(t *testing.T, dial Dialer) {
	for _, accept := range []string{"2.0", "0.9,2.1", "1.3", ""} {
		t.Run(accept, func(t *testing.T) {
			c := dial(t)
			c.Send(frame.Connect, "", "accept-version:"+accept, "host:localhost")
			f, _ := c.ExpectError("version")
			for _, v := range []string{"1.0", "1.1", "1.2"} {
				if !strings.Contains(f.Header.Get(frame.HdrVersion), v) {
					t.Errorf("ERROR does not tell of version %s: %s", v, Show(f))
				}
			}
		})
	}
}

func checkStompCommand(t *testing.T, dial Dialer) {
	c := dial(t)
	c.Send(frame.Stomp, "", "accept-version:1.2", "host:localhost")
	c.Expect(frame.Connected, "version:1.2")
	c.ExpectNothing()
}

var heartBeatHeader = regexp.MustCompile(`^[0-9]+,[0-9]+$`)

func checkConnectedHeaders(t *testing.T, dial Dialer) {
	ids := make(map[string]bool)
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		c := dial(t)
		f := c.Connect("accept-version:" + version)
		id := f.Header.Get(frame.HdrSession)
		if id == "" || ids[id] {
			t.Errorf("%s: session %q is empty or not unique", version, id)
		}
		ids[id] = true
		if f.Header.Get(frame.HdrServer) == "" {
			t.Errorf("%s: no server in %s", version, Show(f))
		}
		beat, ok := f.Header.Lookup(frame.HdrHeartBeat)
		if version != "1.0" && !heartBeatHeader.MatchString(beat) || version == "1.0" && ok {
			t.Errorf("%s: heart-beat %q", version, beat)
		}
		if user, ok := f.Header.Lookup("user-name"); user != c.User || ok != (c.User != "") {
			t.Errorf("%s: user-name %q, want %q", version, user, c.User)
		}
	}
}

func checkLeadingEOLs(t *testing.T, dial Dialer) {
	c := dial(t)
	c.Raw("\n\n\r\n")
	c.Connect()
	c.ExpectNothing()
}

// offered are the heart-beats that the server offers.
func offered(t *testing.T, dial Dialer) (sends, wants time.Duration) {
	t.Helper()
	x, y, _ := strings.Cut(dial(t).Connect().Header.Get(frame.HdrHeartBeat), ",")
	ms := func(v string) time.Duration {
		n, _ := strconv.Atoi(v)
		return time.Duration(n) * time.Millisecond
	}
	return ms(x), ms(y)
}

// tooLong is what nobody wants to wait for in a test.
const tooLong = 3 * time.Second

func checkServerHeartBeats(t *testing.T, dial Dialer) {
	sends, _ := offered(t, dial)
	if sends == 0 || sends > tooLong {
		t.Skipf("the server sends heart-beats every %v", sends)
	}
	c := connected(t, dial, "heart-beat:0,1")
	start := time.Now()
	c.WaitHeartBeats(3)
	if took, most := time.Since(start), 4*sends+time.Second; took > most {
		t.Errorf("3 heart-beats took %v, want %v at most", took, most)
	}
	c.ExpectNothing()
}

func checkNoHeartBeats(t *testing.T, dial Dialer) {
	sends, _ := offered(t, dial)
	if sends == 0 || sends > tooLong {
		t.Skipf("the server sends heart-beats every %v", sends)
	}
	quiet := connected(t, dial, "heart-beat:0,0")
	old := connected(t, dial, "accept-version:1.0", "heart-beat:1,1")
	connected(t, dial, "heart-beat:0,1").WaitHeartBeats(2)
	for _, c := range []*Client{quiet, old} {
		if n := len(c.HeartBeats()); n > 0 {
			t.Errorf("%d heart-beats that nobody asked for", n)
		}
		c.ExpectNothing()
	}
}

func checkClientHeartBeats(t *testing.T, dial Dialer) {
	_, wants := offered(t, dial)
	ms := strconv.FormatInt(wants.Milliseconds(), 10)
	c := connected(t, dial, "heart-beat:"+ms+",0")
	c.Raw("\n")
	c.Raw("\n\n\n")
	c.Raw("\r\n")
	c.ExpectNothing()
}
