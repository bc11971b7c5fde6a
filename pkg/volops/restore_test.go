package volops

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
)

// afterBoot is a Vol over a state folder as a later boot finds it.
func afterBoot(t *testing.T, dir, boot string) (*Vol, *state.Store) {
	t.Helper()
	s, err := state.Open(dir, state.Options{Boot: state.Boot{ID: boot, MountNS: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Options{State: s, StateDir: dir, AllowPrivateMounts: true})
	if err != nil {
		t.Fatal(err)
	}
	return v, s
}

func closeBoth(t *testing.T, v *Vol, s *state.Store) {
	t.Helper()
	must(t, v.Close())
	must(t, s.Close())
}

func comesTrue(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not in time", what)
}

// registeredRow is what vol.inventory says of a registered mount; nil where it is not there.
func registeredRow(t *testing.T, v *Vol, target string) map[string]any {
	t.Helper()
	for _, m := range obtain(t, v, "vol.inventory")["registered_mounts"].([]any) {
		if row := m.(map[string]any); row["target"] == target {
			return row
		}
	}
	return nil
}

// TestRestore mounts, boots, and asks for what is there: what is persistent is back with its options, also
// where its disk comes late; what is not is struck off; what somebody unmounts in the same boot stays so.
func TestRestore(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	dir, at := t.TempDir(), t.TempDir()
	first, s := afterBoot(t, dir, "first")
	stays, late := loop(t, 64<<20), t.TempDir()+"/late"
	tool(t, "", "mkfs.ext4", "-q", stays.Path)
	lateDisk := attach(t, late)
	detach := func() { exec.Command("losetup", "-d", lateDisk).Run() }
	defer func() { detach() }()
	tool(t, "", "mkfs.ext4", "-q", lateDisk)
	part := loop(t, 64<<20)
	node := obtain(t, first, "vol.create_partition", "disk", part.Path)["partition"].(map[string]any)["path"].(string)
	obtain(t, first, "vol.create_filesystem", "device", node, "type", "ext4")
	obtain(t, first, "vol.mount", "source", stays.Path, "target", at+"/stays", "options", []string{"noatime"})
	obtain(t, first, "vol.mount", "source", lateDisk, "target", at+"/late")
	obtain(t, first, "vol.mount", "source", node, "target", at+"/once", "persistent", false)
	closeBoth(t, first, s)
	for _, name := range []string{"stays", "late", "once"} {
		must(t, unix.Unmount(at+"/"+name, 0))
		must(t, os.Remove(at+"/"+name))
	}
	detach()
	v, s := afterBoot(t, dir, "second")
	v.Start()
	comesTrue(t, "mount", func() bool { return v.isMounted(at+"/stays") && v.restorer.reason(at+"/late") != "" })
	if shown := findmntColumn(t, at+"/stays", "VFS-OPTIONS"); !strings.Contains(shown, "noatime") || !strings.Contains(shown, "nosuid") {
		t.Errorf("mounted with %s", shown)
	}
	if row := registeredRow(t, v, at+"/late"); row["exists"] != false || row["reason"] != "device_missing" {
		t.Errorf("%v", row)
	}
	if registeredRow(t, v, at+"/once") != nil || v.isMounted(at+"/once") {
		t.Error("what was not persistent came back, or stays registered")
	}
	lateDisk = strings.TrimSpace(tool(t, "", "losetup", "-fP", "--show", late))
	comesTrue(t, "late mount", func() bool { return v.isMounted(at + "/late") })
	if row := registeredRow(t, v, at+"/late"); row["exists"] != true {
		t.Errorf("%v", row)
	}
	must(t, s.Restored("vol"))
	must(t, unix.Unmount(at+"/late", 0))
	closeBoth(t, v, s)
	v, s = afterBoot(t, dir, "second")
	v.Start()
	time.Sleep(300 * time.Millisecond)
	if v.isMounted(at + "/late") {
		t.Error("was mounted again in the same boot")
	}
	if row := registeredRow(t, v, at+"/late"); row["exists"] != false {
		t.Errorf("%v", row)
	}
	must(t, unix.Unmount(at+"/stays", 0))
	closeBoth(t, v, s)
}

// TestRestoreStaysAway waits for one disk while somebody unmounts what was restored from another: that stays so
// for this boot, whatever disks appear and however often the daemon starts, and comes back with the next.
func TestRestoreStaysAway(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	dir, at := t.TempDir(), t.TempDir()
	v, s := afterBoot(t, dir, "first")
	there, absent := loop(t, 64<<20), t.TempDir()+"/absent"
	disk := attach(t, absent)
	detach := func() { exec.Command("losetup", "-d", disk).Run() }
	defer func() { detach() }()
	for target, device := range map[string]string{"/a": there.Path, "/b": disk} {
		tool(t, "", "mkfs.ext4", "-q", device)
		obtain(t, v, "vol.mount", "source", device, "target", at+target)
	}
	closeBoth(t, v, s)
	must(t, unix.Unmount(at+"/a", 0))
	must(t, unix.Unmount(at+"/b", 0))
	detach()
	v, s = afterBoot(t, dir, "second")
	v.Start()
	comesTrue(t, "mount", func() bool { return v.isMounted(at+"/a") && v.restorer.reason(at+"/b") != "" })
	must(t, unix.Unmount(at+"/a", 0))
	stays := func(when string) {
		t.Helper()
		if row := registeredRow(t, v, at+"/a"); v.isMounted(at+"/a") || row["exists"] != false {
			t.Errorf("%s it came back: %v", when, row)
		}
	}
	closeBoth(t, v, s)
	v, s = afterBoot(t, dir, "second")
	v.Start()
	comesTrue(t, "a reason", func() bool { return v.restorer.reason(at+"/b") != "" })
	stays("after a start")
	disk = strings.TrimSpace(tool(t, "", "losetup", "-fP", "--show", absent))
	comesTrue(t, "late mount", func() bool { return v.isMounted(at + "/b") })
	stays("with the other disk")
	closeBoth(t, v, s)
	v, s = afterBoot(t, dir, "third")
	v.Start()
	comesTrue(t, "mount", func() bool { return v.isMounted(at + "/a") })
	closeBoth(t, v, s)
	must(t, unix.Unmount(at+"/a", 0))
	must(t, unix.Unmount(at+"/b", 0))
}

// TestRestoreOther finds another filesystem or partition under the UUID that is registered, and leaves it.
func TestRestoreOther(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	dir, at := t.TempDir(), t.TempDir()
	v, s := afterBoot(t, dir, "first")
	disk := loop(t, 64<<20)
	uuid := "0fc63daf-8483-4772-8e79-3d69d8477d01"
	node := obtain(t, v, "vol.create_partition", "disk", disk.Path)["partition"].(map[string]any)["path"].(string)
	obtain(t, v, "vol.create_filesystem", "device", node, "type", "ext4", "uuid", uuid)
	obtain(t, v, "vol.mount", "source", node, "target", at+"/m")
	closeBoth(t, v, s)
	must(t, unix.Unmount(at+"/m", 0))
	tool(t, "", "wipefs", "-aq", node)
	forged := loop(t, 64<<20)
	tool(t, "", "mkfs.ext4", "-q", "-U", uuid, forged.Path)
	v, s = afterBoot(t, dir, "second")
	v.Start()
	comesTrue(t, "a reason", func() bool { return v.restorer.reason(at+"/m") != "" })
	if reason := v.restorer.reason(at + "/m"); reason != "device_differs" || v.isMounted(at+"/m") {
		t.Errorf("reason %q", reason)
	}
	closeBoth(t, v, s)
}

// TestMendTables damages a table as a crash would, with its change still open in the journal, and starts.
func TestMendTables(t *testing.T) {
	testhost.Tool(t, "sgdisk", "gdisk")
	if !testhost.MountNS(t) {
		return
	}
	for _, damage := range []string{"primary", "backup"} {
		dir := t.TempDir()
		v, s := afterBoot(t, dir, "first")
		disk := loop(t, 64<<20)
		obtain(t, v, "vol.create_partition", "disk", disk.Path, "size_bytes", 1<<20, "label", "kept")
		h, err := v.devicesOf(t.Context(), "disk", []string{disk.Path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.begin(t.Context(), "vol.create_partition", h.targets, ""); err != nil {
			t.Fatal(err)
		}
		h.close()
		closeBoth(t, v, s)
		f, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
		must(t, err)
		at := map[string]int64{"primary": 2 * 512, "backup": 64<<20 - 33*512}[damage]
		_, err = f.WriteAt(make([]byte, 512), at)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		v, s = afterBoot(t, dir, "second")
		v.Start()
		comesTrue(t, "mending", func() bool {
			return strings.Contains(tool(t, "", "sgdisk", "-v", disk.Path), "No problems found")
		})
		if table := sfdiskOf(t, disk.Path); len(table.Partitions) != 1 || table.Partitions[0].Name != "kept" {
			t.Errorf("%s: %+v", damage, table)
		}
		health := obtain(t, v, "vol.inventory")["health"].([]any)
		found := false
		for _, p := range health {
			row := p.(map[string]any)
			found = found || row["kind"] == "interrupted" && row["method"] == "vol.create_partition" && row["id"] == disk.Path
		}
		if !found {
			t.Errorf("no word of what was cut off: %v", health)
		}
		closeBoth(t, v, s)
	}
}
