package volops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mountingVol is a Vol that may mount in the test's own mount namespace.
func mountingVol(t testing.TB) *Vol {
	t.Helper()
	dir := t.TempDir()
	return newVol(t, Options{State: openState(t, dir), StateDir: dir, AllowPrivateMounts: true})
}

// asAdmin calls a method as a caller with admin.
func asAdmin(t testing.TB, v *Vol, method, params string) error {
	t.Helper()
	row, _ := registry.Lookup(method)
	p, err := row.Decode([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	ctx := registry.WithCaller(t.Context(), registry.Caller{Name: "uid:0", Right: registry.RightAdmin})
	return row.Call(ctx, &registry.Servers{Vol: v}, p, &registry.Out{})
}

// findmntColumn is what findmnt says of a target.
func findmntColumn(t testing.TB, target, column string) string {
	t.Helper()
	return strings.TrimSpace(tool(t, "", "findmnt", "-n", "-r", "-o", column, "--mountpoint", target))
}

// TestMount mounts each type with random options at odd places, asks again, and unmounts; findmnt bears
// witness.
func TestMount(t *testing.T) {
	needMkfs(t)
	testhost.Tool(t, "mkfs.xfs", "xfsprogs")
	if !testhost.MountNS(t) {
		return
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 31))
	v := mountingVol(t)
	disks := map[string]string{}
	for _, typ := range []string{"ext4", "btrfs", "xfs"} {
		disk := loop(t, 340<<20)
		testhost.Command(t, "mkfs."+typ, "-q", disk.Path)
		disks[typ] = disk.Path
	}
	for range testhost.Rounds(6) {
		typ := pick(rng, "ext4", "btrfs", "xfs")
		options := pick(rng, nil, []string{"noatime"}, []string{"ro", "noexec"}, map[string][]string{
			"ext4": {"data=ordered", "nosymfollow"}, "btrfs": {"compress=zstd:3", "nodiratime"}, "xfs": {"logbufs=4", "sync"},
		}[typ])
		target := t.TempDir() + "/" + strings.ReplaceAll(pick(rng, oddNames...), "/", "") + pick(rng, "", "/deep/er")
		pairs := []any{"source", disks[typ], "target", target, "type", typ, "persistent", rng.IntN(2) == 0}
		if options != nil {
			pairs = append(pairs, "options", options)
		}
		got := obtain(t, v, "vol.mount", pairs...)
		m := got["mount"].(map[string]any)
		if got["created"] != true || got["folder_created"] != true || m["target"] != target || m["fstype"] != typ || m["managed"] != true || m["persistent"] != pairs[7] {
			t.Fatalf("%v: %v", pairs, got)
		}
		shown := strings.Split(findmntColumn(t, target, "VFS-OPTIONS")+","+findmntColumn(t, target, "FS-OPTIONS"), ",")
		for _, o := range append([]string{"nosuid", "nodev"}, options...) {
			if !slices.Contains(shown, o) && o != "data=ordered" {
				t.Errorf("%v: %s does not show in %v", pairs, o, shown)
			}
		}
		if again := obtain(t, v, "vol.mount", pairs...); again["created"] != false || again["folder_created"] != false {
			t.Fatalf("again: %v", again)
		}
		wantKind(t, failure(t, v, "vol.mount", "source", disks[typ], "target", target, "options", []string{"dirsync"}), "conflict", "options")
		gone := obtain(t, v, "vol.unmount", "target", target)
		if gone["deleted"] != true || gone["folder_removed"] != true || exists(target) {
			t.Fatalf("unmount: %v", gone)
		}
		if again := obtain(t, v, "vol.unmount", "target", target); again["deleted"] != false {
			t.Fatalf("again: %v", again)
		}
		if v.mountSpecs.Len() != 0 {
			t.Fatal("a registration was left")
		}
	}
}

// TestMountRefusals asks for mounts that nobody may have, and for options that do not exist.
func TestMountRefusals(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	disk, blankDisk := loop(t, 64<<20), loop(t, 64<<20)
	tool(t, "", "mkfs.ext4", "-q", "-L", "MOUNTME", disk.Path)
	dir := t.TempDir()
	must(t, os.Symlink("/etc", dir+"/etc-link"))
	must(t, os.Symlink("nowhere", dir+"/dangling"))
	must(t, os.Mkdir(dir+"/bound", 0o755))
	must(t, unix.Mount("/etc", dir+"/bound", "", unix.MS_BIND, ""))
	must(t, unix.Mount("", dir+"/bound", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")) // the folder is removed at the end, what is bound must not
	defer unix.Unmount(dir+"/bound", unix.MNT_DETACH)
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	for target, kind := range map[string]string{
		"/": "refused", "/etc": "refused", "/etc/new": "refused", "/usr/local/x": "refused", "/root/x": "refused", "/boot": "refused",
		"/dev/shm": "refused", "/proc/x": "refused", "/sys": "refused", "/run/x/y": "refused", "/bin/x": "refused", "/lib/x": "refused",
		"/lib64": "refused", "/sbin/z": "refused", dir + "/etc-link": "refused", dir + "/etc-link/new": "refused", dir + "/bound": "refused",
		dir + "/bound/new": "refused", v.stateDir: "refused", filepath.Dir(v.stateDir): "refused", v.stateDir + "/x": "refused",
		dir + "/dangling/x": "os_error", dir + "/file": "os_error", dir + "/file/x": "os_error", "/mnt/../etc": "invalid_params",
		"/proc/self/root/mnt": "os_error", "/proc/self/cwd/x": "os_error",
	} {
		err := failure(t, v, "vol.mount", "source", disk.Path, "target", target)
		if err.ErrorKind() != kind || kind == "refused" && !strings.Contains(string(err.AppendData(nil)), "protected_target") {
			t.Errorf("%s: %s %s, want %s", target, err.ErrorKind(), err.AppendData(nil), kind)
		}
	}
	if entries, err := os.ReadDir("/etc"); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "new" }) {
		t.Error("a folder was made in /etc")
	}
	for _, o := range []string{"suid", "dev"} {
		wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir+"/m", "options", []string{o}), "permission_denied", "admin")
	}
	for _, o := range []string{"loop", "user", "context=x", "subvol=/", "journal_path=/dev/vda", "usrjquota=x", "remount", "bind", "ro=1", "device=/dev/vda", "sb=1"} {
		wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir+"/m", "options", []string{"noatime", o}), "invalid_params", "options[1]")
	}
	wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir+"/m", "options", []string{"commit=x"}), "os_error", "EINVAL", `"applied":"no"`, "commit")
	wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir+"/m", "type", "btrfs"), "refused", `"type"`)
	wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir+"/m", "subvolume", "x"), "invalid_params", "subvolume")
	wantKind(t, failure(t, v, "vol.mount", "source", blankDisk.Path, "target", dir+"/m"), "not_found", "filesystem")
	wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir+"/m", "expect", map[string]any{"size_bytes": 1}), "refused", "expectation")
	if exists(dir+"/m") || v.mountSpecs.Len() != 0 {
		t.Error("something was left")
	}
	private := newVol(t, Options{State: openState(t, t.TempDir())})
	wantKind(t, failure(t, private, "vol.mount", "source", disk.Path, "target", dir+"/m"), "unsupported", "allow-private-mounts")
	must(t, asAdmin(t, v, "vol.mount", params("source", "LABEL=MOUNTME", "target", dir+"/m", "options", []string{"suid"})))
	defer unix.Unmount(dir+"/m", unix.MNT_DETACH)
	if shown := findmntColumn(t, dir+"/m", "VFS-OPTIONS"); strings.Contains(shown, "nosuid") || !strings.Contains(shown, "nodev") {
		t.Errorf("mounted with %s", shown)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMountSubvolumes mounts subvolumes by path and id, and a btrfs of which the kernel knows one device.
func TestMountSubvolumes(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Size: 160 << 20, Data: "raid1", Metadata: "raid1", Label: "MOSSUB"})
	b.Run("subvolume", "create", b.Path+"/a,b")
	b.Run("subvolume", "create", b.Path+"/a,b/nested")
	b.Unmount()
	b.Run("device", "scan", "--forget")
	dir := t.TempDir()
	source := b.Disks[1].Path
	for subvolume, root := range map[string]string{"a,b": "/a,b", "/a,b/nested/": "/a,b/nested", "subvolid=257": "/a,b/nested", "subvolid=5": "/"} {
		target := dir + "/m"
		got := obtain(t, v, "vol.mount", "source", source, "target", target, "subvolume", subvolume)
		if m := got["mount"].(map[string]any); m["root"] != root || len(m["devices"].([]any)) != 2 {
			t.Errorf("%s: %v", subvolume, m)
		}
		if again := obtain(t, v, "vol.mount", "source", "LABEL=MOSSUB", "target", target, "subvolume", subvolume); again["created"] != false {
			t.Errorf("again: %v", again)
		}
		wantKind(t, failure(t, v, "vol.mount", "source", source, "target", target, "subvolume", "other"), "conflict", "subvolume")
		obtain(t, v, "vol.unmount", "target", target)
	}
	wantKind(t, failure(t, v, "vol.mount", "source", source, "target", dir+"/m", "subvolume", "missing"), "os_error", "ENOENT")
	for _, bad := range []string{"../x", "a/../..", "subvolid=x", "subvolid=", strings.Repeat("x", 256)} {
		wantKind(t, failure(t, v, "vol.mount", "source", source, "target", dir+"/m", "subvolume", bad), "invalid_params", "subvolume")
	}
	b.Disks[0].Detach()
	b.Run("device", "scan", "--forget")
	wantKind(t, failure(t, v, "vol.mount", "source", source, "target", dir+"/m"), "os_error", `"applied":"no"`)
	obtain(t, v, "vol.mount", "source", source, "target", dir+"/m", "options", []string{"degraded"})
	obtain(t, v, "vol.unmount", "target", dir+"/m")
}

