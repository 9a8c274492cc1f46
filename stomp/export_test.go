package stomp

// CloseTimeout is how long an ended session's connection may live.
const CloseTimeout = closeTimeout

// ReadSnapshot reads a snapshot and what follows as a session's writer does,
// on the caller's goroutine.
func ReadSnapshot(e *Endpoint, f *Feed, snapshot *Snapshot) (messages int) {
	sub := &Subscription{session: &Session{broker: e.broker, endpoint: e, transport: discard{}}}
	r := &reader{sub: sub, feed: f, snapshot: snapshot, number: snapshot.next}
	for r.next() != nil {
		messages++
	}
	return messages
}
