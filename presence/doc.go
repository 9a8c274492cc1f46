// Package presence knows who is connected to a broker, and tells the others.
//
// A [Registry] is the broker's observer: it keeps, for each session, what the
// client says about itself (client data) and what the server knows
// (attributes, user), and turns what happens into numbered changes. Changes
// go two ways, and a leave takes no other: as announcements to the peers that
// subscribed to the announce or the register destination, and to a [Listener]
// of the program. From there they go on, as [Event]s, to each [Announcer], which
// tells somebody outside of the process: at its own pace, and again until it has
// worked.
//
// # What it guarantees
//
//   - A session that was announced as joined is announced as left, once, with
//     the reason of its end and its last client data; of a room likewise, for
//     each time it joined. Nothing is announced of it afterwards.
//   - A session that lost its connection goes on when its client returns in
//     time with the resume token of that connection, and by nothing else. What
//     is said of a connection that is over is not heard.
//   - userSessions of a change is how many sessions of the user have joined and
//     not left, by the changes up to it, in the same scope.
//   - A session is announced once it is known: it has client data or a user.
//     The listener is told of every session.
//   - Changes are announced in the order of their seq. The roster that a
//     subscriber of the register destination is given has a seq too; exactly
//     the changes after it follow, on the same subscription.
//   - Whatever the number of changes and peers, what is queued for a peer does
//     not grow: announcements are read from a feed at the peer's own pace, and
//     a peer that falls too far behind is told so once.
//   - An announcer is told every event that it wants, at least once, in order, and
//     under an ID that stays the same; but for what is given up as there is too
//     much or it gets too old, which is counted, and what the receiver rejects.
//     With a [Store] that holds whenever the process dies. Announcers that fail,
//     hang or panic hold up nobody else.
//   - With a [Store], a change is told when it is kept, and not before; after a
//     crash, what was kept and perhaps not told is told again with the same seq.
//     A store that fails, or takes longer than 10 s, stops nothing: everything is
//     told, and goes on in memory, until the store takes all of it again.
//   - A number of a stream is of one change. After a crash the numbers go on 2^32
//     above the last that was kept, so that those are not given again that were
//     told while the store failed, and so do those of events.
//
// It does not guarantee that a session leaves once if the process dies while its
// store fails: what was told meanwhile is not known afterwards, and who had left
// by then is announced as left again, under another number.
//
// # Lock order
//
//	stomp.Session.mu -> Registry.mu -> stomp.Feed.mu
//	stomp.Session.mu -> Registry.mu -> outbox.mu -> Circuit.mu
//	scope.publishing -> Registry.mu
//	scope.publishing -> stomp.Feed.mu
//	Registry.mu -> errands.mu
//
// Nothing that may take its time is called with Registry.mu held: a [Store] is
// written by a goroutine of its own, without locks, and so is an [Announcer]
// called; wills, and what is logged about the store, are errands of others. The
// [Listener] is called with it held, and must not block. What is to happen to
// sessions at some time has one timer for all of them, and gives others their
// turn with the lock.
package presence
