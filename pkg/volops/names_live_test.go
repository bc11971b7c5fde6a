package volops

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// hostRoot makes a root of its own with the kernel's /proc and /sys and an empty /dev, in which a test
// can play udev.
func hostRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	steps := []error{unix.Mount("root", root, "tmpfs", 0, "")}
	for _, dir := range []string{"/dev/disk/by-id", "/dev/disk/by-uuid", "/dev/disk/by-label", "/dev/disk/by-partuuid", "/dev/mapper", "/proc", "/sys"} {
		steps = append(steps, os.MkdirAll(root+dir, 0o755))
	}
	for _, dir := range []string{"/proc", "/sys"} {
		steps = append(steps, unix.Mount(dir, root+dir, "", unix.MS_BIND|unix.MS_REC, ""))
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	return root
}

// node makes a node for the device that has one at path, as /dev does.
func node(t *testing.T, root, path string, mode uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(root+path, unix.S_IFBLK|mode, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(root+path, os.FileMode(mode)), os.Chown(root+path, 0, 6)); err != nil {
		t.Fatal(err)
	}
}

// TestUdevNames: what udev calls a device is told, and is a name for it.
func TestUdevNames(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	part := disk.AddPartition(1, 1<<20, 8<<20)
	root := hostRoot(t)
	node(t, root, disk.Path, 0o660)
	node(t, root, part, 0o640)
	name, partName := filepath.Base(disk.Path), filepath.Base(part)
	for link, target := range map[string]string{
		"/dev/disk/by-id/ata-X": "../../" + name, "/dev/disk/by-id/ata-X-part1": "../../" + partName,
		"/dev/disk/by-uuid/1A2B-3C4D": "../../" + partName, `/dev/disk/by-label/with\x20blank\x2f`: "../../" + partName,
		"/dev/disk/by-partuuid/0fc63daf-01": "../../" + partName, "/dev/mapper/mapped": "../" + name,
		"/dev/disk/by-id/dangling": "../../none", "/dev/disk/by-id/file": "/proc/version",
	} {
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	v := newVol(t, Options{Root: root})
	row := byName(rows(t, v, "vol.list_disks", `{}`, "disks"))[name]
	if diff := cmp.Diff([]string{"/dev/disk/by-id/ata-X"}, words(row["stable_ids"])); diff != "" {
		t.Error(diff)
	}
	if row["mode"] != "0660" || row["uid"] != 0.0 || row["gid"] != 6.0 || row["probe_error"] != nil {
		t.Errorf("node: %v %v %v, probe_error %v", row["mode"], row["uid"], row["gid"], row["probe_error"])
	}
	for _, other := range []string{
		disk.Path, part, "/dev/disk/by-id/ata-X", "/dev/disk/by-id/ata-X-part1", "/dev/mapper/mapped", "UUID=1A2B-3C4D", "LABEL=with blank/", "PARTUUID=0fc63daf-01",
	} {
		list := rows(t, v, "vol.list_disks", usageParams(t, other), "disks")
		if len(list) != 1 || list[0]["name"] != name {
			t.Errorf("%s: %v", other, list)
		}
	}
}

// TestMountFacts: a mount tells the names of the device under it as udev has them.
func TestMountFacts(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	tool(t, "", "mkfs.ext4", "-q", disk.Path)
	target := t.TempDir()
	if err := unix.Mount(disk.Path, target, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	root := hostRoot(t)
	node(t, root, disk.Path, 0o600)
	for _, link := range []string{"by-uuid/0fc63daf-8483-4772-8e79-3d69d8477de4", `by-label/two\x20words`, "by-id/x"} {
		if err := os.Symlink("../../"+filepath.Base(disk.Path), root+"/dev/disk/"+link); err != nil {
			t.Fatal(err)
		}
	}
	v := newVol(t, Options{Root: root})
	for _, source := range []string{disk.Path, "/dev/disk/by-id/x", "UUID=0fc63daf-8483-4772-8e79-3d69d8477de4", "LABEL=two words"} {
		list := rows(t, v, "vol.list_mounts", fmt.Sprintf(`{"source":%q}`, source), "mounts")
		if len(list) != 1 {
			t.Fatalf("%s: %d mounts", source, len(list))
		}
		row := list[0]
		if row["target"] != target || row["uuid"] != "0fc63daf-8483-4772-8e79-3d69d8477de4" || row["label"] != "two words" || len(words(row["stable_ids"])) != 3 {
			t.Errorf("%s: %v", source, row)
		}
	}
	if list := rows(t, v, "vol.list_mounts", `{"source":"/dev/none"}`, "mounts"); len(list) != 0 {
		t.Errorf("a device that is not there: %v", list)
	}
}

// TestHeldWithoutAMount: a filesystem that no list of mounts has any more still holds its disk.
func TestHeldWithoutAMount(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	tool(t, "", "mkfs.ext4", "-q", disk.Path)
	target := t.TempDir()
	if err := unix.Mount(disk.Path, target, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	row := byName(rows(t, newVol(t, Options{}), "vol.list_disks", `{}`, "disks"))[filepath.Base(disk.Path)]
	want := []any{map[string]any{"kind": "filesystem", "name": "ext4"}}
	if diff := cmp.Diff(want, row["in_use_by"]); diff != "" || row["in_use"] != true || len(words(row["mount_points"])) != 0 {
		t.Errorf("in_use %v, mount_points %v, %s", row["in_use"], row["mount_points"], diff)
	}
}

func TestListDisksLimit(t *testing.T) {
	v := newVol(t, Options{Root: testhost.Tree(t, "desktop")})
	all := rows(t, v, "vol.list_disks", `{}`, "disks")
	for limit := 1; limit < len(all)+2; limit++ {
		got := rows(t, v, "vol.list_disks", fmt.Sprintf(`{"limit":%d}`, limit), "disks")
		if diff := cmp.Diff(all[:min(limit, len(all))], got); diff != "" {
			t.Errorf("limit %d:\n%s", limit, diff)
		}
	}
}

func TestUnavailable(t *testing.T) {
	missing := func(v *Vol) (list []string) {
		for _, m := range v.Unavailable() {
			if m.Reason.Or("") != registry.UnsupportedReasonPlatform {
				continue // not built yet, or a part that a host may lack
			}
			list = append(list, m.Method)
		}
		slices.Sort(list)
		return list
	}
	if list := missing(newVol(t, Options{Root: testhost.Tree(t, "virtio")})); list != nil {
		t.Errorf("on a host with everything: %v", list)
	}
	want := []string{"vol.feasible_topologies", "vol.inventory", "vol.list_disks", "vol.list_filesystems", "vol.list_free_space",
		"vol.list_md_arrays", "vol.list_mounts", "vol.list_partitions", "vol.md_detail", "vol.usage"}
	if list := missing(newVol(t, Options{Root: t.TempDir()})); !slices.Equal(list, want) {
		t.Errorf("on a host with nothing: %v", list)
	}
}
