package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	other  = "whsec_b3RoZXItc2VjcmV0LWZvci10ZXN0cw=="
)

func keys(t *testing.T, secrets string) [][]byte {
	t.Helper()
	keys, err := keysOf(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The vector is that of the libraries of Standard Webhooks.
func TestVerify(t *testing.T) {
	const body = `{"test": 2432232314}`
	signed := time.Unix(1614265330, 0)
	good := map[string]string{
		"webhook-id":        "msg_p5jXN8AQM9LWM0D4loKWxJek",
		"webhook-timestamp": "1614265330",
		"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
	}
	tests := map[string]struct {
		change  map[string]string
		body    string
		secrets string
		at      time.Time
		ok      bool
	}{
		"as sent":                         {ok: true},
		"one of two secrets":              {secrets: other + " " + secret, ok: true},
		"one of two signatures":           {change: map[string]string{"webhook-signature": "v1,AAAA " + good["webhook-signature"]}, ok: true},
		"4 minutes old":                   {at: signed.Add(4 * time.Minute), ok: true},
		"the clock is 4 minutes behind":   {at: signed.Add(-4 * time.Minute), ok: true},
		"6 minutes old":                   {at: signed.Add(6 * time.Minute)},
		"from the future":                 {at: signed.Add(-6 * time.Minute)},
		"another body":                    {body: `{"test": 2432232315}`},
		"another secret":                  {secrets: other},
		"another id":                      {change: map[string]string{"webhook-id": "msg_other"}},
		"another time":                    {change: map[string]string{"webhook-timestamp": "1614265331"}},
		"no id":                           {change: map[string]string{"webhook-id": ""}},
		"no time":                         {change: map[string]string{"webhook-timestamp": ""}},
		"no number":                       {change: map[string]string{"webhook-timestamp": "yesterday"}},
		"no signature":                    {change: map[string]string{"webhook-signature": ""}},
		"an empty signature":              {change: map[string]string{"webhook-signature": "v1,"}},
		"another version":                 {change: map[string]string{"webhook-signature": strings.Replace(good["webhook-signature"], "v1,", "v1a,", 1)}},
		"a signature that is cut":         {change: map[string]string{"webhook-signature": good["webhook-signature"][:20]}},
		"a signature that is not base 64": {change: map[string]string{"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1O_="}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			for name, value := range good {
				header.Set(name, value)
			}
			for name, value := range test.change {
				header.Set(name, value)
			}
			if test.body == "" {
				test.body = body
			}
			if test.secrets == "" {
				test.secrets = secret
			}
			if test.at.IsZero() {
				test.at = signed
			}
			if err := verify(header, []byte(test.body), keys(t, test.secrets), test.at); (err == nil) != test.ok {
				t.Errorf("verify: %v, should be good: %v", err, test.ok)
			}
		})
	}
}

func TestKeysOf(t *testing.T) {
	for _, secrets := range []string{"", "whsec_", "whsec_c2hvcnQ=", "whsec_!", secret + " whsec_"} {
		if keys, err := keysOf(secrets); err == nil {
			t.Errorf("%q was taken for %d keys", secrets, len(keys))
		}
	}
}

// event reads "type session position", on stream s of broker b unless it says
// "stream/" or "room@" before the session; one that ends in "!" was not
// announced.
func event(t *testing.T, text string) Event {
	t.Helper()
	fields := strings.Fields(text)
	if len(fields) != 3 {
		t.Fatalf("%q is no event", text)
	}
	stream, session, ok := strings.Cut(fields[1], "/")
	if !ok {
		stream, session = "s", fields[1]
	}
	room, session, ok := strings.Cut(session, "@")
	if !ok {
		room, session = "", room
	}
	position, unannounced := strings.CutSuffix(fields[2], "!")
	seq, err := strconv.ParseUint(position, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if unannounced {
		seq = 0
	}
	return Event{ID: stream + "-" + position, Seq: seq, Stream: stream, Broker: "b", Type: fields[0], SessionID: session, Room: room}
}

func there(p *Presence) string {
	var names []string
	for _, session := range p.List() {
		name := session.SessionID
		if session.Room != "" {
			name = session.Room + "@" + name
		}
		if session.Unreachable {
			name += "?"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func open(t *testing.T, path string) *Presence {
	t.Helper()
	p, err := OpenPresence(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.file.Close() })
	return p
}

var histories = map[string]struct {
	batches []string
	there   string
}{
	"comes":                            {[]string{"joined a 1"}, "a"},
	"goes":                             {[]string{"joined a 1, joined b 2, left a 3"}, "b"},
	"unreachable":                      {[]string{"joined a 1, unreachable a 2"}, "a?"},
	"returned":                         {[]string{"joined a 1, unreachable a 2, returned a 3"}, "a"},
	"the same batch again":             {[]string{"joined a 1, left a 2", "joined a 1, left a 2"}, ""},
	"a part of a batch again":          {[]string{"joined a 1", "joined a 1, joined b 2"}, "a b"},
	"a dead letter, late":              {[]string{"left a 2", "joined a 1"}, ""},
	"an old update, late":              {[]string{"joined a 1, unreachable a 3", "updated a 2"}, "a?"},
	"ten is after nine":                {[]string{"joined a 9", "left a 10"}, ""},
	"rooms":                            {[]string{"joined a 1, joined r@a 2, joined r@b 3, left r@a 4"}, "a r@b"},
	"a room again":                     {[]string{"joined r@a 1, left r@a 2, joined r@a 3", "left r@a 2"}, "r@a"},
	"the server has forgotten":         {[]string{"joined s1/a 5, joined s1/r@a 6", "joined s2/b 1"}, "b"},
	"what it has forgotten comes late": {[]string{"joined s1/a 5", "joined s2/b 1", "joined s1/c 6"}, "b"},
	"never announced":                  {[]string{"connected a 1!, subscribed a 2!, unreachable a 3!, returned a 4!"}, ""},
	"announced later":                  {[]string{"connected a 1!, unreachable a 2!, returned a 3!, joined a 4, subscribed a 5!"}, "a"},
	"a type of another day":            {[]string{"joined a 1, moved a 2, moved b 3"}, "a"},
}

func TestTake(t *testing.T) {
	for name, test := range histories {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			p := open(t, path)
			for _, batch := range test.batches {
				var events []Event
				for text := range strings.SplitSeq(batch, ", ") {
					events = append(events, event(t, text))
				}
				if err := p.Take(events); err != nil {
					t.Fatal(err)
				}
			}
			if got := there(p); got != test.there {
				t.Errorf("%q is there, should be %q", got, test.there)
			}
			for range 2 { // from the changes, and from the state
				if got := there(open(t, path)); got != test.there {
					t.Errorf("after a restart %q is there, should be %q", got, test.there)
				}
			}
		})
	}
}

// Who is killed while writing has not answered, and is sent it again.
func TestKilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for _, text := range []string{"joined a 1", "joined b 2"} {
		p := open(t, path)
		if err := p.Take([]Event{event(t, text)}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, path)
	if got := there(p); got != "a" {
		t.Errorf("%q is there, should be a", got)
	}
	if err := p.Take([]Event{event(t, "joined b 2")}); err != nil {
		t.Fatal(err)
	}
	if got := there(open(t, path)); got != "a b" {
		t.Errorf("%q is there, should be a b", got)
	}
}

// What cannot be kept is not taken.
func TestFileThatFails(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "journal"))
	p.file.Close()
	if err := p.Take([]Event{event(t, "joined a 1")}); err == nil {
		t.Error("was taken, and is nowhere")
	}
	if got := there(p); got != "" {
		t.Errorf("%q is there", got)
	}
}

