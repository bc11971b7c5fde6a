//go:build vmtest

package volops

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestExt4Grows grows a mounted ext4 on a disk that grew and on a partition that is made longer, which takes a
// capability that not every host of tests gives.
func TestExt4Grows(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	v := writingVol(t)
	const before, after = 32 << 20, 72 << 20
	for _, partitioned := range []bool{false, true} {
		disk := loop(t, before)
		device := disk.Path
		if partitioned {
			device = obtain(t, v, "vol.create_partition", "disk", disk.Path)["partition"].(map[string]any)["path"].(string)
		}
		tool(t, "", "mkfs.ext4", "-q", device)
		dir := t.TempDir()
		must(t, unix.Mount(device, dir, "ext4", 0, ""))
		defer unix.Unmount(dir, unix.MNT_DETACH)
		must(t, fill(dir+"/file", 1<<20))
		sum := testhost.Sum(t, dir+"/file")
		grown(t, disk, after)
		got := obtain(t, v, "vol.resize_max", "path", dir, "grow_partition", partitioned)
		row := got["devices"].([]any)[0].(map[string]any)
		if got["changed"] != true || got["type"] != "ext4" || row["path"] != device || row["partition_grown"] != partitioned ||
			row["new_size_bytes"].(float64) < after-4<<20 || row["old_size_bytes"].(float64) > before {
			t.Errorf("partitioned %v: %v", partitioned, got)
		}
		if again := obtain(t, v, "vol.resize_max", "path", dir, "grow_partition", partitioned); again["changed"] != false {
			t.Errorf("again: %v", again)
		}
		var st unix.Statfs_t
		must(t, unix.Statfs(dir, &st))
		if total := int64(st.Blocks) * st.Bsize; total < before+before/2 || testhost.Sum(t, dir+"/file") != sum {
			t.Errorf("statfs says %d, or the file has changed", total)
		}
		must(t, unix.Unmount(dir, 0))
		tool(t, "", "e2fsck", "-fn", device)
	}
}
