package rpcserver

import (
	"sync"
	"time"
)

// What follows holds for callers from elsewhere alone. A user of this host can be found and asked; of a
// stranger there is nothing but an address.

// strangersBody is what a body may have that comes from elsewhere with nothing about it that the policy
// knows.
const strangersBody = 64 << 10

// stranger tells whether a request comes from elsewhere and names nobody whom the policy knows.
func (x *exchange) stranger() bool {
	return !x.c.peer.Local && !x.s.verifier.Known(x.s.policy.Load(), &x.c.peer, x.http.r.Header)
}

// unprovenDelay is how long a caller from elsewhere waits to be told that its credentials are wrong. Whoever
// tries one after the other gets no further than a few a second.
const unprovenDelay = 500 * time.Millisecond

// hold keeps the answer to wrong credentials back for a while, unless the client goes first.
func (x *exchange) hold() {
	x.s.metrics.unproven.Inc()
	if x.c.peer.Local {
		return
	}
	timer := time.NewTimer(unprovenDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.http.r.Context().Done():
	case <-x.s.reads.Done():
	}
}

// pace is how many calls a second one may make: a bucket that fills at a rate and holds what a second
// brings. The zero pace is full.
type pace struct {
	mu    sync.Mutex
	spent float64 // calls made that no time has been given for yet
	last  time.Time
}

// take makes one more call at now, and tells whether that is within the rate.
func (p *pace) take(rate int, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent = max(0, p.spent-now.Sub(p.last).Seconds()*float64(rate))
	p.last = now
	if p.spent+1 > float64(max(rate, 1)) {
		return false
	}
	p.spent++
	return true
}

// full tells whether nothing is left of what was taken.
func (p *pace) full(rate int, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spent <= now.Sub(p.last).Seconds()*float64(rate)
}

// callsPerSecond is the limit that a pace is.
const callsPerSecond = "calls_per_second"

// takePace counts a call of somebody from elsewhere.
func (x *exchange) takePace() *limitError {
	rate := x.s.limits.RemoteCallsPerSecond
	if x.c.peer.Local || x.c.share.pace.take(rate, time.Now()) {
		return nil
	}
	return &limitError{callsPerSecond, int64(rate)}
}
