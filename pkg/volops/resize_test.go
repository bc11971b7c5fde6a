package volops

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// grown makes the file of a loop longer and has the kernel see it.
func grown(t *testing.T, disk *testhost.Loop, size int64) {
	t.Helper()
	must(t, os.Truncate(disk.Backing, size))
	tool(t, "", "losetup", "-c", disk.Path)
}

// TestResizeMax grows each type on a disk that grew, and on a partition that is made longer with it while the
// filesystem is in use; nothing that was written is lost.
func TestResizeMax(t *testing.T) {
	needMkfs(t)
	testhost.Tool(t, "mkfs.xfs", "xfsprogs")
	testhost.Tool(t, "sgdisk", "gdisk")
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	const before, after = 320 << 20, 480 << 20
	for _, typ := range []string{"ext4", "xfs", "btrfs"} {
		for _, partitioned := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", typ, partitioned), func(t *testing.T) {
				disk := loop(t, before)
				device := disk.Path
				if partitioned {
					device = obtain(t, v, "vol.create_partition", "disk", disk.Path)["partition"].(map[string]any)["path"].(string)
				}
				tool(t, "", "mkfs."+typ, "-q", device)
				dir := t.TempDir()
				must(t, unix.Mount(device, dir, typ, 0, ""))
				defer unix.Unmount(dir, unix.MNT_DETACH)
				must(t, fill(dir+"/file", 20<<20))
				sum := testhost.Sum(t, dir+"/file")
				grown(t, disk, after)
				if typ == "ext4" && !capable(unix.CAP_SYS_RESOURCE) {
					lacksCapability(t, v, dir, partitioned)
					return
				}
				got := obtain(t, v, "vol.resize_max", "path", dir, "grow_partition", partitioned)
				row := got["devices"].([]any)[0].(map[string]any)
				if got["changed"] != true || got["type"] != typ || row["path"] != device || row["partition_grown"] != partitioned ||
					row["new_size_bytes"].(float64) < after-4<<20 || row["old_size_bytes"].(float64) > before {
					t.Errorf("%v", got)
				}
				if again := obtain(t, v, "vol.resize_max", "path", dir, "grow_partition", partitioned); again["changed"] != false {
					t.Errorf("again: %v", again)
				}
				var st unix.Statfs_t
				must(t, unix.Statfs(dir, &st))
				if total := int64(st.Blocks) * st.Bsize; total < before+before/4 {
					t.Errorf("statfs says %d", total)
				}
				if testhost.Sum(t, dir+"/file") != sum {
					t.Error("the file has changed")
				}
				must(t, unix.Unmount(dir, 0))
				if partitioned {
					if out := tool(t, "", "sgdisk", "-v", disk.Path); !strings.Contains(out, "No problems found") {
						t.Errorf("sgdisk -v: %s", out)
					}
				}
				if typ == "xfs" {
					tool(t, "", "xfs_repair", "-n", device)
				} else {
					checkMountable(t, device, typ)
				}
			})
		}
	}
	wantKind(t, failure(t, v, "vol.resize_max", "path", "/proc"), "unsupported")
}

// lacksCapability is what is left to be seen of ext4 where the kernel lets nobody grow it.
func lacksCapability(t *testing.T, v *Vol, dir string, partitioned bool) {
	t.Helper()
	_, err := try(t, v, "vol.resize_max", params("path", dir, "grow_partition", partitioned))
	var lacks *lacking
	if !errors.As(err, &lacks) || lacks.Capability() != "CAP_SYS_RESOURCE" {
		t.Errorf("%v, want that CAP_SYS_RESOURCE lacks", err)
	}
}