// TestUnmountRefusals unmounts what is held, what is not ours, and what lives on.
func TestUnmountRefusals(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	disk := loop(t, 64<<20)
	tool(t, "", "mkfs.ext4", "-q", disk.Path)
	dir := t.TempDir() + "/m"
	mountIt := func() { obtain(t, v, "vol.mount", "source", disk.Path, "target", dir) }
	mountIt()
	must(t, os.Mkdir(dir+"/sub", 0o755))
	pid := testhost.Stand(t, "sh", "-ec", `cd "$0"; echo ready; read -r _`, dir)
	wantKind(t, failure(t, v, "vol.unmount", "target", dir), "busy", fmt.Sprintf(`"pid":%d`, pid))
	other := testhost.Stand(t, "sh", "-ec", `exec 3>"$0/held"; echo ready; read -r _`, dir)
	wantKind(t, failure(t, v, "vol.unmount", "target", dir), "busy", fmt.Sprintf(`"pid":%d`, other))
	must(t, unix.Mount("none", dir+"/sub", "tmpfs", 0, ""))
	wantKind(t, failure(t, v, "vol.unmount", "target", dir), "busy", dir+"/sub")
	wantKind(t, failure(t, v, "vol.unmount", "target", dir+"/sub"), "refused", "foreign_mount")
	if got := obtain(t, v, "vol.unmount", "target", dir+"/sub", "force", true); got["deleted"] != true {
		t.Errorf("%v", got)
	}
	if got := obtain(t, v, "vol.unmount", "target", dir, "lazy", true); got["deleted"] != true || got["detached"] != true {
		t.Errorf("%v", got)
	}
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "ext4", "force", true), "busy")
	for _, target := range []string{"/", "/proc", "/sys", "/dev"} {
		wantKind(t, failure(t, v, "vol.unmount", "target", target, "force", true, "lazy", true), "refused", "protected_target")
	}
	must(t, v.state.Set(v.mountSpecs.Put("/mnt/away", mountSpec{Type: "ext4", UUID: "x", Options: []string{}})))
	if got := obtain(t, v, "vol.unmount", "target", "/mnt/away"); got["deleted"] != true || v.mountSpecs.Has("/mnt/away") {
		t.Errorf("%v", got)
	}
}

