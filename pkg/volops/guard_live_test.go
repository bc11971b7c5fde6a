package volops

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// deviceWrites are the writes to devices, with params for one device.
var deviceWrites = map[string]func(device, spare string, force bool) []any{
	"vol.create_partition": func(device, _ string, _ bool) []any { return []any{"disk", device} },
	"vol.create_filesystem": func(device, _ string, force bool) []any {
		return []any{"device", device, "type", "ext4", "force", force}
	},
	"vol.create_btrfs_raid": func(device, spare string, force bool) []any {
		return []any{"devices", []string{spare, device}, "level", "raid1", "force", force}
	},
}

// TestInUseIsRefused holds every way of being in use against every write to a device, forced and not, on the
// disk and on the node that is held: each is refused with the holder's name, and no byte changes.
func TestInUseIsRefused(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	spare := loop(t, 160<<20).Path
	for _, use := range testhost.Uses(t) {
		nodes := slices.Compact([]string{use.Disk.Path, use.Node})
		for _, node := range nodes {
			sum := testhost.Sum(t, use.Disk.Path)
			for method, pairs := range deviceWrites {
				for _, force := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%s/%v", use.Name, filepath.Base(node), method, force), func(t *testing.T) {
						refusedInUse(t, v, use, node, method, pairs(node, spare, force))
					})
				}
			}
			if testhost.Sum(t, use.Disk.Path) != sum {
				t.Errorf("%s: %s was changed", use.Name, use.Disk.Path)
			}
		}
	}
	if !blank(t, spare) {
		t.Error("the spare disk was written to")
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

func refusedInUse(t *testing.T, v *Vol, use testhost.Use, node, method string, pairs []any) {
	t.Helper()
	if method == "vol.create_partition" {
		refusedPartition(t, v, use, node, pairs)
		return
	}
	var busy *registry.BusyError
	err := failure(t, v, method, pairs...)
	if !errors.As(err, &busy) {
		t.Fatalf("%v (%s)", err, err.ErrorKind())
	}
	if !slices.ContainsFunc(busy.Holders, func(h registry.Holder) bool {
		return string(h.Kind) == use.Kind && h.Name.Or("") == use.Holder
	}) {
		t.Errorf("holders %s, want %s %s", err.AppendData(nil), use.Kind, use.Holder)
	}
}

// refusedPartition judges its own extent only: beside a mounted partition there is room, and a disk that is
// one filesystem has none whether it is in use or not.
func refusedPartition(t *testing.T, v *Vol, use testhost.Use, node string, pairs []any) {
	t.Helper()
	if use.Name == "partition mounted" {
		pairs = append(pairs, "size_bytes", 1<<30)
	}
	err := failure(t, v, "vol.create_partition", pairs...)
	want := map[bool]string{true: "resource_exhausted", false: "conflict"}[use.Name == "partition mounted" && node == use.Disk.Path]
	if node != use.Disk.Path {
		want = "not_found"
	}
	wantKind(t, err, want)
}

// TestWholeDiskInUse asks for partitions on blank disks that somebody uses as a whole.
func TestWholeDiskInUse(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	for name, hold := range map[string]func(disk *testhost.Loop){
		"raw": func(disk *testhost.Loop) {
			testhost.Stand(t, "sh", "-ec", `exec 3<>"$0"; echo ready; read -r _`, disk.Path)
		},
		"loop":      func(disk *testhost.Loop) { testhost.NewLoop(t, testhost.LoopOptions{Device: disk.Path}) },
		"exclusive": func(disk *testhost.Loop) { holdExclusively(t, disk.Path) },
	} {
		for _, partitions := range []int{0, 1} {
			disk := loop(t, 64<<20)
			if partitions > 0 {
				obtain(t, v, "vol.create_partition", "disk", disk.Path, "size_bytes", 1<<20)
			}
			hold(disk)
			sum := testhost.Sum(t, disk.Path)
			wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path), "busy")
			if testhost.Sum(t, disk.Path) != sum || exists(fmt.Sprintf("%sp%d", disk.Path, partitions+1)) {
				t.Errorf("%s, %d partitions: was changed", name, partitions)
			}
		}
	}
}

// holdExclusively claims a device as a driver of the kernel would, which no list shows: our own descriptors
// do not count.
func holdExclusively(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}

// TestUnknownHolder names the kernel where nobody can be found.
func TestUnknownHolder(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 64<<20)
	holdExclusively(t, disk.Path)
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "ext4"), "busy", `"kind":"kernel"`)
}

