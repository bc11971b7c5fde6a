package volops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestInOrder: whatever is ready at once and however long the rest takes, all rows come in their order,
// and no more than width are made at a time.
func TestInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(-3, 20), 0, 60).Draw(rt, "delays") // below 0: ready at once
		width := rapid.IntRange(1, 8).Draw(rt, "width")
		synctest.Test(t, func(t *testing.T) {
			var running atomic.Int32
			var got []int
			err := inOrder(len(delays), width, func(i int) (int, bool) {
				return i, delays[i] < 0
			}, func(i int) int {
				if n := running.Add(1); n > int32(width) {
					t.Errorf("%d at a time, width %d", n, width)
				}
				defer running.Add(-1)
				time.Sleep(time.Duration(delays[i]) * time.Millisecond)
				return i
			}, func(i, row int) error {
				if i != row {
					t.Errorf("row %d sent as %d", row, i)
				}
				got = append(got, row)
				return nil
			})
			if err != nil || len(got) != len(delays) || !slices.IsSorted(got) {
				t.Errorf("%v, %v", got, err)
			}
		})
	})
}

func never(int) (int, bool) { return 0, false }

func same(i int) int { return i }

func TestInOrderEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	sent := 0
	err := inOrder(100, 4, never, same, func(i, _ int) error {
		sent++
		if i == 7 {
			return broken
		}
		return nil
	})
	if err != broken || sent != 8 {
		t.Errorf("%v after %d rows", err, sent)
	}
}

// TestInOrderLeavesNothingBehind: when it returns, also with an error, nothing of later runs any more.
func TestInOrderLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		err := inOrder(10, 8, never, func(i int) int {
			running.Add(1)
			defer running.Add(-1)
			time.Sleep(time.Duration(i) * time.Second)
			return i
		}, func(int, int) error { return errEnough })
		if n := running.Load(); err != errEnough || n != 0 {
			t.Errorf("%v, and %d run", err, n)
		}
	})
}

func TestInOrderPassesPanicsOn(t *testing.T) {
	defer func() {
		text := fmt.Sprint(recover())
		if !strings.Contains(text, "row 3") || !strings.Contains(text, "rows_test.go") {
			t.Errorf("recovered %s", text)
		}
	}()
	_ = inOrder(10, 4, never, func(i int) int {
		if i == 3 {
			panic("row 3")
		}
		return i
	}, func(int, int) error { return nil })
	t.Error("no panic")
}

// TestAllowance: what answers uses nothing up, however much of it there is; from the first that hangs
// on the others get the least.
func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, end := newAllowance(t.Context())
		defer end()
		wait := func(d time.Duration) (waited time.Duration) {
			ctx, cancel := a.next()
			defer cancel()
			start := time.Now()
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
			return time.Since(start)
		}
		for range 100 {
			if d := wait(itemTime / 2); d != itemTime/2 {
				t.Fatalf("cut at %v", d)
			}
		}
		if d := wait(time.Hour); d != itemTime {
			t.Errorf("waited %v for the first that hangs, want %v", d, itemTime)
		}
		if d := wait(time.Hour); d != leastTime {
			t.Errorf("waited %v for the second, want %v", d, leastTime)
		}
		end()
		if ctx, cancel := a.next(); ctx.Err() == nil {
			t.Error("goes on after the end")
			cancel()
		}
	})
}
