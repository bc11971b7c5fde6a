//go:build vmtest

package volops

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestFATIsMounted mounts what other kernels here cannot, on a partition that the kernel found by its own
// reading of the table.
func TestFATIsMounted(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mkfs.vfat", "dosfstools")
	disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 80 << 20})
	part := scanned(t, disk)
	testhost.Command(t, "mkfs.vfat", "-F", "32", "-n", "ESP", "-i", "ab12cd34", part)
	target := filepath.Join(t.TempDir(), "esp")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	testhost.Command(t, "mount", "-t", "vfat", "-o", "ro", part, target)
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })

	v := newVol(t, Options{})
	mounts := rows(t, v, "vol.list_mounts", `{"fstype":"vfat"}`, "mounts")
	if len(mounts) != 1 {
		t.Fatalf("mounts: %v", mounts)
	}
	hasValues(t, mounts[0], map[string]any{
		"target": target, "source": part, "device": part, "fstype": "vfat", "read_only": true, "uuid": "AB12-CD34", "label": "ESP",
	})
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		t.Fatal(err)
	}
	hasValues(t, mounts[0]["usage"].(map[string]any), map[string]any{"total_bytes": float64(int64(st.Blocks) * st.Bsize)})

	list := rows(t, v, "vol.list_filesystems", `{"label_prefix":"ESP"}`, "filesystems")
	if len(list) != 1 {
		t.Fatalf("filesystems: %v", list)
	}
	hasValues(t, list[0], map[string]any{
		"type": "vfat", "version": "FAT32", "uuid": "AB12-CD34", "label": "ESP", "mounted": true, "read_only": true,
		"size_bytes": float64(int64(st.Blocks) * st.Bsize), "available_bytes": float64(int64(st.Bavail) * st.Bsize),
		"mount_points": []any{target},
	})
}

// scanned writes a GPT with one partition to a disk and waits for its node: this kernel reads the table.
func scanned(t *testing.T, disk *testhost.Loop) (node string) {
	t.Helper()
	testhost.Tool(t, "sfdisk", "fdisk")
	tool(t, "label: gpt\nstart=2048, size=131072, name=boot, uuid=6B1E0C44-93D2-4F6A-B5C8-1D2E3F405162\n", "sfdisk", "-q", disk.Path)
	node = disk.Path + "p1"
	if !slices.Contains(strings.Fields(testhost.Command(t, "lsblk", "-rnpo", "NAME", disk.Path)), node) {
		t.Fatalf("the kernel did not find %s", node)
	}
	return node
}

// hasValues asks that members of a row have these values.
func hasValues(t *testing.T, row, want map[string]any) {
	t.Helper()
	for member, value := range want {
		got := row[member]
		if list, ok := value.([]any); ok {
			if !slices.Equal(orNone(got), list) {
				t.Errorf("%s is %v, want %v", member, got, list)
			}
		} else if got != value {
			t.Errorf("%s is %v, want %v", member, got, value)
		}
	}
}

// TestPartitionIsScanned lists a partition whose device the kernel made without being told.
func TestPartitionIsScanned(t *testing.T) {
	vmtest.Guest(t)
	disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 80 << 20})
	node := scanned(t, disk)
	list := rows(t, newVol(t, Options{}), "vol.list_partitions", `{"disk":"`+disk.Path+`"}`, "partitions")
	if len(list) != 1 {
		t.Fatalf("partitions: %v", list)
	}
	hasValues(t, list[0], map[string]any{
		"path": node, "number": 1.0, "start_bytes": 2048.0 * 512, "size_bytes": 131072.0 * 512, "in_kernel": true,
		"uuid": "6b1e0c44-93d2-4f6a-b5c8-1d2e3f405162", "label": "boot",
	})
}

// TestArrayHoldsItsMembers looks at the disks below an array, and at the array as a disk that bears a
// mounted filesystem.
func TestArrayHoldsItsMembers(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mdadm", "mdadm")
	testhost.Command(t, "modprobe", "md_mod")
	whole := testhost.NewLoop(t, testhost.LoopOptions{Size: 80 << 20})
	other := testhost.NewLoop(t, testhost.LoopOptions{Size: 80 << 20})
	part := scanned(t, other)
	testhost.Command(t, "mdadm", "--create", "/dev/md/held", "--run", "--quiet", "-l1", "-n2", "--assume-clean", whole.Path, part)
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "/dev/md/held") })
	name := kernelOf(t, "/dev/md/held")
	testhost.Command(t, "mkfs.ext4", "-q", "/dev/md/held")
	target := t.TempDir()
	testhost.Command(t, "mount", "/dev/md/held", target)
	t.Cleanup(func() { unix.Unmount(target, 0) })

	v := newVol(t, Options{})
	disks := byName(rows(t, v, "vol.list_disks", `{}`, "disks"))
	for _, member := range []*testhost.Loop{whole, other} {
		row := disks[strings.TrimPrefix(member.Path, "/dev/")]
		hasValues(t, row, map[string]any{"in_use": true, "holders": []any{name}})
		if by := orNone(row["in_use_by"]); len(by) != 1 || by[0].(map[string]any)["kind"] != "array" || by[0].(map[string]any)["name"] != name {
			t.Errorf("%s is in use by %v", member.Path, by)
		}
	}
	below := []any{strings.TrimPrefix(whole.Path, "/dev/"), strings.TrimPrefix(part, "/dev/")}
	hasValues(t, disks[name], map[string]any{"kind": "md", "type": "raid1", "slaves": below, "mount_points": []any{target}, "in_use": true})
	detail := askArray(t, v, "/dev/md/held")
	if !detail.InUse || len(detail.InUseBy) != 1 || detail.InUseBy[0].Name.Or("") != target {
		t.Errorf("the array is in use by %v", detail.InUseBy)
	}
	if by := askArray(t, v, "/dev/"+name); by.UUID != detail.UUID {
		t.Errorf("by its node it is %v, by its link %v", by.UUID, detail.UUID)
	}
}

// TestArrayAsNobody asks without the right to read the members: the kernel tells what it is all the same.
func TestArrayAsNobody(t *testing.T) {
	vmtest.Guest(t)
	if os.Geteuid() == 0 {
		testhost.Command(t, "modprobe", "md_mod")
		disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 32 << 20})
		testhost.Command(t, "mdadm", "--create", "/dev/md/closed", "--run", "--quiet", "-l1", "-n2", disk.Path, "missing")
		t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "/dev/md/closed") })
	}
	if !testhost.Nobody(t) {
		return
	}
	list := rows(t, newVol(t, Options{}), "vol.list_md_arrays", `{}`, "arrays")
	if len(list) != 1 {
		t.Fatalf("arrays: %v", list)
	}
	hasValues(t, list[0], map[string]any{"probe_error": "no_privilege", "events": nil, "degraded": 1.0, "level": "raid1"})
	if id, _ := list[0]["uuid"].(string); len(id) != 36 {
		t.Errorf("uuid is %q", id)
	}
}
