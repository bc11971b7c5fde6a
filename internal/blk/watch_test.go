package blk

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestWatchHearsWhatTheKernelDropped has an event of a disk come while the socket is full of others' events.
func TestWatchHearsWhatTheKernelDropped(t *testing.T) {
	disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 1 << 20})
	trigger := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("change"), 0); err != nil {
			t.Fatal(err)
		}
	}
	uevent := filepath.Join("/sys/class/block", filepath.Base(disk.Path), "uevent")
	others := "/sys/class/mem/null/uevent"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	heard := func(what string) {
		t.Helper()
		select {
		case <-events:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing is heard", what)
		}
	}
	trigger(uevent)
	heard("an event")
	trigger(uevent) // and now it gathers for a while
	for range 5000 {
		trigger(others)
	}
	trigger(uevent)
	heard("the event before")
	heard("the event that was dropped")
	cancel()
	for range events { // it ends
	}
}
