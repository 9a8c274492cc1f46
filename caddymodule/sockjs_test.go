package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// withSockJS is a site with all transports behind encode, with access logs.
// more goes into the endpoint, site into the site.
func withSockJS(more, site string) string {
	return `{
	$GLOBAL
	events {
		on stomp_connected stomptest_record
		on stomp_disconnected stomptest_record
	}
}

http://localhost:$PORT, http://127.0.0.1:$PORT {
	log {
		output file $DIR/access.log
		format json
	}
	encode gzip
	` + site + `
	stomp /ws {
		name chat
		origins *
		sockjs {
			transports websocket xhr_streaming xhr eventsource htmlfile jsonp
			disconnect_delay 300ms
			client_library_url https://cdn.example.com/sockjs.js
		}
		` + more + `
	}
}
`
}

func onEachHTTPTransport(t *testing.T, test func(t *testing.T, transport string)) {
	for _, transport := range httpTransports {
		t.Run(transport, func(t *testing.T) { test(t, transport) })
	}
}

// Each frame comes when it is sent, through all of Caddy's writers.
func TestSockJSThroughCaddy(t *testing.T) {
	resetEvents(t)
	s := run(t, withSockJS("", ""))
	onEachHTTPTransport(t, func(t *testing.T, transport string) {
		c := dialHTTP(t, s, "/ws", transport)
		c.subscribe("/topic/a")
		ws := dial(t, s.ws("/ws"))
		for i := range 20 {
			want := strconv.Itoa(i)
			ws.send("SEND", want, "destination:/topic/a")
			if m := c.expect("MESSAGE"); m.body != want {
				t.Fatalf("got %v, want %s", m, want)
			}
		}
	})
}

