package volops

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// shown is what btrfs subvolume show says, by the words before the colons.
func shown(b *testhost.Btrfs, path string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(b.Run("subvolume", "show", path)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			m[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return m
}

// TestCreateSubvolume makes random ones, asks again, and for others; btrfs and stat bear witness.
func TestCreateSubvolume(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 41))
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	v := writingVol(t)
	must(t, os.MkdirAll(b.Path+"/deep/folder", 0o755))
	parents := []string{"", "deep/folder"}
	for i := range testhost.Rounds(10) {
		name := filepath.Join(pick(rng, parents...), fmt.Sprintf("%s %d", pick(rng, oddNames...), i))
		path := b.Path + "/" + name
		pairs := []any{"path", path, "durable", rng.IntN(2) == 0}
		uid, gid, bits := 0, 0, "0755"
		if rng.IntN(2) == 0 {
			uid, gid, bits = rng.IntN(70000), rng.IntN(70000), pick(rng, "0700", "2770", "755")
			pairs = append(pairs, "uid", uid, "gid", gid, "mode", bits)
		}
		noCOW := rng.IntN(3) == 0
		if noCOW {
			pairs = append(pairs, "no_cow", true)
		}
		got := obtain(t, v, "vol.create_subvolume", pairs...)
		s, witness := got["subvolume"].(map[string]any), shown(b, path)
		if got["created"] != true || s["fs_path"] != name || s["path"] != path || s["uuid"] != witness["UUID"] || fmt.Sprint(s["id"]) != witness["Subvolume ID"] {
			t.Fatalf("%v: %v, btrfs says %v", pairs, got, witness)
		}
		st, err := os.Stat(path)
		must(t, err)
		sys := st.Sys().(*syscall.Stat_t)
		if int(sys.Uid) != uid || int(sys.Gid) != gid || fmt.Sprintf("%04o", sys.Mode&0o7777) != fmt.Sprintf("%04s", bits) {
			t.Errorf("%v: owner %d:%d, mode %o", pairs, sys.Uid, sys.Gid, sys.Mode)
		}
		if attributes := tool(t, "", "lsattr", "-d", path); strings.Contains(strings.Fields(attributes)[0], "C") != noCOW {
			t.Errorf("%v: %s", pairs, attributes)
		}
		if again := obtain(t, v, "vol.create_subvolume", pairs...); again["created"] != false {
			t.Fatalf("again: %v", again)
		}
		wantKind(t, failure(t, v, "vol.create_subvolume", "path", path, "uid", uid+1), "conflict", "uid")
		wantKind(t, failure(t, v, "vol.create_subvolume", "path", path, "no_cow", !noCOW), "conflict", "no_cow")
		parents = append(parents, name)
	}
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/deep"), "conflict", "folder")
	must(t, os.WriteFile(b.Path+"/file", nil, 0o600))
	must(t, os.Symlink("/etc", b.Path+"/link"))
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/file"), "conflict")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/link"), "conflict")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/missing/x"), "not_found")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/link/x"), "not_found", "btrfs")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", "/tmp/x"), "not_found", "btrfs")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/a/../x"), "invalid_params", "..")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", b.Path+"/"+strings.Repeat("x", 256)), "invalid_params", "255")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", "/"), "invalid_params")
}

// TestQuota limits a subvolume, writes past the limit, lifts it while over it, and holds the figures against
// btrfs qgroup show.
func TestQuota(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	v := writingVol(t)
	path := b.Path + "/limited"
	got := obtain(t, v, "vol.create_subvolume", "path", path, "max_referenced_bytes", 8<<20)
	if q := got["subvolume"].(map[string]any)["quota"].(map[string]any); q["max_referenced_bytes"] != float64(8<<20) {
		t.Errorf("%v", q)
	}
	b.Run("quota", "rescan", "-w", b.Path)
	if err := fill(path+"/a", 16<<20); !errors.Is(err, unix.EDQUOT) {
		t.Fatalf("writing past the limit: %v", err)
	}
	must(t, os.Remove(path+"/a"))
	b.Run("filesystem", "sync", b.Path)
	must(t, fill(path+"/b", 4<<20))
	lower := obtain(t, v, "vol.set_quota", "path", path, "max_referenced_bytes", 1<<20)
	if lower["changed"] != true || lower["quotas_enabled"] != nil {
		t.Errorf("%v", lower)
	}
	if err := fill(path+"/c", 1<<20); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("writing while over the limit: %v", err)
	}
	if again := obtain(t, v, "vol.set_quota", "path", path, "max_referenced_bytes", 1<<20); again["changed"] != false {
		t.Errorf("again: %v", again)
	}
	both := obtain(t, v, "vol.set_quota", "path", path, "max_referenced_bytes", 0, "max_exclusive_bytes", 64<<20)
	q := both["quota"].(map[string]any)
	if q["max_referenced_bytes"] != nil || q["max_exclusive_bytes"] != float64(64<<20) {
		t.Errorf("%v", both)
	}
	if out := b.Run("qgroup", "show", "-re", "--raw", b.Path); !strings.Contains(out, fmt.Sprint(64<<20)) {
		t.Errorf("btrfs says %s", out)
	}
	must(t, fill(path+"/d", 16<<20))
	wantKind(t, failure(t, v, "vol.set_quota", "path", path), "invalid_params")
	must(t, os.Mkdir(path+"/plain", 0o755))
	wantKind(t, failure(t, v, "vol.set_quota", "path", path+"/plain", "max_referenced_bytes", 1), "conflict")
	wantKind(t, failure(t, v, "vol.create_subvolume", "path", path, "max_referenced_bytes", 5), "conflict", "none")
	other := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	if got := obtain(t, v, "vol.set_quota", "path", other.Path, "max_referenced_bytes", 100<<20); got["quotas_enabled"] != true {
		t.Errorf("%v", got)
	}
}

