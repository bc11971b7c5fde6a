package inuse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/testhost"
)

// device is a disk and its partitions as Find takes them.
func device(t *testing.T, path string) []Device {
	t.Helper()
	s, err := blk.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k, err := s.Disk(strings.TrimPrefix(path, "/dev/"))
	if err != nil {
		t.Fatal(err)
	}
	list := []Device{{Name: k.Name, Number: k.Number}}
	for _, p := range k.Partitions {
		list = append(list, Device{Name: p.Name, Number: p.Number})
	}
	return list
}

func find(t *testing.T, devices []Device) []Holder {
	t.Helper()
	list, err := Find(t.Context(), "", os.Getpid(), devices...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestFind holds a disk in each way and asks who holds it.
func TestFind(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	for _, use := range testhost.Uses(t) {
		t.Run(use.Name, func(t *testing.T) {
			devices := device(t, use.Disk.Path)
			list := find(t, devices)
			if !slices.ContainsFunc(list, func(h Holder) bool { return string(h.Kind) == use.Kind && h.Name == use.Holder }) {
				t.Errorf("%+v, want %s %s", list, use.Kind, use.Holder)
			}
			claimed, err := Claimed(use.Disk.Path, devices[0].Number)
			if err != nil {
				t.Fatal(err)
			}
			if letsThrough := use.Kind == "loop" || use.Name == "raw open"; claimed == letsThrough {
				t.Errorf("claimed: %v", claimed)
			}
			if _, err := Claimed(use.Disk.Path, blk.Number{Major: 7, Minor: 12345}); !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EBUSY) && !claimed {
				t.Errorf("as another device: %v", err)
			}
		})
	}
}

// TestFindNothing asks for a disk that nobody holds while others are held.
func TestFindNothing(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Uses(t)
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	node, err := blk.StatNode(disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	devices := device(t, disk.Path)
	if list := find(t, devices); len(list) > 0 {
		t.Errorf("%+v", list)
	}
	if claimed, err := Claimed(disk.Path, node.Number); claimed || err != nil {
		t.Errorf("%v %v", claimed, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, "", 0, devices...); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Who has a disk open for reading only does not hold its partitions.
func TestWritersOnly(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	for _, c := range []struct {
		mode string
		want int
	}{{"<", 0}, {"<>", 1}, {">", 1}} {
		disk := testhost.NewLoop(t, testhost.LoopOptions{})
		testhost.Stand(t, "sh", "-ec", "exec 3"+c.mode+`"$0"; echo ready; read -r _`, disk.Path)
		devices := device(t, disk.Path)
		devices[0].WritersOnly = true
		// The loop's own descriptor is this process'.
		if list := find(t, devices); len(list) != c.want {
			t.Errorf("open with %s: %+v", c.mode, list)
		}
	}
}

// holdVariable has this program hold the device that it names, with its first thread gone.
const holdVariable = "INUSE_HOLD"

func init() { runtime.LockOSThread() } // main stays on the first thread

func TestMain(m *testing.M) {
	path := os.Getenv(holdVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	go func() {
		time.Sleep(100 * time.Millisecond) // until the first thread has gone
		fmt.Println("ready")
		os.Stdin.Read(make([]byte, 1))
		f.Close()
		os.Exit(0)
	}()
	unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}

// A process whose first thread has ended shows its descriptors only by its other threads.
func TestThreadOfAnEndedLeader(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid := testhost.Stand(t, "env", holdVariable+"="+disk.Path, exe)
	list := find(t, device(t, disk.Path))
	if len(list) != 1 || list[0].PID != pid {
		t.Errorf("%+v, want process %d", list, pid)
	}
}
