package hang_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geomind/my_os_server/internal/hang"
	"pgregory.net/rapid"
)

var limits = hang.Limits{PerKey: 4, Total: 10, Patience: 100 * time.Millisecond}

// stuck is a call that returns when the channel closes.
func stuck(until <-chan struct{}) func() (int, error) {
	return func() (int, error) {
		<-until
		return 1, nil
	}
}

func quick() (int, error) { return 1, nil }

// within is a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func wantBlocked(t *testing.T, g *hang.Group[string], want int) {
	t.Helper()
	if got := g.Blocked(); got != want {
		t.Errorf("Blocked() = %d, want %d", got, want)
	}
}

func TestDoReturnsWhatTheCallReturns(t *testing.T) {
	g := hang.New[string](limits)
	want := errors.New("no such file")
	v, err := hang.Do(t.Context(), g, "a", func() (string, error) { return "value", want })
	if v != "value" || err != want {
		t.Errorf("Do = %q, %v; want value, %v", v, err, want)
	}
	wantBlocked(t, g, 0)
}

func TestDoDoesNotBeginWithoutTime(t *testing.T) {
	g := hang.New[string](limits)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	_, err := hang.Do(ctx, g, "a", func() (int, error) { ran = true; return 0, nil })
	if !errors.Is(err, context.Canceled) || ran {
		t.Errorf("Do = %v, ran %v; want context.Canceled without a call", err, ran)
	}
}

func TestCallerStopsWaitingAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hang.New[string](limits)
		release := make(chan struct{})
		start := time.Now()
		_, err := hang.Do(within(t, 3*time.Second), g, "a", stuck(release))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v, want context.DeadlineExceeded", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("waited %v, want 3s", d)
		}
		wantBlocked(t, g, 1)
		if g.Stuck("a") != 1 || g.Stuck("b") != 0 {
			t.Errorf("Stuck = %d and %d, want 1 and 0", g.Stuck("a"), g.Stuck("b"))
		}
		close(release)
		synctest.Wait()
		wantBlocked(t, g, 0)
		if g.Stuck("a") != 0 {
			t.Errorf("Stuck = %d after the call returned", g.Stuck("a"))
		}
	})
}

func TestHungKeyIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hang.New[string](limits)
		release := make(chan struct{})
		for range limits.PerKey {
			go hang.Do(within(t, time.Hour), g, "a", stuck(release))
		}
		synctest.Wait()
		// The first to come after the lane is full waits out its patience, later ones nothing.
		for _, wait := range []time.Duration{limits.Patience, 0, 0} {
			start := time.Now()
			_, err := hang.Do(t.Context(), g, "a", quick)
			var busy *hang.BusyError
			if !errors.As(err, &busy) || busy.Calls != limits.PerKey {
				t.Errorf("Do = %v, want *BusyError of %d calls", err, limits.PerKey)
			}
			if d := time.Since(start); d != wait {
				t.Errorf("answered after %v, want %v", d, wait)
			}
		}
		if _, err := hang.Do(t.Context(), g, "b", quick); err != nil {
			t.Errorf("another key: %v", err)
		}
		close(release)
		synctest.Wait()
		if _, err := hang.Do(t.Context(), g, "a", quick); err != nil {
			t.Errorf("after it came back: %v", err)
		}
	})
}

func TestQueueingCallerGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hang.New[string](limits)
		release := make(chan struct{})
		defer close(release)
		for range limits.PerKey {
			go hang.Do(within(t, time.Hour), g, "a", stuck(release))
		}
		synctest.Wait()
		_, err := hang.Do(within(t, limits.Patience/2), g, "a", quick)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v, want context.DeadlineExceeded", err)
		}
		wantBlocked(t, g, 0)
	})
}

func TestTotalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hang.New[string](limits)
		release := make(chan struct{})
		for i := range limits.Total {
			go hang.Do(within(t, time.Second), g, fmt.Sprint(i), stuck(release))
		}
		time.Sleep(2 * time.Second)
		wantBlocked(t, g, limits.Total)
		if _, err := hang.Do(t.Context(), g, "another", quick); !errors.Is(err, hang.ErrExhausted) {
			t.Errorf("Do = %v, want ErrExhausted", err)
		}
		close(release)
		synctest.Wait()
		wantBlocked(t, g, 0)
		if _, err := hang.Do(t.Context(), g, "another", quick); err != nil {
			t.Errorf("after they came back: %v", err)
		}
	})
}

// TestBurstOnSomethingHealthy: a hundred callers at once, each call shorter than the patience, are all
// served although only four run at a time.
func TestBurstOnSomethingHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hang.New[string](limits)
		var running, most atomic.Int32
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				_, err := hang.Do(t.Context(), g, "a", func() (int, error) {
					now := running.Add(1)
					defer running.Add(-1)
					most.Store(max(most.Load(), now))
					time.Sleep(limits.Patience / 2)
					return 0, nil
				})
				if err != nil {
					t.Errorf("Do = %v", err)
				}
			})
		}
		callers.Wait()
		if most.Load() != int32(limits.PerKey) {
			t.Errorf("%d ran at a time, want %d", most.Load(), limits.PerKey)
		}
	})
}

func TestPanicReachesTheCaller(t *testing.T) {
	g := hang.New[string](limits)
	defer func() {
		v := recover()
		if !strings.Contains(fmt.Sprint(v), "out of range") || !strings.Contains(fmt.Sprint(v), "hang_test.go") {
			t.Errorf("recovered %v, want the panic and the stack of the call", v)
		}
		wantBlocked(t, g, 0)
	}()
	var empty []int
	hang.Do(t.Context(), g, "a", func() (int, error) { return empty[len(g.String())], nil })
	t.Error("Do returned")
}

func TestPanicThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hang.New[string](limits)
		_, err := hang.Do(within(t, time.Second), g, "a", func() (int, error) {
			time.Sleep(time.Minute)
			panic("late")
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v", err)
		}
		time.Sleep(time.Hour)
		wantBlocked(t, g, 0)
	})
}

// TestBounds runs random callers with random patience on calls of random length, and holds the group
// to its limits.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type caller struct {
			key            string
			at, wait, last time.Duration
		}
		ms := rapid.Custom(func(rt *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(1, 500).Draw(rt, "ms")) * time.Millisecond
		})
		callers := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) caller {
			return caller{rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key"),
				ms.Draw(rt, "at"), ms.Draw(rt, "wait"), ms.Draw(rt, "last")}
		}), 1, 60).Draw(rt, "callers")
		synctest.Test(t, func(t *testing.T) {
			g := hang.New[string](limits)
			var mu sync.Mutex
			running := map[string]int{}
			for _, c := range callers {
				go func() {
					time.Sleep(c.at)
					start := time.Now()
					_, err := hang.Do(within(t, c.wait), g, c.key, func() (int, error) {
						mu.Lock()
						running[c.key]++
						running[""]++
						if running[c.key] > limits.PerKey || running[""] > limits.Total {
							t.Errorf("%v run", running)
						}
						mu.Unlock()
						time.Sleep(c.last)
						mu.Lock()
						running[c.key]--
						running[""]--
						mu.Unlock()
						return 0, nil
					})
					if d := time.Since(start); d > c.wait {
						t.Errorf("waited %v of %v", d, c.wait)
					}
					checkOutcome(t, err)
				}()
			}
			time.Sleep(time.Hour)
			wantBlocked(t, g, 0)
			if left := g.String(); left != "" {
				t.Errorf("lanes left: %s", left)
			}
		})
	})
}

func checkOutcome(t *testing.T, err error) {
	var busy *hang.BusyError
	if err != nil && !errors.As(err, &busy) && !slices.Contains([]error{context.DeadlineExceeded, hang.ErrExhausted}, err) {
		t.Errorf("Do = %v", err)
	}
}