// fill writes a file of n bytes that no compression makes smaller, and has it counted.
func fill(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{})
	for n > 0 {
		rng.Read(block)
		if _, err := f.Write(block[:min(n, len(block))]); err != nil {
			return err
		}
		n -= len(block)
	}
	return f.Sync()
}

// TestSnapshot makes snapshots of a subvolume and of what is mounted by itself.
func TestSnapshot(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	v := writingVol(t)
	source := b.Path + "/source"
	uuid := obtain(t, v, "vol.create_subvolume", "path", source)["subvolume"].(map[string]any)["uuid"]
	must(t, os.WriteFile(source+"/file", []byte("then"), 0o600))
	for name, readOnly := range map[string]bool{"-rw": false, "ro,x": true} {
		got := obtain(t, v, "vol.snapshot_subvolume", "source", source, "target", b.Path+"/"+name, "read_only", readOnly)
		s := got["subvolume"].(map[string]any)
		if got["created"] != true || s["parent_uuid"] != uuid || s["read_only"] != readOnly || s["fs_path"] != name {
			t.Errorf("%v", got)
		}
		if text, err := os.ReadFile(b.Path + "/" + name + "/file"); string(text) != "then" {
			t.Errorf("%q %v", text, err)
		}
		if flags := shown(b, b.Path+"/"+name)["Flags"]; (flags == "readonly") != readOnly {
			t.Errorf("btrfs says %q", flags)
		}
		wantKind(t, failure(t, v, "vol.snapshot_subvolume", "source", source, "target", b.Path+"/"+name), "conflict", uuid.(string))
	}
	must(t, os.Mkdir(b.Path+"/plain", 0o755))
	wantKind(t, failure(t, v, "vol.snapshot_subvolume", "source", b.Path+"/plain", "target", b.Path+"/x"), "conflict")
	wantKind(t, failure(t, v, "vol.snapshot_subvolume", "source", source, "target", b.Path+"/plain"), "conflict")
	wantKind(t, failure(t, v, "vol.snapshot_subvolume", "source", b.Path+"/none", "target", b.Path+"/x"), "not_found")
	wantKind(t, failure(t, v, "vol.snapshot_subvolume", "source", source, "target", b.Path+"/none/x"), "not_found")
	other := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	wantKind(t, failure(t, v, "vol.snapshot_subvolume", "source", source, "target", other.Path+"/x"), "refused", "other_filesystem")
	obtain(t, v, "vol.snapshot_subvolume", "source", b.Path, "target", b.Path+"/top")
}