// The iframe page survives encode, its ETag too.
func TestSockJSIframeThroughEncode(t *testing.T) {
	resetEvents(t)
	s := run(t, withSockJS("", ""))
	get := func(etag string) *http.Response {
		req, err := http.NewRequest("GET", s.http("/ws/iframe.html"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		if etag != "" {
			req.Header.Set("If-None-Match", etag)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp
	}
	page := get("")
	if page.StatusCode != 200 || page.Header.Get("Content-Security-Policy") != "frame-ancestors *" {
		t.Errorf("%d %v", page.StatusCode, page.Header)
	}
	if again := get(page.Header.Get("Etag")); again.StatusCode != 304 || again.Header.Get("Content-Type") != "" {
		t.Errorf("with its ETag: %d %v", again.StatusCode, again.Header)
	}
}

// What is below the path is answered by SockJS, not by Caddy's empty 200.
func TestSockJSAnswersEverythingBelow(t *testing.T) {
	resetEvents(t)
	s := run(t, withSockJS("", ""))
	for path, want := range map[string]int{
		"/ws": 200, "/ws/": 200, "/ws/info": 200, "/ws/x": 404, "/ws/x/y": 404, "/ws/a/b/c": 404, "/ws/a.b/c/xhr": 404,
		"/wsx": 200, "/": 200, // not ours
	} {
		if status, _ := s.get(s.http(path)); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// Who goes is announced once, soon, and for the right reason.
func TestSockJSPresence(t *testing.T) {
	resetEvents(t)
	s := run(t, withSockJS("", ""))
	watcher := dial(t, s.ws("/ws"))
	watcher.subscribe("/topic/presence")
	onEachHTTPTransport(t, func(t *testing.T, transport string) {
		join := func() *pollingClient {
			c := dialHTTP(t, s, "/ws", transport, `client-data:{"name":"x"}`)
			watcher.expectChange("joined", c.session)
			return c
		}
		leaves := func(c *pollingClient, reason string, clean bool, within time.Duration) {
			t.Helper()
			started := time.Now()
			left := watcher.expectChange("left", c.session)
			if left.Reason != reason || left.Clean != clean || string(left.ClientData) != `{"name":"x"}` {
				t.Errorf("left: %+v, want %s", left, reason)
			}
			if took := time.Since(started); took > within {
				t.Errorf("%s: noticed after %s", reason, took)
			}
		}

		c := join()
		c.send("DISCONNECT", "", "receipt:bye")
		c.expect("RECEIPT")
		leaves(c, "disconnect", true, 2*time.Second)
		c.expectEnd(`c[1000,""]`)

		c = join() // a killed browser: the kernel tells
		c.cancel()
		leaves(c, "connection-lost", false, 2*time.Second)
		watcher.quiet()
	})

	// a poller that does not come back has no connection that could break
	c := connectAndVanish(t, s, "vanishing0")
	started := time.Now()
	watcher.expectChange("joined", c.session)
	if left := watcher.expectChange("left", c.session); left.Reason != "connection-lost" {
		t.Errorf("left: %+v", left)
	}
	if took := time.Since(started); took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("noticed after %s, disconnect_delay is 300ms", took)
	}
	watcher.quiet()
}

// connectAndVanish is a poller that connects, and does not ask again.
func connectAndVanish(t *testing.T, s *server, key string) *pollingClient {
	t.Helper()
	c := &pollingClient{
		t: t, transport: "xhr", base: s.http("/ws") + "/000/" + key, http: http.DefaultClient,
		frames: make(chan message, 10),
	}
	ask := func() {
		if err := c.ask(t.Context(), func(f string) { c.frame(f, make(chan struct{})) }); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	c.send("CONNECT", "", "accept-version:1.2", "host:localhost", `client-data:"y"`)
	ask()
	c.session = (<-c.frames).header["session"]
	return c
}

// A poller that does not come back was waited for already: that counts towards
// its grace.
func TestSockJSWaitCountsTowardsGrace(t *testing.T) {
	resetEvents(t)
	const delay, grace = 1500 * time.Millisecond, 2 * time.Second
	config := withSockJS("presence {\n grace 2s\n announce_unreachable\n }", "")
	s := run(t, strings.Replace(config, "disconnect_delay 300ms", "disconnect_delay 1500ms", 1))
	watcher := dial(t, s.ws("/ws"))
	watcher.subscribe("/topic/presence")
	c := connectAndVanish(t, s, "vanishing1")
	began := time.Now()
	watcher.expectChange("joined", c.session)
	watcher.expectChange("unreachable", c.session)
	watcher.expectChange("left", c.session)
	if took := time.Since(began); took < grace-200*time.Millisecond || took >= delay+grace {
		t.Errorf("left after %s, with a grace of %s", took, grace)
	}
}

// The session segment of the URL is the key to an HTTP transport: it is in no
// frame, announcement or event, and in no log but the access log.
func TestSockJSKeyStaysSecret(t *testing.T) {
	resetEvents(t)
	s := run(t, withSockJS("", ""))
	watcher := dial(t, s.ws("/ws"))
	watcher.subscribe("/topic/presence")
	for _, transport := range httpTransports {
		c := dialHTTP(t, s, "/ws", transport, "client-data:1")
		if c.session == c.key || c.session == "" {
			t.Errorf("%s: session %q, key %q", transport, c.session, c.key)
		}
		_, told := watcher.nextChange()
		// its own URL means itself, where pages cut it out of there
		c.request("SEND", `{"sessionId": "`+c.key+`", "clientData": "2"}`, "destination:/app/presence")
		_, updated := watcher.nextChange()
		c.send("DISCONNECT", "")
		_, left := watcher.nextChange()
		told += updated + left
		eventually(t, "stomp_disconnected", func() bool {
			for _, e := range recordedEvents(eventDisconnected) {
				if e.data["session_id"] == c.session {
					return true
				}
			}
			return false
		})
		told += fmt.Sprint(recordedEvents(eventConnected), recordedEvents(eventDisconnected))
		for _, entry := range s.logged(func(map[string]any) bool { return true }) {
			raw, _ := json.Marshal(entry)
			told += string(raw)
		}
		if strings.Contains(told, c.key) {
			t.Errorf("%s: the key was told: %s", transport, around(told, c.key))
		}
	}
	access, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil || !strings.Contains(string(access), "/xhr_send") {
		t.Errorf("access log %q, %v", access, err)
	}
}

func around(text, part string) string {
	i := strings.Index(text, part)
	return text[max(0, i-200):min(len(text), i+200)]
}

// What docs/sockjs.md recommends takes the key out of access logs.
func TestSockJSLogFilter(t *testing.T) {
	resetEvents(t)
	s := run(t, strings.Replace(withSockJS("", ""), "format json", `format filter {
			request>uri regexp "^(/ws/[^/?]+/)[^/?]+" "${1}REDACTED"
		}`, 1))
	c := dialHTTP(t, s, "/ws", "xhr")
	c.request("SEND", "x", "destination:/topic/a")
	eventually(t, "an access log", func() bool {
		access, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
		if strings.Contains(string(access), c.key) {
			t.Fatalf("the key is in the access log: %s", around(string(access), c.key))
		}
		return err == nil && strings.Contains(string(access), "/ws/000/REDACTED/xhr_send")
	})
}

// Reloads end responses at a frame's end: nothing is lost, nothing comes
// twice, nobody leaves, and nothing of the old configurations stays. There are
// 20 reloads with 100 clients on all transports together, and with
// SOCKJS_RELOADS=full 100 with 100 on each.
func TestSockJSReloads(t *testing.T) {
	resetEvents(t)
	reloads, each, pause := 20, 20, 2*time.Millisecond
	if os.Getenv("SOCKJS_RELOADS") == "full" {
		reloads, each, pause = 100, 100, 50*time.Millisecond
	}
	config := func(i int) string {
		return strings.Replace(withSockJS("limits {\nsubscriptions "+strconv.Itoa(10+i)+"\n}", ""), "300ms", "10s", 1)
	}
	s := run(t, config(0))
	watcher := dial(t, s.ws("/ws"))
	watcher.subscribe("/topic/presence")
	upward := dial(t, s.ws("/ws"))
	upward.subscribe("/topic/up")
	var clients []*pollingClient
	for _, transport := range httpTransports {
		for range each {
			c := dialHTTP(t, s, "/ws", transport, "client-data:1")
			c.subscribe("/topic/numbers")
			clients = append(clients, c)
			watcher.expectChange("joined", c.session)
		}
	}

	sender := dial(t, s.ws("/ws"))
	stop, sent := make(chan struct{}), make(chan int, 1)
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				sender.send("SEND", "end", "destination:/topic/numbers")
				sent <- n
				return
			case <-time.After(pause):
				sender.send("SEND", strconv.Itoa(n), "destination:/topic/numbers")
			}
		}
	})
	for _, c := range clients {
		all.Go(func() { c.count(t) })
	}
	up := 0
	started := time.Now()
	for i := range reloads {
		var before []int64
		for _, c := range clients {
			before = append(before, c.asked.Load())
		}
		s.load(config(i + 1))
		if i%3 > 0 { // or at once again
			eventually(t, "all clients to ask again", func() bool {
				for k, c := range clients {
					if c.asked.Load() == before[k] {
						return false
					}
				}
				return true
			})
		}
		if i%5 == 0 { // and the other way
			for _, c := range clients {
				c.send("SEND", c.session+" "+strconv.Itoa(i), "destination:/topic/up")
			}
			heard := make(map[string]bool)
			for range clients {
				session, number, _ := strings.Cut(upward.expect("MESSAGE").body, " ")
				if number != strconv.Itoa(i) || heard[session] {
					t.Fatalf("%s sent %s, in round %d", session, number, i)
				}
				heard[session] = true
				up++
			}
		}
	}
	took := time.Since(started)
	close(stop)
	all.Wait()
	asked := 0
	upward.quiet()
	for _, c := range clients {
		asked += int(c.asked.Load())
	}
	t.Logf("%d reloads in %s, %d clients on each of %d transports, %d messages to each, %d from all, in %d responses",
		reloads, took.Round(time.Millisecond), each, len(httpTransports), <-sent, up, asked)
	watcher.quiet()
	wantReferences(t, map[string]int{"chat": 1})
	eventually(t, "the old servers to be gone", func() bool {
		return stacks("sockjs.(*response).run") <= len(clients) && stacks("http.(*Server).Shutdown") == 0
	})
}

// count reads numbers in order until "end".
func (c *pollingClient) count(t *testing.T) {
	for i := 0; ; i++ {
		select {
		case m := <-c.frames:
			if m.body == "end" {
				return
			}
			if m.body != strconv.Itoa(i) {
				t.Errorf("%s: got %v, want %d", c.transport, m, i)
				return
			}
		case <-c.ended:
			t.Errorf("%s: ended with %s before %d", c.transport, c.end, i)
			return
		case <-time.After(patience):
			t.Errorf("%s: %d did not come", c.transport, i)
			return
		}
	}
}

// stacks is how many goroutines are in a function.
func stacks(function string) (n int) {
	buf := make([]byte, 16<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, function) {
			n++
		}
	}
	return n
}

