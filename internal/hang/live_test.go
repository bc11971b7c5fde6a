package hang_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/testhost"
)

func statfs(path string) func() (unix.Statfs_t, error) {
	return func() (st unix.Statfs_t, err error) {
		return st, unix.Statfs(path, &st)
	}
}

// threads counts the threads of this process.
func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

// TestThousandCallsOnAFilesystemThatHangs: four of them hang until the deadline, the others are busy,
// healthy filesystems answer meanwhile, and when the filesystem is gone nothing is left behind.
func TestThousandCallsOnAFilesystemThatHangs(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	mountpoint, release := testhost.HangingFS(t)
	g := hang.New[string](hang.DefaultLimits())
	goroutines, before := runtime.NumGoroutine(), threads(t)

	var late, busy atomic.Int32
	var callers sync.WaitGroup
	for range 1000 {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := hang.Do(ctx, g, mountpoint, statfs(mountpoint))
			var full *hang.BusyError
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				late.Add(1)
			case errors.As(err, &full):
				busy.Add(1)
			default:
				t.Errorf("Do = %v", err)
			}
		})
	}
	for range 100 {
		if _, err := hang.Do(t.Context(), g, "/", statfs("/")); err != nil {
			t.Errorf("healthy filesystem: %v", err)
		}
	}
	callers.Wait()
	if late.Load() != 4 || busy.Load() != 996 {
		t.Errorf("%d timed out and %d were busy, want 4 and 996", late.Load(), busy.Load())
	}
	if g.Blocked() != 4 {
		t.Errorf("Blocked() = %d, want 4", g.Blocked())
	}
	if now := threads(t); now > before+4+8 { // the runtime may start a few of its own
		t.Errorf("%d threads, %d before", now, before)
	}

	release()
	testhost.Eventually(t, "calls are left", func() bool { return g.Blocked() == 0 })
	testhost.Eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// TestThreadsEnd: the threads of abandoned calls are not kept by the runtime.
func TestThreadsEnd(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	const calls = 40
	fs := testhost.NewHanging(t)
	g := hang.New[int](hang.Limits{PerKey: calls, Total: calls, Patience: time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var callers sync.WaitGroup
	for i := range calls {
		callers.Go(func() { hang.Do(ctx, g, i, statfs(fs.Path)) })
	}
	callers.Wait()
	hung := threads(t)
	if hung < calls {
		t.Fatalf("%d threads while %d calls hang", hung, calls)
	}
	fs.Answer()
	testhost.Eventually(t, "calls are left", func() bool { return g.Blocked() == 0 })
	// A few more than before: the runtime wants threads of its own to run what came back at once.
	testhost.Eventually(t, "threads are left", func() bool { return threads(t) <= hung-calls*3/4 })
	st, err := hang.Do(t.Context(), g, 0, statfs(fs.Path))
	if err != nil || st.Blocks != testhost.HangingStatfs {
		t.Errorf("after it came back: %d blocks, %v", st.Blocks, err)
	}
}

func BenchmarkDo(b *testing.B) {
	g := hang.New[string](hang.DefaultLimits())
	for b.Loop() {
		if _, err := hang.Do(b.Context(), g, "/", statfs("/")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStatfsItself(b *testing.B) {
	call := statfs("/")
	for b.Loop() {
		if _, err := call(); err != nil {
			b.Fatal(err)
		}
	}
}
