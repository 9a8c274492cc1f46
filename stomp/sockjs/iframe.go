package sockjs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp/websocket"
)

// iframePage is the page that a page of another origin loads into a hidden
// frame, where the client library then speaks with the server as one of its
// own origin.
const iframePage = `<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="%s"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
`

// isIframe: /iframe.html, /iframe-<anything>.html.
func isIframe(rest string) bool {
	name, prefixed := strings.CutPrefix(rest, "/iframe")
	name, suffixed := strings.CutSuffix(name, ".html")
	return prefixed && suffixed && (name == "" || name[0] == '-') && !strings.Contains(name, "/")
}

// iframe serves the page. What runs in it has the server's origin, so any site
// that may frame it can act with its visitors' cookies: only the origins that
// may connect can, and where only the same origin may, there is no page.
func (h *Handler) iframe(w http.ResponseWriter, r *http.Request) {
	ancestors := frameAncestors(h.config.WebSocket.Origins)
	if ancestors == "" || h.config.ClientLibraryURL == "" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET")
		return
	}
	page := fmt.Sprintf(iframePage, html.EscapeString(h.config.ClientLibraryURL))
	sum := sha256.Sum256([]byte(page))
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	header := w.Header()
	header.Set("Content-Security-Policy", "frame-ancestors "+ancestors)
	header.Set("ETag", etag)
	cacheable(w)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", "text/html; charset=UTF-8")
	_, _ = w.Write([]byte(page))
}

// frameAncestors is the origin policy as Content-Security-Policy has it; empty
// if no other origin may connect.
func frameAncestors(o *websocket.Origins) string {
	if o.Any() {
		return "*"
	}
	if patterns := o.Patterns(); len(patterns) > 0 {
		return strings.Join(append([]string{"'self'"}, patterns...), " ")
	}
	return ""
}
