// Command caddy is Caddy with its standard modules and this module, for
// `go run` and for those who build without xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-stomp/caddy-stomp/caddymodule"
)

func main() {
	caddycmd.Main()
}
