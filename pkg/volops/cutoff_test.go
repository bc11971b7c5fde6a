package volops

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/internal/testhost"
)

// interruptedRows are the ids and messages of what vol.inventory says was cut off.
func interruptedRows(t *testing.T, v *Vol) (ids, messages []string) {
	t.Helper()
	for _, p := range obtain(t, v, "vol.inventory")["health"].([]any) {
		if row := p.(map[string]any); row["kind"] == "interrupted" {
			ids, messages = append(ids, row["id"].(string)), append(messages, row["message"].(string))
		}
	}
	return ids, messages
}

// cutOffOn has a write to a device look as if it had been cut off.
func cutOffOn(t *testing.T, v *Vol, method, device string) {
	t.Helper()
	h, err := v.devicesOf(t.Context(), "device", []string{device}, nil)
	must(t, err)
	defer h.close()
	w, err := v.begin(t.Context(), method, h.targets, "")
	must(t, err)
	w.Left()
}

// TestCutOffFollowsTheDevice gives the name of a disk on which a write was cut off to another disk, and formats
// that: what was cut off is told as before, in this start and in the next, and is struck off when its own disk is
// formatted, whatever that is called then.
func TestCutOffFollowsTheDevice(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	for range 20 { // somebody else may take the name
		if cutOffAndRenamed(t) {
			return
		}
	}
	t.Error("no name of a loop stays free long enough")
}

// cutOffAndRenamed does it once; false where the name was taken by somebody else.
func cutOffAndRenamed(t *testing.T) bool {
	dir, files := t.TempDir(), t.TempDir()
	v, s := afterBoot(t, dir, "boot")
	defer func() { closeBoth(t, v, s) }()
	path := attach(t, files+"/first")
	cutOffOn(t, v, "vol.create_filesystem", path)
	if ids, _ := interruptedRows(t, v); len(ids) != 1 || ids[0] != path {
		t.Fatalf("interrupted: %q, want %s", ids, path)
	}
	tool(t, "", "losetup", "-d", path)
	must(t, os.WriteFile(files+"/other", nil, 0o600))
	must(t, os.Truncate(files+"/other", 32<<20))
	if exec.Command("losetup", path, files+"/other").Run() != nil {
		return false
	}
	defer exec.Command("losetup", "-d", path).Run()
	obtain(t, v, "vol.create_filesystem", "device", path, "type", "ext4")
	for _, start := range []string{"this start", "the next"} {
		if ids, messages := interruptedRows(t, v); len(ids) != 1 || !strings.Contains(messages[0], "not there now") {
			t.Errorf("%s: interrupted: %q %q, want one that is not there", start, ids, messages)
		}
		closeBoth(t, v, s)
		v, s = afterBoot(t, dir, "boot")
	}
	cutOffOn(t, v, "vol.create_filesystem", path)
	obtain(t, v, "vol.create_filesystem", "device", path, "type", "swap", "force", true)
	if ids, messages := interruptedRows(t, v); len(ids) != 1 || !strings.Contains(messages[0], "not there now") {
		t.Errorf("interrupted: %q %q, want that of the first disk", ids, messages)
	}
	return true
}

