package volops

import (
	"context"
	"errors"
	"strings"
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

// TestDeviceHangsUnderAWrite has a disk stop answering once it is written to: the call ends at its deadline and says
// that nobody knows what was reached, its turn lasts until what hangs ends, and then the same call brings it about.
func TestDeviceHangsUnderAWrite(t *testing.T) {
	needMkfs(t)
	testhost.Tool(t, "sgdisk", "gdisk")
	if !testhost.MountNS(t) {
		return
	}
	const uuid = "0fc63daf-8483-4772-8e79-3d69d8477d02"
	for _, write := range []struct {
		method string
		pairs  func(device string) []any
	}{
		{"vol.create_filesystem", func(device string) []any { return []any{"device", device, "type", "btrfs", "uuid", uuid} }},
		{"vol.create_partition", func(device string) []any { return []any{"disk", device, "uuid", uuid} }},
	} {
		t.Run(write.method, func(t *testing.T) {
			v := writingVol(t)
			file := testhost.NewFaultFile(t, 130<<20)
			disk := testhost.NewLoop(t, testhost.LoopOptions{Device: file.Path})
			call := func(patience time.Duration) error {
				row, _ := registry.Lookup(write.method)
				p, err := row.Decode([]byte(params(write.pairs(disk.Path)...)))
				must(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				return row.Call(ctx, &registry.Servers{Vol: v}, p, &registry.Out{})
			}
			file.Hang(testhost.FaultWrite)
			within(t, 30*time.Second, "a call", func() {
				if err := call(3 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it ended with %v", err)
				}
			})
			if n := len(v.state.Interrupted()); n != 1 || v.Blocked() != 1 {
				t.Errorf("%d are told of, %d hang", n, v.Blocked())
			}
			within(t, 30*time.Second, "another call", func() {
				if err := call(300 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("while the first one hangs: %v", err)
				}
			})
			if file.Heal(); v.Blocked() > 1 {
				t.Errorf("%d hang", v.Blocked())
			}
			comesTrue(t, "an end of what hung", func() bool { return v.Blocked() == 0 })
			must(t, call(time.Minute))
			if list := v.state.Interrupted(); len(list) > 0 {
				t.Errorf("interrupted: %v", list)
			}
			if write.method == "vol.create_filesystem" {
				checkMountable(t, disk.Path, "btrfs")
			} else if out := tool(t, "", "sgdisk", "-v", disk.Path); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v: %s", out)
			}
		})
	}
}
