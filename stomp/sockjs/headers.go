package sockjs

import (
	"fmt"
	"net/http"
	"time"
)

// cors applies the origin policy. A request that it refuses has been answered.
func (h *Handler) cors(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	header.Add("Vary", "Origin")
	if !h.config.WebSocket.Origins.Allow(r) {
		http.Error(w, fmt.Sprintf("origin %q is not allowed", r.Header.Get("Origin")), http.StatusForbidden)
		return false
	}
	if foreign(r) && !h.config.WebSocket.Origins.Any() {
		http.Error(w, "a request of another site that does not tell its origin is not allowed", http.StatusForbidden)
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true")
	} else {
		header.Set("Access-Control-Allow-Origin", "*")
	}
	if requested := r.Header.Get("Access-Control-Request-Headers"); requested != "" {
		header.Set("Access-Control-Allow-Headers", requested)
	}
	return true
}

// foreign says whether a browser sends a request for a page of another origin
// without telling which, as it does for an image or a script: with it such a
// page could open a session, under a key of its choice, with the visitor's
// cookies (Fetch Metadata, "Sec-Fetch-Site").
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return len(r.Header["Origin"]) == 0 && (site == "cross-site" || site == "same-site")
}

// preflight answers OPTIONS, for a year.
func preflight(w http.ResponseWriter, methods string) {
	w.Header().Set("Access-Control-Allow-Methods", methods)
	w.Header().Set("Access-Control-Max-Age", "31536000")
	cacheable(w)
	w.WriteHeader(http.StatusNoContent)
}

// cacheable allows everybody to keep the answer for a year, caches of HTTP/1.0
// too.
func cacheable(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "public, max-age=31536000")
	w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
}

func noCache(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0")
}

// cookie sets the cookie by which a load balancer keeps a client on a server.
func (h *Handler) cookie(w http.ResponseWriter, r *http.Request) {
	if !h.config.CookieNeeded {
		return
	}
	value := "dummy"
	if c, err := r.Cookie("JSESSIONID"); err == nil {
		value = c.Value
	}
	w.Header().Add("Set-Cookie", "JSESSIONID="+value+"; path=/")
}

// notAllowed has no body: the protocol asks for that.
func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	w.WriteHeader(http.StatusMethodNotAllowed)
}
