package stomp

// rate is a token bucket: so many frames a second, and twice as many at once.
// It belongs to the reading goroutine.
type rate struct {
	tokens float64
	last   int64 // a stamp
}

// take takes a token; false if there is none.
func (r *rate) take(perSecond int, now int64) bool {
	if perSecond < 0 {
		return true
	}
	burst := 2 * float64(perSecond)
	if r.last == 0 {
		r.tokens = burst
	} else {
		r.tokens = min(burst, r.tokens+float64(now-r.last)*float64(perSecond)/1e9)
	}
	r.last = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}
