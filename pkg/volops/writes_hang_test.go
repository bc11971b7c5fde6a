package volops

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestWritesToAHungDisk makes a thousand writes to a disk that does not answer: each ends at its deadline or is
// busy at once, another disk is written to meanwhile, and nothing is left when the disk is gone.
func TestWritesToAHungDisk(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	hung, release := testhost.HangingDisk(t)
	v := writingVol(t)
	healthy := loop(t, 32<<20)
	var callers sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	call := func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var err error
		if i%2 == 0 {
			_, err = v.CreateFilesystem(ctx, &registry.VolCreateFilesystemParams{Device: hung, Type: registry.FilesystemTypeExt4, Force: registry.Some(true)})
		} else {
			_, err = v.CreatePartition(ctx, &registry.VolCreatePartitionParams{Disk: hung})
		}
		var busy *registry.BusyError
		kind := "another error"
		switch {
		case errors.As(err, &busy):
			kind = "busy"
		case errors.Is(err, context.DeadlineExceeded):
			kind = "deadline"
		}
		mu.Lock()
		defer mu.Unlock()
		outcomes[kind]++
		if kind == "another error" {
			t.Errorf("%v", err)
		}
	}
	within(t, 30*time.Second, "1000 calls", func() {
		for i := range 1000 {
			callers.Go(func() { call(i) })
		}
		within(t, 10*time.Second, "a write to another disk", func() {
			obtain(t, v, "vol.create_filesystem", "device", healthy.Path, "type", "ext4")
		})
		callers.Wait()
	})
	// A busy machine lets some wait for their turn until their deadline; what hangs is bounded all the same.
	if outcomes["deadline"] == 0 || outcomes["busy"] < 500 {
		t.Errorf("outcomes: %v", outcomes)
	}
	t.Logf("outcomes: %v", outcomes)
	if blocked := v.Blocked(); blocked > 4 {
		t.Errorf("%d calls hang on", blocked)
	}
	release()
	comesTrue(t, "an end of what hung", func() bool { return v.Blocked() == 0 })
	// Its reads fail now.
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", hung, "type", "ext4", "force", true), "os_error", "EIO", `"applied":"no"`)
	wantKind(t, failure(t, v, "vol.create_partition", "disk", hung), "os_error", "EIO", `"applied":"no"`)
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}