// An exit waits for nobody, with the default, eternal grace period too.
func TestSockJSExit(t *testing.T) {
	resetEvents(t)
	s := run(t, strings.Replace(withSockJS("", ""), "$GLOBAL", strings.Replace(global, "grace_period 1s", "", 1), 1))
	var clients []*pollingClient
	for _, transport := range httpTransports {
		clients = append(clients, dialHTTP(t, s, "/ws", transport))
	}
	started := time.Now()
	s.stop()
	if took := time.Since(started); took > time.Second {
		t.Errorf("stopping took %s", took)
	}
	for _, c := range clients {
		select {
		case <-c.ended:
		case <-time.After(patience):
			t.Fatalf("%s: was not told", c.transport)
		}
		if m := c.expect("ERROR"); m.header["message"] != "endpoint removed" {
			t.Errorf("%s: %v", c.transport, m)
		}
		c.expectEnd(`c[1001,"endpoint removed"]`) // 1012 where the process exits, which this one does not
	}
}

// Who polled and does not come back holds up an exit no longer than drain.
func TestSockJSExitWithoutPoller(t *testing.T) {
	resetEvents(t)
	config := strings.Replace(withSockJS("drain 500ms", ""), "disconnect_delay 300ms", "disconnect_delay 1m", 1)
	s := run(t, config)
	c := &pollingClient{t: t, transport: "xhr", base: s.http("/ws") + "/000/vanishing0", http: http.DefaultClient}
	if err := c.ask(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	s.stop()
	if took := time.Since(started); took < 400*time.Millisecond || took > 2*time.Second {
		t.Errorf("stopping took %s, drain is 500ms", took)
	}
	if left := sockjsSessionsOf("chat"); left != nil {
		t.Errorf("%d sessions are kept", left.Len())
	}
}

// An endpoint that is gone closes its sessions: all are told why and get the
// close frame, those who poll too, as long as they use connections that they
// have. The new configuration does not know who comes on another.
func TestSockJSEndpointRemoved(t *testing.T) {
	const shared = "{\n\t$GLOBAL\n\tstomp {\n\t\tbroker shared\n\t}\n}\n"
	site := func(endpoint string) string {
		return shared + "http://localhost:$PORT, http://127.0.0.1:$PORT {\n" + endpoint + "\n}\n"
	}
	onShared := `stomp /ws {
	name chat
	broker shared
	origins *
	sockjs {
		transports websocket xhr_streaming xhr eventsource htmlfile jsonp
	}
}`
	for _, tt := range []struct{ name, before, after string }{
		{"with its broker", withSockJS("", ""), site("stomp /stay {\nbroker shared\n}")},
		{"from a broker that stays", site(onShared + "\nstomp /stay {\nbroker shared\n}"), site("stomp /stay {\nbroker shared\n}")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resetEvents(t)
			s := run(t, tt.before)
			var clients []*pollingClient
			for _, transport := range httpTransports {
				clients = append(clients, dialHTTP(t, s, "/ws", transport))
			}
			started := time.Now()
			s.load(tt.after)
			if took := time.Since(started); took > 2*time.Second { // drain is 3s
				t.Errorf("the reload took %s", took)
			}
			for _, c := range clients {
				if m := c.expect("ERROR"); m.header["message"] != "endpoint removed" {
					t.Errorf("%s: %v", c.transport, m)
				}
				c.expectEnd(`c[1001,"endpoint removed"]`)
			}
			eventually(t, "no response to be open", func() bool { return stacks("sockjs.(*response).run") == 0 })
		})
	}
}