// TestCutOffDevices holds devices of the journal against devices of now.
func TestCutOffDevices(t *testing.T) {
	v := newVol(t, Options{State: openState(t, t.TempDir())})
	boot := v.state.Boot().Mark()
	on := func(path, serial, wwn string, sequence int64, table, part string) *target {
		disk := strings.TrimSuffix(path, "1")
		tgt := &target{v: v, name: strings.TrimPrefix(path, "/dev/"), whole: strings.TrimPrefix(disk, "/dev/"), size: 1 << 30, contents: &ondisk.Contents{}}
		tgt.disk = &blk.Disk{Name: tgt.whole, Sequence: blk.Fact[int64]{Value: sequence, Known: sequence != 0}}
		tgt.disk.Serial, tgt.disk.WWN = serial, wwn
		if table != "" {
			tgt.contents.Table = &ondisk.Table{UUID: table}
		}
		if path != disk {
			tgt.partition, tgt.entry = &blk.Partition{}, &ondisk.Partition{UUID: part}
		}
		return tgt
	}
	for name, c := range map[string]struct {
		was     *target
		earlier bool // in another boot
		now     *target
		is      bool
	}{
		"the same":                                  {on("/dev/sda", "S", "", 1, "", ""), false, on("/dev/sda", "S", "", 1, "", ""), true},
		"renamed":                                   {on("/dev/sda", "S", "", 1, "", ""), true, on("/dev/sdb", "S", "", 9, "", ""), true},
		"its name is another's":                     {on("/dev/sda", "S", "", 1, "", ""), true, on("/dev/sda", "T", "", 1, "", ""), false},
		"another wwn":                               {on("/dev/sda", "S", "w", 1, "", ""), false, on("/dev/sda", "S", "x", 1, "", ""), false},
		"partition of the same":                     {on("/dev/sda1", "S", "", 1, "", "p"), true, on("/dev/sdb1", "S", "", 1, "", "p"), true},
		"disk and partition":                        {on("/dev/sda1", "S", "", 1, "", "p"), false, on("/dev/sda", "S", "", 1, "", ""), false},
		"nameless":                                  {on("/dev/vda", "", "", 1, "", ""), false, on("/dev/vda", "", "", 1, "", ""), true},
		"nameless, its name is another's":           {on("/dev/vda", "", "", 1, "", ""), false, on("/dev/vda", "", "", 2, "", ""), false},
		"nameless, in another boot":                 {on("/dev/vda", "", "", 1, "", ""), true, on("/dev/vda", "", "", 1, "", ""), false},
		"nameless, in another boot, by its table":   {on("/dev/vda", "", "", 1, "g", ""), true, on("/dev/vdb", "", "", 1, "g", ""), true},
		"nameless, another table":                   {on("/dev/vda", "", "", 1, "g", ""), true, on("/dev/vda", "", "", 1, "h", ""), false},
		"nameless, a copy in this boot":             {on("/dev/vda", "", "", 1, "g", ""), false, on("/dev/vdb", "", "", 2, "g", ""), false},
		"nameless partition, by its own GUID":       {on("/dev/vda1", "", "", 1, "", "p"), true, on("/dev/vdb1", "", "", 1, "", "p"), true},
		"nameless partition, another one":           {on("/dev/vda1", "", "", 1, "", "p"), true, on("/dev/vda1", "", "", 1, "", "q"), false},
		"nameless, not numbered by an old kernel":   {on("/dev/vda", "", "", 0, "", ""), false, on("/dev/vda", "", "", 0, "", ""), true},
		"nameless, not numbered, another name":      {on("/dev/vda", "", "", 0, "", ""), false, on("/dev/vdb", "", "", 0, "", ""), false},
		"a name of its own where there was none":    {on("/dev/vda", "", "", 1, "g", ""), true, on("/dev/vda", "S", "", 1, "h", ""), false},
		"numbered now, and not when it was cut off": {on("/dev/vda", "", "", 0, "", ""), false, on("/dev/vda", "", "", 1, "", ""), false},
	} {
		j := v.journalled(c.was)
		if c.earlier {
			j.Boot = "another"
		}
		if got := j.is(c.now); got != c.is {
			t.Errorf("%s: %v, want %v (boot %s)", name, got, c.is, boot)
		}
		now := v.journalled(c.now)
		if same := j.identity() == now.identity(); same && !c.is {
			t.Errorf("%s: both are %q", name, now.identity())
		}
	}
}

// TestCutOffSubvolumeStaysWithItsFilesystem mounts another filesystem where a deletion was cut off, and asks for the
// same there: what was cut off on the first is told as before.
func TestCutOffSubvolumeStaysWithItsFilesystem(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	at := t.TempDir()
	for i := range 2 {
		disk := loop(t, 130<<20)
		tool(t, "", "mkfs.btrfs", "-q", disk.Path)
		must(t, unix.Mount(disk.Path, at, "btrfs", 0, ""))
		path := at + "/one"
		if i == 0 {
			obtain(t, v, "vol.create_subvolume", "path", path)
			p, err := v.placeAt(t.Context(), path, "path")
			must(t, err)
			w, err := v.state.Begin(t.Context(), p.deletionIntent(nil))
			must(t, err)
			w.Left()
			p.close()
		} else {
			obtain(t, v, "vol.create_subvolume", "path", path)
			obtain(t, v, "vol.delete_subvolume", "path", path)
			obtain(t, v, "vol.delete_subvolume", "path", path)
		}
		must(t, unix.Unmount(at, 0))
		obtain(t, v, "vol.delete_subvolume", "path", path+"/below")
		if ids, _ := interruptedRows(t, v); len(ids) != 1 || ids[0] != path {
			t.Errorf("%d: interrupted: %q, want %s", i, ids, path)
		}
	}
}