// TestDeleteSubvolume deletes plain, nested and snapshot ones, and refuses others.
func TestDeleteSubvolume(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	v := writingVol(t)
	made := func(name string) map[string]any {
		return obtain(t, v, "vol.create_subvolume", "path", b.Path+"/"+name, "durable", false)["subvolume"].(map[string]any)
	}
	outer := made("outer")
	must(t, os.Mkdir(b.Path+"/outer/folder", 0o755))
	made("outer/folder/inner")
	made("outer/folder/inner/innermost")
	must(t, fill(b.Path+"/outer/folder/inner/file", 1<<10))
	wantKind(t, failure(t, v, "vol.delete_subvolume", "path", b.Path+"/outer"), "refused", "nested")
	wantKind(t, failure(t, v, "vol.delete_subvolume", "path", b.Path+"/outer", "recursive", true, "expect", map[string]any{"id": 9999}), "refused", "expectation")
	wantKind(t, failure(t, v, "vol.delete_subvolume", "path", b.Path+"/outer", "recursive", true, "expect", map[string]any{"uuid": "0fc63daf-8483-4772-8e79-3d69d8477de4"}), "refused", "expectation")
	got := obtain(t, v, "vol.delete_subvolume", "path", b.Path+"/outer", "recursive", true, "expect", map[string]any{"uuid": outer["uuid"], "id": outer["id"]})
	if ids := got["ids"].([]any); got["deleted"] != true || len(ids) != 3 || ids[2] != outer["id"] || exists(b.Path+"/outer") {
		t.Errorf("%v", got)
	}
	if again := obtain(t, v, "vol.delete_subvolume", "path", b.Path+"/outer"); again["deleted"] != false {
		t.Errorf("%v", again)
	}
	if again := obtain(t, v, "vol.delete_subvolume", "path", b.Path+"/never/was"); again["deleted"] != false {
		t.Errorf("%v", again)
	}
	must(t, os.Mkdir(b.Path+"/plain", 0o755))
	wantKind(t, failure(t, v, "vol.delete_subvolume", "path", b.Path+"/plain"), "conflict")
	def := made("default")
	b.Run("subvolume", "set-default", fmt.Sprint(def["id"]), b.Path)
	wantKind(t, failure(t, v, "vol.delete_subvolume", "path", b.Path+"/default"), "refused", "default_subvolume")
	if list := b.Run("subvolume", "list", b.Path); strings.Count(list, "\n") != 1 {
		t.Errorf("left: %s", list)
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

// TestSubvolumeInUse holds a subvolume, or one nested in it, in each way: it stays, and the holder is named.
func TestSubvolumeInUse(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	v := writingVol(t)
	for name, hold := range map[string]func(t *testing.T, path, inner string) (kind, holder string){
		"open file": func(t *testing.T, path, inner string) (string, string) {
			testhost.Stand(t, "sh", "-ec", `exec 3>"$0/held"; echo ready; read -r _`, path)
			return "process", "sh"
		},
		"open file inside": func(t *testing.T, path, inner string) (string, string) {
			testhost.Stand(t, "sh", "-ec", `exec 3>"$0/held"; echo ready; read -r _`, inner)
			return "process", "sh"
		},
		"working directory": func(t *testing.T, path, inner string) (string, string) {
			testhost.Stand(t, "sh", "-ec", `cd "$0"; echo ready; read -r _`, inner)
			return "process", "sh"
		},
		"running program": func(t *testing.T, path, inner string) (string, string) {
			tool(t, "", "cp", "/bin/dash", path+"/program")
			testhost.Stand(t, path+"/program", "-ec", "echo ready; read -r _")
			return "process", "program"
		},
		"mounted": func(t *testing.T, path, inner string) (string, string) {
			dir := t.TempDir()
			must(t, unix.Mount(b.Disks[0].Path, dir, "btrfs", 0, "subvol="+strings.TrimPrefix(inner, b.Path)))
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			return "mount", dir
		},
		"mounted elsewhere": func(t *testing.T, path, inner string) (string, string) {
			dir := t.TempDir()
			testhost.Stand(t, "unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount -o "subvol=$2" "$0" "$1"; echo ready; read -r _`,
				b.Disks[0].Path, dir, strings.TrimPrefix(path, b.Path))
			return "mount", dir
		},
		"mount point inside": func(t *testing.T, path, inner string) (string, string) {
			must(t, os.Mkdir(path+"/point", 0o755))
			must(t, unix.Mount("none", path+"/point", "tmpfs", 0, ""))
			t.Cleanup(func() { unix.Unmount(path+"/point", unix.MNT_DETACH) })
			return "mount", path + "/point"
		},
		"loop": func(t *testing.T, path, inner string) (string, string) {
			device := attach(t, inner+"/disk")
			t.Cleanup(func() { tool(t, "", "losetup", "-d", device) })
			return "loop", strings.TrimPrefix(device, "/dev/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := b.Path + "/" + strings.ReplaceAll(name, " ", "_")
			obtain(t, v, "vol.create_subvolume", "path", path)
			obtain(t, v, "vol.create_subvolume", "path", path+"/inner")
			kind, holder := hold(t, path, path+"/inner")
			err := failure(t, v, "vol.delete_subvolume", "path", path, "recursive", true)
			var busy *registry.BusyError
			if !errors.As(err, &busy) {
				t.Fatalf("%v", err)
			}
			if len(busy.Holders) != 1 || string(busy.Holders[0].Kind) != kind || busy.Holders[0].Name.Or("") != holder {
				t.Errorf("holders %s, want %s %s", err.AppendData(nil), kind, holder)
			}
			if !exists(path + "/inner") {
				t.Error("was deleted")
			}
		})
	}
	// By its mount point below another filesystem.
	dir := t.TempDir()
	must(t, unix.Mount(b.Disks[0].Path, dir, "btrfs", 0, "subvol=/mounted"))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	var busy *registry.BusyError
	if err := failure(t, v, "vol.delete_subvolume", "path", dir, "recursive", true); !errors.As(err, &busy) || busy.Holders[0].Name.Or("") != dir {
		t.Errorf("%v, want that it is a mount point", err)
	}
	// A neighbour that nobody holds goes, on the same busy filesystem.
	obtain(t, v, "vol.create_subvolume", "path", b.Path+"/neighbour")
	if got := obtain(t, v, "vol.delete_subvolume", "path", b.Path+"/neighbour"); got["deleted"] != true {
		t.Errorf("%v", got)
	}
}
