// Package sockjs is the server side of the SockJS 0.3 protocol: WebSockets for
// pages whose networks may not let WebSockets through.
//
// It knows nothing of STOMP: a [Handler] gives each connection, as a
// [stomp.Transport], to the function that it is configured with, and that
// function's [stomp.Receiver] gets what the client sends, one call a message.
//
// Implemented are the greeting, /info, the websocket transport and the raw
// websocket. Everything else below the prefix is answered with 404.
package sockjs
