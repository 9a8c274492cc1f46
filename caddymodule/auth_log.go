package caddymodule

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// accessLog writes entries to Caddy's access logs. Caddy has made its copy of a
// request, with the query, before any handler sees it; all that a handler can
// do is to have the entry left out, and to write another.
type accessLog struct{ *zap.Logger }

func accessLogger(ctx caddy.Context) accessLog {
	return accessLog{ctx.Logger(new(caddyhttp.App)).Named("log.access")}
}

// hide keeps the query of a request that may have a token in it out of the
// access log. What it returns is to be called when the request is done.
func (a *authentication) hide(w http.ResponseWriter, r *http.Request) (done func()) {
	if a == nil || len(a.sources.Query) == 0 || r.URL.RawQuery == "" {
		return func() {}
	}
	recorder := recorderOf(w)
	skipped, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool)
	if recorder == nil || skipped { // it is not logged anyway
		return func() {}
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	start := time.Now()
	return func() { a.access.write(recorder, r, time.Since(start)) }
}

// recorderOf is the recorder by which Caddy's server knows what is to be
// logged: the innermost, nil if requests are not logged.
func recorderOf(w http.ResponseWriter) (innermost caddyhttp.ResponseRecorder) {
	for {
		if recorder, ok := w.(caddyhttp.ResponseRecorder); ok {
			innermost = recorder
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return innermost
		}
		w = wrapper.Unwrap()
	}
}

// write writes what Caddy would, but for the query.
func (l accessLog) write(recorder caddyhttp.ResponseRecorder, r *http.Request, took time.Duration) {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Logs == nil {
		return
	}
	logged := r.Clone(r.Context())
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		logged.RequestURI, logged.Method, logged.RemoteAddr = original.RequestURI, original.Method, original.RemoteAddr
	}
	path, _, _ := strings.Cut(logged.RequestURI, "?")
	logged.RequestURI = path + "?REDACTED"

	status := recorder.Status()
	level := zapcore.InfoLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	user := ""
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		user, _ = repl.GetString("http.auth.user.id")
	}
	for _, name := range accessLogNames(server.Logs, logged) {
		entry := l.Check(level, "handled request")
		if name != "" {
			entry = l.Named(name).Check(level, "handled request")
		}
		if entry == nil {
			continue
		}
		entry.Write(
			zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: logged, ShouldLogCredentials: server.Logs.ShouldLogCredentials}),
			zap.String("user_id", user),
			zap.Duration("duration", took),
			zap.Int("size", recorder.Size()),
			zap.Int("status", status),
			zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{
				Header: recorder.Header(), ShouldLogCredentials: server.Logs.ShouldLogCredentials,
			}),
		)
	}
}

// accessLogNames are the loggers of a request, as Caddy chooses them: by the
// log_name directive, or by the host.
func accessLogNames(c *caddyhttp.ServerLogConfig, r *http.Request) (names []string) {
	if chosen, ok := caddyhttp.GetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		for _, name := range chosen {
			if name, ok := name.(string); ok {
				names = append(names, name)
			}
		}
		return names
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.ToLower(host)
	if names, ok := c.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		labels[i] = "*"
		if names, ok := c.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{c.DefaultLoggerName}
}
