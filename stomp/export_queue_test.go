package stomp

// QueuesHeld is how many queues there are, and the bytes that they hold.
func QueuesHeld(b *Broker) (queues int, bytes int64) {
	for i := range b.queues.shards {
		sh := &b.queues.shards[i]
		sh.mu.Lock()
		queues += len(sh.queues)
		sh.mu.Unlock()
	}
	return queues, b.queues.bytes.Load()
}

// Replies is how many temporary queues others can reply to.
func Replies(b *Broker) int {
	b.replies.mu.RLock()
	defer b.replies.mu.RUnlock()
	return len(b.replies.byToken)
}

// Patterns says whether nothing is left of wildcard subscriptions.
func NoPatterns(b *Broker) bool {
	b.wildcards.mu.RLock()
	defer b.wildcards.mu.RUnlock()
	return b.wildcards.root.empty() && b.wildcards.count.Load() == 0
}

// Quotas is how many users and addresses are counted.
func Quotas(b *Broker) (users, addresses int) {
	b.quota.mu.Lock()
	defer b.quota.mu.Unlock()
	return len(b.quota.users), len(b.quota.addresses)
}
