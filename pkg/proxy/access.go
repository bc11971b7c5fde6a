package proxy

import (
	"sync"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

const (
	firstPause = 10 * time.Millisecond  // after the first time that nobody was there
	lastPause  = 500 * time.Millisecond // what it grows to; a daemon that comes back is found so soon
)

// access is what is known of whether an upstream can be reached.
type access struct {
	mu    sync.Mutex
	asked time.Time                          // when it was last tried; zero: never
	err   *registry.UpstreamUnavailableError // how that ended; nil: well
	pause time.Duration                      // how long it is not tried again
}

// closed is how the last try ended where it is too early for another one.
func (a *access) closed() *registry.UpstreamUnavailableError {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil && time.Since(a.asked) < a.pause {
		return a.err
	}
	return nil
}

// note keeps how a try ended, and tells whether that is news.
func (a *access) note(err *registry.UpstreamUnavailableError) (news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	news = a.asked.IsZero() || (a.err == nil) != (err == nil)
	a.asked, a.err = time.Now(), err
	if err == nil {
		a.pause = 0
	} else {
		a.pause = min(max(firstPause, 2*a.pause), lastPause)
	}
	return news
}

// known is how the last try ended, and when that was.
func (a *access) known() (asked time.Time, err *registry.UpstreamUnavailableError) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked, a.err
}
