package rpcserver

import (
	"runtime"
	"time"
)

// turns lets only so many streamed results be computed at a time that a processor is left for everything
// else. A dump of a million rows keeps a processor busy for a second, and were there as many of them as
// processors, Go's scheduler would look for other callers' requests only every 10 ms (sysmon in
// runtime/proc.go), and serve them behind all dumps that are ready to run. A stream has its turn between
// two parts of its result; while a part is being written, which may take as long as the client likes, it
// is another one's turn. A single stream never waits.
type turns chan struct{}

func newTurns() turns { return make(turns, max(1, runtime.GOMAXPROCS(0)-1)) }

// turnPatience is how long a stream waits for its turn before it goes on without one: whoever has the turn
// may be stuck in a system call.
const turnPatience = 100 * time.Millisecond

// take waits for a turn and tells whether it got one, which is then to be given back.
func (t turns) take() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case t <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (t turns) give() { <-t }