// TestSystemDisks closes to all writes what bears the system or the state folder: another partition of the
// disk, the disk that a loop's file lies on, the other member of a btrfs.
func TestSystemDisks(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	for _, c := range []struct{ target, bears string }{{t.TempDir(), "the state folder"}, {"/boot", "/boot"}, {"/usr/local", "/usr/local"}} {
		disk, free := besides(t, c.target)
		stateDir := t.TempDir()
		if c.bears == "the state folder" {
			stateDir = c.target
		}
		v := newVol(t, Options{State: openState(t, t.TempDir()), StateDir: stateDir})
		isClosed(t, v, disk.Path, free, c.bears)
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Size: 160 << 20, Data: "raid1", Metadata: "raid1"})
	above := dirOnLoop(t, b.Path)
	v := newVol(t, Options{State: openState(t, t.TempDir()), StateDir: above})
	for _, disk := range b.Disks {
		wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "ext4", "force", true), "refused", "system_disk")
	}
}

// besides mounts the first partition of a new disk and returns the disk and another partition of it.
func besides(t *testing.T, target string) (disk *testhost.Loop, free string) {
	t.Helper()
	disk = loop(t, 64<<20)
	tool(t, "label: gpt\nstart=1MiB, size=30MiB\nstart=31MiB, size=16MiB\n", "sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk.Path)
	first, second := disk.AddPartition(1, 1<<20, 30<<20), disk.AddPartition(2, 31<<20, 16<<20)
	tool(t, "", "mkfs.ext4", "-q", first)
	if err := unix.Mount(first, target, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	return disk, second
}

func isClosed(t *testing.T, v *Vol, disk, partition, bears string) {
	t.Helper()
	wantKind(t, failure(t, v, "vol.create_partition", "disk", disk), "refused", "system_disk", bears)
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", partition, "type", "ext4", "force", true), "refused", "system_disk", bears)
	wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", []string{partition}, "level", "single", "force", true), "refused", "system_disk", bears)
}

// dirOnLoop mounts a filesystem that lies in a file in the folder.
func dirOnLoop(t *testing.T, folder string) string {
	t.Helper()
	file := folder + "/disk"
	path := attach(t, file)
	t.Cleanup(func() { exec.Command("losetup", "-d", path).Run() })
	tool(t, "", "mkfs.ext4", "-q", path)
	dir := t.TempDir()
	if err := unix.Mount(path, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	return dir
}

// TestExpectation gives every member of expect a wrong value.
func TestExpectation(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 64<<20)
	tool(t, "", "mkfs.ext4", "-q", "-U", "0fc63daf-8483-4772-8e79-3d69d8477de4", disk.Path)
	sum := testhost.Sum(t, disk.Path)
	for _, expect := range []map[string]any{{"serial": "x"}, {"wwn": "x"}, {"size_bytes": 64<<20 - 1}, {"uuid": "0fc63daf-8483-4772-8e79-3d69d8477de5"}} {
		wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "ext4", "force", true, "expect", expect), "refused", "expectation")
	}
	if testhost.Sum(t, disk.Path) != sum {
		t.Error("was changed")
	}
	expect := map[string]any{"size_bytes": 64 << 20, "uuid": "0fc63daf-8483-4772-8e79-3d69d8477de4"}
	obtain(t, v, "vol.create_filesystem", "device", disk.Path, "type", "ext4", "force", true, "expect", expect)
}

// TestRaces has somebody mount, swap to or claim a device at any moment while it is written to: either the
// call is refused and what was there is whole, or it comes first and the other fails.
func TestRaces(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	for _, c := range []struct {
		held, made string
		step       time.Duration
	}{{"ext4", "btrfs", 5 * time.Millisecond}, {"ext4", "ext4", time.Millisecond}, {"swap", "btrfs", 3 * time.Millisecond}, {"swap", "vfat", time.Millisecond / 2}} {
		t.Run(c.held+" against "+c.made, func(t *testing.T) {
			disk := loop(t, 130<<20)
			lost, won := 0, 0
			for i := range testhost.Rounds(5) {
				if raceOnce(t, v, disk.Path, c.held, c.made, time.Duration(i%40)*c.step) {
					won++
				} else {
					lost++
				}
			}
			t.Logf("written %d times, refused %d times", won, lost)
		})
	}
}

// raceOnce makes what is to be held, and has it taken after a while; true where the write came first.
func raceOnce(t *testing.T, v *Vol, path, held, made string, after time.Duration) bool {
	t.Helper()
	tool(t, "", "wipefs", "-aqf", path)
	dir := t.TempDir()
	if held == "swap" {
		tool(t, "", "mkswap", "-q", path)
	} else {
		tool(t, "", "mkfs.ext4", "-q", path)
		putFile(t, path, dir)
	}
	var taken error
	var wait sync.WaitGroup
	wait.Go(func() {
		time.Sleep(after)
		if held == "swap" {
			taken = exec.Command("swapon", path).Run()
			return
		}
		taken = unix.Mount(path, dir, held, 0, "")
	})
	_, err := try(t, v, "vol.create_filesystem", params("device", path, "type", made, "force", true))
	wait.Wait()
	if taken == nil {
		defer release(t, path, dir, held)
	}
	switch {
	case err == nil && taken == nil && (held != made || exists(dir+"/file")): // what was made may be taken too
		t.Fatalf("%s was made on what was in use", made)
	case err != nil && taken == nil && held == "ext4":
		if text, fileErr := os.ReadFile(dir + "/file"); string(text) != "contents" {
			t.Fatalf("what was there is lost: %q, %v; refused with %v", text, fileErr, err)
		}
	case err != nil && taken != nil:
		var busy *registry.BusyError
		if !errors.As(err, &busy) {
			t.Fatalf("neither came first: %v, %v", err, taken)
		}
	}
	return err == nil
}