// The oldest of those who have left are forgotten.
func TestLeftAreBounded(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "journal"))
	for i := range remembered + 10 {
		p.apply(event(t, fmt.Sprintf("left s%d %d", i, i+1)))
	}
	if len(p.state.Left) != remembered || len(p.state.Order) != remembered {
		t.Errorf("%d and %d are remembered", len(p.state.Left), len(p.state.Order))
	}
}

func TestReceiver(t *testing.T) {
	presence := open(t, filepath.Join(t.TempDir(), "journal"))
	server := httptest.NewServer(receiver(presence, keys(t, secret)))
	defer server.Close()
	post := func(body, secret string) int {
		t.Helper()
		timestamp := time.Now().Unix()
		mac := hmac.New(sha256.New, keys(t, secret)[0])
		fmt.Fprintf(mac, "msg_1.%d.%s", timestamp, body)
		request, err := http.NewRequest("POST", server.URL+"/hooks", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("webhook-id", "msg_1")
		request.Header.Set("webhook-timestamp", fmt.Sprint(timestamp))
		request.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	batch, err := json.Marshal([]Event{event(t, "joined a 1")})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		body, secret string
		status       int
	}{
		{string(batch), other, http.StatusUnauthorized},
		{strings.Repeat(" ", bodyLimit+1), secret, http.StatusRequestEntityTooLarge},
		{"this is no JSON", secret, http.StatusInternalServerError},
		{string(batch), secret, http.StatusNoContent},
		{string(batch), secret, http.StatusNoContent},
	} {
		if status := post(test.body, test.secret); status != test.status {
			t.Errorf("%.20s: status %d, should be %d", test.body, status, test.status)
		}
	}
	if got := there(presence); got != "a" {
		t.Errorf("%q is there, should be a", got)
	}
}
