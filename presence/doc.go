// Package presence knows who is connected to a broker, and tells the others.
//
// A [Registry] is the broker's observer: it keeps, for each session, what the
// client says about itself (client data) and what the server knows
// (attributes, user), and turns what happens into numbered changes. Changes
// go two ways, and a leave takes no other: as announcements to the peers that
// subscribed to the announce or the register destination, and to a [Listener]
// of the program (events, webhooks).
//
// # What it guarantees
//
//   - A session that was announced as joined is announced as left, once, with
//     the reason of its end and its last client data.
//   - A session is announced once it is known: it has client data or a user.
//     The listener is told of every session.
//   - Changes are announced in the order of their seq. The roster that a
//     subscriber of the register destination is given has a seq too; exactly
//     the changes after it follow, on the same subscription.
//   - Whatever the number of changes and peers, what is queued for a peer does
//     not grow: announcements are read from a feed at the peer's own pace, and
//     a peer that falls too far behind is told so once.
//
// # Lock order
//
//	stomp.Session.mu -> shard.mu -> Registry.mu
//	Registry.publishing -> Registry.mu
//	Registry.publishing -> stomp.Feed.mu
package presence
