// Command caddy is the Caddy that bench measures: the product, the floors that
// have to be inside of Caddy, and an admin endpoint that tells of the heap.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-stomp/caddy-stomp/caddymodule"
)

func main() {
	caddycmd.Main()
}
