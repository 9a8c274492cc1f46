// Package stomp is a STOMP 1.0, 1.1 and 1.2 server: sessions and the broker
// between them. It knows nothing of HTTP, of presence or of Caddy.
//
// A transport (package stomp/websocket, package stomp/sockjs) brings bytes to
// a [Session] through the [Receiver] interface and is written to through the
// [Transport] interface. The session decodes frames, keeps the rules of the
// specification and hands messages to its [Broker], which finds the
// subscribers and puts the encoded bytes, shared by all of them, into each
// session's outbound queue.
//
// # What it guarantees
//
//   - A session ends exactly once, with a [Reason], whatever goroutine finds
//     out first; the broker's [Observer] is told of every end of a session
//     that was connected, and of no other.
//
//   - Messages of one sender reach each subscriber in the order sent.
//
//   - Publishing never waits for a reader. A session whose queue is over its
//     limit ends with [ReasonSlowConsumer]; a subscription to a [Feed] is read at
//     its reader's pace and cannot overflow.
//
//   - A session with nothing to write holds no goroutine and no buffer of
//     this package's.
//
//   - Nothing that a client sends sizes an allocation before a limit was
//     checked.
//
//   - A queue's message goes to one consumer, in order, and comes back,
//     redelivered, if it is not acknowledged.
//
//   - A transaction is performed whole or not at all.
//
// # What it does not
//
// Messages are in memory: a queue's backlog ends with the process. Delivery to
// a topic's subscriber is at most once.
//
// # Lock order
//
//	Session.mu -> topics shard or wildcards -> topic.mu -> ledger.mu, outbox.mu
//	Session.mu -> queues shard -> queue.mu -> ledger.mu, outbox.mu
//	Session.mu -> Feed.mu -> publication.mu, outbox.mu
//	Session.mu -> directory shard, quota.mu, replies.mu, wheel.mu
//
// No lock is held while a transport writes or Observer.Ended is called.
package stomp
