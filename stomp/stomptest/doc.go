// Package stomptest tests STOMP servers: a [Client] that says whatever it is
// told to, right or wrong, over WebSocket, SockJS or in memory, and a suite of
// checks, [Run], that any server of this project must pass over any of them.
//
// Methods that cannot do what they are asked fail the test that the client
// belongs to. Nothing here sleeps: what takes time waits for an event, so that
// it works inside a bubble of testing/synctest as well ([Dial] with its
// [Pipe]; sockets do not).
package stomptest