// TestResizeBesides grows a partition up to the next one and no further, and one of two members.
func TestResizeBesides(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 700<<20)
	first := obtain(t, v, "vol.create_partition", "disk", disk.Path, "size_bytes", 300<<20)["partition"].(map[string]any)["path"].(string)
	obtain(t, v, "vol.create_partition", "disk", disk.Path, "start_bytes", 512<<20)
	tool(t, "", "mkfs.btrfs", "-q", first)
	dir := t.TempDir()
	must(t, unix.Mount(first, dir, "btrfs", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	obtain(t, v, "vol.resize_max", "path", dir, "grow_partition", true)
	if p := sfdiskOf(t, disk.Path).Partitions[0]; p.Start != 2048 || (p.Start+p.Size)*512 != 512<<20 {
		t.Errorf("%+v", p)
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Size: 300 << 20, Data: "raid1", Metadata: "raid1"})
	for _, d := range b.Disks {
		grown(t, d, 400<<20)
	}
	one := obtain(t, v, "vol.resize_max", "path", b.Path, "device_id", 2)
	if rows := one["devices"].([]any); len(rows) != 1 || rows[0].(map[string]any)["new_size_bytes"] != float64(400<<20) || one["size_bytes"] != float64(700<<20) {
		t.Errorf("%v", one)
	}
	if all := obtain(t, v, "vol.resize_max", "path", b.Path); all["size_bytes"] != float64(800<<20) {
		t.Errorf("%v", all)
	}
	wantKind(t, failure(t, v, "vol.resize_max", "path", b.Path, "device_id", 9), "not_found", "device")
	small := loop(t, 32<<20)
	tool(t, "", "mkfs.ext4", "-q", small.Path)
	other := t.TempDir()
	must(t, unix.Mount(small.Path, other, "ext4", 0, ""))
	defer unix.Unmount(other, unix.MNT_DETACH)
	wantKind(t, failure(t, v, "vol.resize_max", "path", other, "device_id", 1), "invalid_params", "device_id")
}

// TestDefrag defragments files, and leaves alone what lies elsewhere.
func TestDefrag(t *testing.T) {
	testhost.Tool(t, "filefrag", "e2fsprogs")
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	v := writingVol(t)
	dir := b.Path + "/dir"
	must(t, os.MkdirAll(dir+"/below", 0o755))
	for _, name := range []string{"one", "below/two"} {
		fragment(t, dir+"/"+name)
	}
	sum := testhost.Sum(t, dir+"/one")
	must(t, os.Symlink("/etc", dir+"/link"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	obtain(t, v, "vol.create_subvolume", "path", dir+"/nested")
	fragment(t, dir+"/nested/three")
	plain := obtain(t, v, "vol.defrag", "path", dir)
	if plain["changed"] != false || plain["files"] != 0.0 {
		t.Errorf("%v", plain)
	}
	got := obtain(t, v, "vol.defrag", "path", dir, "recursive", true, "compress", "zstd")
	if got["changed"] != true || got["files"] != 2.0 || got["skipped"] != 3.0 || got["failed"] != 0.0 || got["bytes"] != float64(2<<20) {
		t.Errorf("%v", got)
	}
	b.Run("filesystem", "sync", b.Path)
	if n := extents(t, dir+"/nested/three"); n < 50 {
		t.Errorf("nested subvolume: %d extents", n)
	}
	if testhost.Sum(t, dir+"/one") != sum {
		t.Error("a file has changed")
	}
	if file := obtain(t, v, "vol.defrag", "path", dir+"/nested/three"); file["files"] != 1.0 {
		t.Errorf("%v", file)
	}
	b.Run("filesystem", "sync", b.Path)
	if n := extents(t, dir+"/nested/three"); n > 10 {
		t.Errorf("one file: %d extents", n)
	}
	obtain(t, v, "vol.snapshot_subvolume", "source", dir+"/nested", "target", b.Path+"/snapshot")
	for _, path := range []string{dir + "/nested", b.Path + "/snapshot"} {
		wantKind(t, failure(t, v, "vol.defrag", "path", path, "recursive", true), "refused", "shares_extents", "force")
		obtain(t, v, "vol.defrag", "path", path, "recursive", true, "force", true)
	}
	wantKind(t, failure(t, v, "vol.defrag", "path", dir+"/fifo"), "invalid_params", "path")
	wantKind(t, failure(t, v, "vol.defrag", "path", "/tmp"), "not_found", "btrfs")
	wantKind(t, failure(t, v, "vol.defrag", "path", dir+"/none"), "not_found", "path")
}

// fragment writes a file of 1 MiB in many extents.
func fragment(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	block := []byte(strings.Repeat("fragment", 512))
	for at := int64(1<<20 - 4096); at >= 0; at -= 4096 {
		_, err := f.WriteAt(block, at)
		must(t, errors.Join(err, f.Sync()))
	}
}

// extents is how many a file has.
func extents(t *testing.T, path string) (n int) {
	t.Helper()
	out := tool(t, "", "filefrag", path)
	_, rest, _ := strings.Cut(out, path+": ")
	if _, err := fmt.Sscanf(rest, "%d extent", &n); err != nil {
		t.Fatalf("filefrag: %q", out)
	}
	return n
}
