//go:build vmtest

package volops

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// killedGrowth tells a child of TestExt4GrowsKilled what it is to grow: its state folder and a path.
const killedGrowth = "VOLOPS_KILLED_GROWTH"

// TestExt4GrowsKilled kills a process in the midst of growing a partition and the ext4 on it, which takes a capability that
// not every host of tests gives: the table is whole, no file is lost, and the same call brings it about.
func TestExt4GrowsKilled(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	testhost.Tool(t, "sgdisk", "gdisk")
	if what := os.Getenv(killedGrowth); what != "" {
		dir, at, _ := strings.Cut(what, " ")
		v, s := afterBoot(t, dir, "first")
		obtain(t, v, "vol.resize_max", "path", at, "grow_partition", true)
		closeBoth(t, v, s)
		return
	}
	moments := []string{"partition table written", "outcome"}
	if testhost.Rounds(1) >= 100 {
		moments = []string{"intent", "journal written", "intent synced", "write partition table", "partition table written", "outcome", "outcome written"}
	}
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) { growthKilledAt(t, moment) })
	}
}

func growthKilledAt(t *testing.T, moment string) {
	const before, after = 32 << 20, 72 << 20
	dir, at, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "disk")
	disk := attach(t, file) // which this process does not have open
	t.Cleanup(func() { testhost.TryCommand(t, "losetup", "-d", disk) })
	must(t, os.Truncate(file, after))
	tool(t, "", "losetup", "-c", disk)
	v, s := afterBoot(t, dir, "first")
	obtain(t, v, "vol.create_partition", "disk", disk, "size_bytes", before)
	closeBoth(t, v, s)
	tool(t, "", "mkfs.ext4", "-q", disk+"p1")
	must(t, unix.Mount(disk+"p1", at, "ext4", 0, ""))
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	must(t, fill(at+"/file", 1<<20))
	sum := testhost.Sum(t, at+"/file")

	cmd := exec.Command("/proc/self/exe", "-test.run=^TestExt4GrowsKilled$")
	cmd.Env = append(os.Environ(), "MY_OS_SERVER_FAULT_AT="+moment, killedGrowth+"="+dir+" "+at)
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("it did not die there: %v: %s", err, out)
	}
	v, s = afterBoot(t, dir, "first")
	defer closeBoth(t, v, s)
	v.Start()
	<-v.restorer.ended
	whole := func() {
		t.Helper()
		if out := tool(t, "", "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v: %s", out)
		}
		if testhost.Sum(t, at+"/file") != sum {
			t.Error("the file has changed")
		}
	}
	whole()
	obtain(t, v, "vol.resize_max", "path", at, "grow_partition", true)
	whole()
	var st unix.Statfs_t
	must(t, unix.Statfs(at, &st))
	if total := int64(st.Blocks) * st.Bsize; total < before+before/2 {
		t.Errorf("statfs says %d", total)
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
	must(t, unix.Unmount(at, 0))
	tool(t, "", "e2fsck", "-fn", disk+"p1")
}
