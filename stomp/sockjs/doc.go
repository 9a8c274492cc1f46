// Package sockjs is the server side of the SockJS 0.3 protocol: WebSockets for
// pages whose networks may not let WebSockets through.
//
// It knows nothing of STOMP: a [Handler] gives each connection, as a
// [stomp.Transport], to the function that it is configured with, and that
// function's [stomp.Receiver] gets what the client sends, one call a message.
//
// # What it guarantees
//
//   - Messages come in order, none twice and none lost, as long as the session
//     lives, over whatever number of requests.
//   - A client that went away is noticed at once where a response was open, and
//     after [Config.DisconnectDelay] where none was.
//   - [Handler.Close] ends open responses, not sessions: these live in
//     [Sessions], which the next handler is given.
//   - One origin policy holds for all transports.
//
// # Lock order
//
//	session.receiving -> Sessions.mu
//	session.receiving -> (Config.Open, the receiver)
//	session.mu -> Sessions.mu is never taken
package sockjs
