package sockjs_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-stomp/caddy-stomp/stomp"
	"github.com/caddy-stomp/caddy-stomp/stomp/sockjs"
)

// Who is gone before his session is open is not answered that the server is to
// blame, which would be an error in an access log.
func TestGoneWhileItOpens(t *testing.T) {
	opening, opens := make(chan struct{}), make(chan struct{})
	h := sockjs.NewHandler(sockjs.Config{
		Prefix: "/app",
		Open: func(*http.Request, sockjs.Connection, stomp.Transport) (stomp.Receiver, error) {
			close(opening)
			<-opens
			return nil, stomp.Refuse("not you")
		},
	})
	ask := func(ctx context.Context) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/app/000/abcdefgh/xhr", http.NoBody))
		return w
	}
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- ask(t.Context()) }()
	<-opening
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := ask(gone); w.Code == http.StatusServiceUnavailable || w.Body.Len() > 0 {
		t.Errorf("who is gone was answered %d %q", w.Code, w.Body)
	}
	close(opens)
	if w := <-first; w.Code != http.StatusServiceUnavailable {
		t.Errorf("who is there was answered %d", w.Code)
	}
}
