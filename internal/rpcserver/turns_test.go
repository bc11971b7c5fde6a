package rpcserver

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestTurns(t *testing.T) {
	turns := make(turns, 1)
	if !turns.take() {
		t.Fatal("the first turn is not to be had")
	}
	start := time.Now()
	if turns.take() {
		t.Error("a turn is taken twice")
	}
	took(t, start, turnPatience)
	go func() {
		time.Sleep(10 * time.Millisecond)
		turns.give()
	}()
	if !turns.take() {
		t.Error("a turn that is given back is not to be had")
	}
}

// TestStuckStreamsDoNotStopOthers has every turn held by a handler that hangs.
func TestStuckStreamsDoNotStopOthers(t *testing.T) {
	release := make(chan struct{})
	s := serveRoutes(t, Options{Limits: Limits{StreamsPerUID: 32, CallsPerUID: 32}}, func(ctx context.Context, rows *registry.Stream[registry.Route]) error {
		if err := sendRoutes(rows, tooMany); err != nil {
			return err
		}
		if deadline, _ := ctx.Deadline(); time.Until(deadline) < 5*time.Second {
			<-release
		}
		return nil
	})
	for range cap(s.turns) {
		stuck := s.dial(t)
		stuck.post(t, request(streamMethod, ""), "X-Deadline-Ms: 4000")
	}
	testhost.Eventually(t, "all turns are taken", func() bool { return len(s.turns) == cap(s.turns) })
	start := time.Now()
	c := s.dial(t)
	c.post(t, request(streamMethod, ""), "X-Deadline-Ms: 20000")
	if _, body, err := c.answer(t); err != nil || !strings.HasSuffix(body, "]}}") {
		t.Error(len(body), err)
	}
	if d := time.Since(start); d > 3500*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	testhost.Eventually(t, "the turns of those that hang are given back", func() bool { return len(s.turns) == 0 })
	close(release)
}
