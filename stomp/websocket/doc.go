// Package websocket carries STOMP sessions over WebSocket connections (RFC
// 6455), upgraded with gorilla/websocket.
//
// [Accept] works behind any chain of response writers that can be unwrapped,
// Caddy's among them: the response head goes through the whole chain, so that
// header directives and access logs see a 101, and the innermost writer is
// hijacked, so that nothing of the chain stays in memory. It returns when the
// connection runs; after that no goroutine of the HTTP server is involved and
// nothing of the request is kept.
//
// A connection costs one goroutine, which reads, with a buffer of 512 bytes.
// Larger buffers are borrowed from a pool while there is something to read or
// to write.
//
// [BelowTLS] is for those who accept connections and put TLS above: without it
// sessions work the same, at a higher price.
package websocket
