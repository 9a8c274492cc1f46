// Package caddystomp adds STOMP over WebSocket, with presence, to Caddy.
//
// Importing it for its side effects registers the modules, which is what
// xcaddy does with the path of a Go module:
//
//	import _ "github.com/caddy-stomp/caddy-stomp"
//
// The modules are in package caddymodule. The packages stomp and presence
// can be used without Caddy.
package caddystomp

import (
	_ "github.com/caddy-stomp/caddy-stomp/caddymodule" // registers the modules
)