func putFile(t *testing.T, path, dir string) {
	t.Helper()
	if err := unix.Mount(path, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/file", []byte("contents"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
}

// release ends a use and checks that what was used is whole.
func release(t *testing.T, path, dir, held string) {
	t.Helper()
	if held == "swap" {
		tool(t, "", "swapoff", path)
		return
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Error(err)
	}
	tool(t, "", "e2fsck", "-fn", path)
}

// TestReattached has the loop under a name attached to another file at any moment while it is written to: the
// file that it stood on is written to, or none.
func TestReattached(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	dir := t.TempDir()
	other := dir + "/other"
	written := 0
	for i := range testhost.Rounds(10) {
		if err := os.WriteFile(other, []byte(strings.Repeat("precious", 1<<20)), 0o600); err != nil {
			t.Fatal(err)
		}
		path := attach(t, dir+"/first")
		var wait sync.WaitGroup
		wait.Go(func() {
			time.Sleep(time.Duration(i%20) * time.Millisecond / 2)
			exec.Command("losetup", "-d", path).Run()
			exec.Command("losetup", path, other).Run()
		})
		expect := map[string]any{"size_bytes": 32 << 20}
		_, err := try(t, v, "vol.create_filesystem", params("device", path, "type", []string{"ext4", "vfat", "swap"}[i%3], "force", true, "expect", expect))
		wait.Wait()
		exec.Command("losetup", "-d", path).Run()
		if err == nil {
			written++
		}
		if text, err := os.ReadFile(other); string(text) != strings.Repeat("precious", 1<<20) {
			t.Fatalf("the other file was written to: %v", err)
		}
		os.Remove(dir + "/first")
	}
	t.Logf("written %d times", written)
}

// attach makes a loop over a new file, without help of ours that would hold it.
func attach(t *testing.T, file string) string {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 32<<20); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(tool(t, "", "losetup", "-fP", "--show", file))
}

// TestReadOnlyAndTwice asks for every write to a read-only disk, and for one filesystem on one device by two of its
// names.
func TestReadOnlyAndTwice(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	spare := loop(t, 160<<20).Path
	disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 160 << 20, ReadOnly: true})
	twin := testhost.NewLoop(t, testhost.LoopOptions{Size: 160 << 20})
	// Names that lead to one device: the folder is the test's own.
	must(t, unix.Mount("none", "/dev/shm", "tmpfs", 0, ""))
	defer unix.Unmount("/dev/shm", unix.MNT_DETACH)
	must(t, os.Symlink(twin.Path, "/dev/shm/again"))
	must(t, os.Symlink("again", "/dev/shm/and-again"))
	for method, pairs := range deviceWrites {
		for _, force := range []bool{false, true} {
			wantKind(t, failure(t, v, method, pairs(disk.Path, spare, force)...), "refused", "read_only")
		}
	}
	for _, list := range [][]string{{twin.Path, "/dev/shm/again"}, {"/dev/shm/and-again", "/dev/shm/again"}, {twin.Path, spare, "/dev/./" + filepath.Base(twin.Path)}} {
		for _, force := range []bool{false, true} {
			wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", list, "level", "raid1", "force", force), "invalid_params", "devices")
		}
	}
	for _, free := range []string{spare, twin.Path} {
		if !blank(t, free) {
			t.Errorf("%s was written to", free)
		}
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

// TestOneDeviceTwice makes different filesystems on one device at once: they take turns, and each is whole.
func TestOneDeviceTwice(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 130<<20)
	var wait sync.WaitGroup
	results := make([]string, 6)
	for i := range results {
		wait.Go(func() {
			typ := []string{"ext4", "btrfs", "vfat"}[i%3]
			b, err := try(t, v, "vol.create_filesystem", params("device", disk.Path, "type", typ, "force", true))
			var busy *registry.BusyError
			if err != nil && !errors.As(err, &busy) {
				results[i] = err.Error()
			} else if err == nil && !json.Valid(b) {
				results[i] = string(b)
			}
		})
	}
	wait.Wait()
	for _, r := range results {
		if r != "" {
			t.Error(r)
		}
	}
	if tags := blkidOf(t, disk.Path); tags["TYPE"] == "" {
		t.Errorf("%v", tags)
	}
}