// TestAnotherMountInItsPlace has somebody unmount what we mounted and mount something else there, which gets the
// same id of the kernel's: it is not ours to unmount, nor to be taken for what we mounted.
func TestAnotherMountInItsPlace(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	disk, other := loop(t, 64<<20), loop(t, 64<<20)
	tool(t, "", "mkfs.ext4", "-q", disk.Path)
	tool(t, "", "mkfs.ext4", "-q", other.Path)
	dir := t.TempDir()
	for _, source := range []string{other.Path, "none"} {
		first := obtain(t, v, "vol.mount", "source", disk.Path, "target", dir)
		must(t, unix.Unmount(dir, 0))
		fstype := map[string]string{other.Path: "ext4", "none": "tmpfs"}[source]
		must(t, unix.Mount(source, dir, fstype, 0, ""))
		t.Logf("mount %v, then %s", first["mount"].(map[string]any)["mount_id"], findmntColumn(t, dir, "ID"))
		wantKind(t, failure(t, v, "vol.unmount", "target", dir), "refused", "foreign_mount")
		wantKind(t, failure(t, v, "vol.mount", "source", disk.Path, "target", dir), "conflict", "source")
		must(t, unix.Unmount(dir, 0))
		if again := obtain(t, v, "vol.mount", "source", disk.Path, "target", dir); again["created"] != true {
			t.Errorf("again: %v", again)
		}
		obtain(t, v, "vol.unmount", "target", dir)
	}
}

// TestTargetSwapped has a folder on the way to the target replaced by a link to /etc at any moment: nothing is
// ever mounted or made there.
func TestTargetSwapped(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	disk := loop(t, 64<<20)
	tool(t, "", "mkfs.ext4", "-q", disk.Path)
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/way", 0o755))
	must(t, os.Symlink("/etc", dir+"/link"))
	mounted, refused := 0, 0
	for range testhost.Rounds(20) {
		ctx, stop := context.WithCancel(t.Context())
		var swapping sync.WaitGroup
		swapping.Go(func() {
			for ctx.Err() == nil {
				unix.Renameat2(unix.AT_FDCWD, dir+"/way", unix.AT_FDCWD, dir+"/link", unix.RENAME_EXCHANGE)
			}
		})
		_, err := try(t, v, "vol.mount", params("source", disk.Path, "target", dir+"/way/new"))
		stop()
		swapping.Wait()
		if exists("/etc/new") {
			t.Fatal("a folder was made in /etc")
		}
		if err != nil {
			refused++
		} else {
			mounted++
		}
		for key := range v.mountSpecs.All() {
			if strings.HasPrefix(key, "/etc") || err != nil && !exists(key) {
				t.Errorf("registered: %s, %v", key, err)
			}
			must(t, v.state.Set(v.mountSpecs.Remove(key)))
		}
		for _, place := range []string{dir + "/way/new", dir + "/link/new"} {
			unix.Unmount(place, unix.MNT_DETACH)
		}
	}
	t.Logf("mounted %d times, refused %d times", mounted, refused)
}
