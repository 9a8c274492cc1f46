package sockjs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// echo sends back what it receives. It knows nothing of SockJS.
type echo struct {
	stomp.Transport
	partial []byte // of a raw websocket's message that comes in pieces
}

func (e *echo) Receive(p []byte, more bool) error {
	e.partial = append(e.partial, p...)
	if more {
		return nil
	}
	message := &stomp.Message{Data: e.partial}
	e.partial = nil
	return e.Write([]*stomp.Message{message})
}
func (e *echo) Alive()              {}
func (e *echo) Flush()              { _ = e.Write(nil) }
func (e *echo) Fail(err error)      { e.Close(1002, err.Error()) }
func (e *echo) Closed(stomp.Ending) {}
func (e *echo) Settle()             {}

func echoes(_ *http.Request, _ sockjs.Connection, t stomp.Transport) (stomp.Receiver, error) {
	return &echo{Transport: t}, nil
}

func closes(_ *http.Request, _ sockjs.Connection, t stomp.Transport) (stomp.Receiver, error) {
	t.Close(3000, "Go away!")
	return &echo{Transport: t}, nil
}

// testApplications are those that conformance suites for SockJS servers ask
// for, each with its raw websocket at /websocket. A [http.ServeMux] in front
// of them would answer // with a redirection, where the protocol has 404.
func testApplications() http.HandlerFunc {
	anybody, _ := websocket.ParseOrigins("*")
	applications := make(map[string]http.Handler)
	for name, c := range map[string]sockjs.Config{
		"echo":                    {Open: echoes},
		"disabled_websocket_echo": {Open: echoes, Transports: sockjs.Transports()[1:]},
		"cookie_needed_echo":      {Open: echoes, CookieNeeded: true},
		"close":                   {Open: closes},
	} {
		c.Prefix, c.ResponseLimit, c.ClientLibraryURL = "/"+name, 4096, "https://cdn.example.com/sockjs.min.js"
		c.WebSocket.Origins = anybody
		applications[name] = sockjs.NewHandler(c)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if app := applications[name]; app != nil {
			app.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}
}

// Any conformance suite for SockJS servers can be run against these:
//
//	http.ListenAndServe("localhost:8081", testApplications())
func Example_testApplications() {
	server := httptest.NewServer(testApplications())
	defer server.Close()
	for _, request := range []string{"xhr", "xhr_send", "xhr"} {
		resp, err := http.Post(server.URL+"/echo/000/abcdefgh/"+request, "text/plain", strings.NewReader(`["hello"]`))
		if err != nil {
			fmt.Println(err)
			return
		}
		var frame string
		_, _ = fmt.Fscanln(resp.Body, &frame)
		_ = resp.Body.Close()
		fmt.Printf("%s: %d %q\n", request, resp.StatusCode, frame)
	}
	// Output:
	// xhr: 200 "o"
	// xhr_send: 204 ""
	// xhr: 200 "a[\"hello\"]"
}

// A page connects with new SockJS("/echo").
func Example() {
	handler := sockjs.NewHandler(sockjs.Config{Prefix: "/echo", Open: echoes})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/echo", nil))
	fmt.Print(w.Body)
	// Output: Welcome to SockJS!
}
