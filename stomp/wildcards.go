package stomp

import (
	"strings"
	"sync"
	"sync/atomic"
)

// wildcards finds the subscriptions whose pattern matches a destination: a
// trie of segments, so that the cost depends on the patterns that begin like
// the destination and on no others.
type wildcards struct {
	count atomic.Int64 // of subscriptions, so that publish may skip it all
	mu    sync.RWMutex
	root  wildcardNode
}

type wildcardNode struct {
	literal map[string]*wildcardNode
	any     *wildcardNode // *
	topic   *topic        // patterns that end here
	rest    *topic        // patterns that end here with **
}

func (n *wildcardNode) empty() bool {
	return len(n.literal) == 0 && n.any == nil && n.topic == nil && n.rest == nil
}

func (w *wildcards) add(sub *Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := &w.root
	for rest := sub.destination; ; {
		segment, after, more := strings.Cut(rest, "/")
		if segment == "**" {
			n.rest = addTo(n.rest, sub)
			break
		}
		n = n.child(segment, true)
		if !more {
			n.topic = addTo(n.topic, sub)
			break
		}
		rest = after
	}
	w.count.Add(1)
}

func addTo(t *topic, sub *Subscription) *topic {
	if t == nil {
		t = newTopic()
	}
	t.add(sub)
	return t
}

func (n *wildcardNode) child(segment string, grow bool) *wildcardNode {
	if segment == "*" {
		if n.any == nil && grow {
			n.any = new(wildcardNode)
		}
		return n.any
	}
	c := n.literal[segment]
	if c == nil && grow {
		if n.literal == nil {
			n.literal = make(map[string]*wildcardNode)
		}
		c = new(wildcardNode)
		n.literal[segment] = c
	}
	return c
}

func (w *wildcards) remove(sub *Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.root.remove(sub.destination, sub)
	w.count.Add(-1)
}

// remove removes sub from the pattern, and the nodes that nothing needs.
func (n *wildcardNode) remove(pattern string, sub *Subscription) {
	segment, after, more := strings.Cut(pattern, "/")
	if segment == "**" {
		if n.rest.remove(sub) {
			n.rest = nil
		}
		return
	}
	c := n.child(segment, false)
	if more {
		c.remove(after, sub)
	} else if c.topic.remove(sub) {
		c.topic = nil
	}
	if !c.empty() {
		return
	}
	if segment == "*" {
		n.any = nil
	} else {
		delete(n.literal, segment)
	}
}

// match calls found for the subscribers of each pattern that matches.
func (w *wildcards) match(destination string, found func(*topic)) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	w.root.match(destination, true, found)
}

func (n *wildcardNode) match(rest string, more bool, found func(*topic)) {
	if n.rest != nil {
		found(n.rest)
	}
	if !more {
		if n.topic != nil {
			found(n.topic)
		}
		return
	}
	segment, after, more := strings.Cut(rest, "/")
	if c := n.literal[segment]; c != nil {
		c.match(after, more, found)
	}
	if n.any != nil {
		n.any.match(after, more, found)
	}
}
