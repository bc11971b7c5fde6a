package rpcserver

import (
	"sync"
	"time"
)

// workers runs tasks on goroutines that are kept for the next ones: a new goroutine would first have to
// grow its stack again to what handlers need. Those that nobody needs any more end, so that an idle daemon
// has none and a burst leaves none behind.
type workers struct {
	mu     sync.Mutex
	idle   []chan *task // of the workers that wait, the last one first in use
	spare  int          // how many of them have had nothing to do since the last look
	looks  *time.Timer  // set while there are any
	closed bool
}

const (
	idleWorkers = 16          // wait for work, at most
	workerRest  = time.Second // between two looks for workers that have nothing to do
)

// start runs the task.
func (w *workers) start(t *task) {
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(t)
		return
	}
	in := w.idle[n-1]
	w.idle = w.idle[:n-1]
	w.spare = min(w.spare, n-1)
	w.mu.Unlock()
	in <- t
}

// work is a worker's life. It is ready for the next task before it passes on the result of this one, since
// whoever waits for that may have the next one at hand.
func (w *workers) work(t *task) {
	in := make(chan *task, 1)
	for t != nil {
		err := t.perform()
		kept := w.park(in)
		t.finish(err)
		if !kept {
			return
		}
		t = <-in
	}
}

func (w *workers) park(in chan *task) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= idleWorkers {
		return false
	}
	w.idle = append(w.idle, in)
	if w.looks == nil {
		w.looks = time.AfterFunc(workerRest, w.look)
	}
	return true
}

// look ends the workers that have had nothing to do since the last time.
func (w *workers) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dismiss(w.spare)
	w.spare = len(w.idle)
	if w.looks != nil {
		w.looks.Stop()
		w.looks = nil
	}
	if w.spare > 0 {
		w.looks = time.AfterFunc(workerRest, w.look)
	}
}

// dismiss ends the n workers that have waited longest. w.mu is held.
func (w *workers) dismiss(n int) {
	for _, in := range w.idle[:n] {
		close(in)
	}
	w.idle = append(w.idle[:0], w.idle[n:]...)
}

// close ends the workers that wait, and the others when they are done.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.dismiss(len(w.idle))
	w.spare = 0
	if w.looks != nil {
		w.looks.Stop()
		w.looks = nil
	}
}
