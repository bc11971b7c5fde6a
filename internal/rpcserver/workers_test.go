package rpcserver

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

func (w *workers) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.idle)
}

func TestWorkersAreKeptAndThenEnd(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Backend: g, Limits: Limits{CallsPerUID: 40}})
	var clients []*client
	for range 2 * idleWorkers {
		c := s.dial(t)
		c.post(t, request(readMethod, ""))
		<-g.begun
		clients = append(clients, c)
	}
	close(g.open)
	for _, c := range clients {
		if _, body, err := c.answer(t); err != nil || !strings.Contains(body, "result") {
			t.Fatal(body, err)
		}
	}
	testhost.Eventually(t, "as many workers wait as may", func() bool { return s.workers.waiting() == idleWorkers })
	c := clients[0]
	for start := time.Now(); time.Since(start) < 3*workerRest; time.Sleep(10 * time.Millisecond) {
		c.call(t, request(readMethod, ""))
		<-g.begun
	}
	if n := s.workers.waiting(); n != 1 {
		t.Errorf("%d workers wait, and one is needed", n)
	}
	testhost.Eventually(t, "none waits any more", func() bool { return s.workers.waiting() == 0 })
	s.workers.mu.Lock()
	defer s.workers.mu.Unlock()
	if s.workers.looks != nil {
		t.Error("and still a timer wakes the daemon")
	}
}

func TestWorkersUnderChange(t *testing.T) {
	g := newGate()
	close(g.open)
	s := serve(t, Options{Backend: g, Limits: Limits{CallsPerUID: 40}})
	var wg sync.WaitGroup
	for range 8 {
		c := s.dial(t)
		wg.Go(func() {
			for range 300 {
				c.post(t, request(readMethod, ""))
				<-g.begun
				if _, body, err := c.answer(t); err != nil || !strings.Contains(body, `"result":{}`) {
					t.Error(body, err)
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				s.workers.look()
			}
		}
	})
	wg.Wait()
	close(stop)
	looks.Wait()
}
