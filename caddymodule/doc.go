// Package caddymodule is all that is Caddy: the app that owns the brokers, the
// HTTP handler that sessions come in through, their Caddyfile syntax, events,
// metrics and the admin endpoint.
//
// # Lifetimes
//
// A broker lives longer than a configuration. [App] takes one reference to
// each of its brokers in a pool, and claims what it wants them to be: the
// endpoints, their policies, the destinations of presence, the logger. The
// oldest claim is in force. So a configuration that is being started changes
// nothing for live sessions until the one before it stops, and one that fails
// to start was never in force.
//
// Sessions hold a broker and an endpoint, never a handler, a context or a
// request.
package caddymodule
