package volops

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// blkidOf is what blkid reads on a device itself, by tag.
func blkidOf(t testing.TB, path string) map[string]string {
	t.Helper()
	tags := map[string]string{}
	for line := range strings.Lines(tool(t, "", "blkid", "-p", "-o", "export", path)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		tags[key] = strings.ReplaceAll(value, `\`, "")
	}
	return tags
}

func needMkfs(t *testing.T) {
	t.Helper()
	for program, pkg := range map[string]string{"mkfs.btrfs": "btrfs-progs", "mkfs.ext4": "e2fsprogs", "mkfs.vfat": "dosfstools", "mkswap": "util-linux", "blkid": "util-linux"} {
		testhost.Tool(t, program, pkg)
	}
}

// formatCase is a filesystem with random properties.
type formatCase struct {
	typ, label, uuid string
	options          map[string]any
}

func randomFormat(rng *rand.Rand) formatCase {
	c := formatCase{typ: pick(rng, "btrfs", "ext4", "vfat", "swap"), uuid: (&scene{rng: rng}).uuid(), options: map[string]any{}}
	c.label = pick(rng, "MOSDATA", "-rf", "--help", "a,dev,suid", "a b;$(id)", "é漢")
	switch c.typ {
	case "btrfs":
		c.options = pick(rng, c.options, map[string]any{"mixed": true}, map[string]any{"checksum": "xxhash", "metadata_profile": "dup"},
			map[string]any{"node_size_bytes": 8192, "features": []string{"^no-holes"}, "discard": false})
	case "ext4":
		c.options = pick(rng, c.options, map[string]any{"block_size_bytes": 1024, "lazy_init": false, "discard": false},
			map[string]any{"inode_ratio_bytes": 65536, "reserved_percent": 1.5, "errors": "remount-ro", "stride_blocks": 16, "stripe_width_blocks": 32},
			map[string]any{"features": []string{"^metadata_csum", "^64bit"}, "journal_size_bytes": 4 << 20})
	case "vfat":
		c.uuid = fmt.Sprintf("%04X-%04X", rng.IntN(1<<16), 1+rng.IntN(1<<16-1))
		c.label = pick(rng, "MOSDATA", "-RF", "A B", "$(ID)")
		c.options = pick(rng, c.options, map[string]any{"fat_bits": 16, "cluster_sectors": 8}, map[string]any{"fat_count": 1})
	}
	return c
}

// TestCreateFilesystem makes random filesystems on disks and partitions, one over the other, and holds each
// against blkid; it repeats every call and asks for what differs.
func TestCreateFilesystem(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 21))
	v := writingVol(t)
	disk := loop(t, 160<<20)
	for range testhost.Rounds(6) {
		device := disk.Path
		if rng.IntN(2) == 0 {
			device = makeRoom(t, v, disk.Path)
		}
		c := randomFormat(rng)
		pairs := []any{"device", device, "type", c.typ, "label", c.label, "uuid", c.uuid, "options", c.options}
		if bears, _ := exec.Command("blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", device).Output(); len(bears) > 0 {
			wantKind(t, failure(t, v, "vol.create_filesystem", pairs...), "refused", "signature", "force")
		}
		got := obtain(t, v, "vol.create_filesystem", append(pairs, "force", true)...)
		checkFormat(t, device, c, got)
		if again := obtain(t, v, "vol.create_filesystem", append(pairs, "force", true)...); again["created"] != false {
			t.Fatalf("again: %v", again)
		}
		wantKind(t, failure(t, v, "vol.create_filesystem", "device", device, "type", c.typ, "label", "OTHER", "uuid", c.uuid, "force", true), "conflict", "label")
	}
}

// blank tells whether nothing stands on a device.
func blank(t testing.TB, device string) bool {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return len(bytes.Trim(b, "\x00")) == 0
}

// makeRoom is a partition that takes a disk, made after what stood there was wiped.
func makeRoom(t testing.TB, v *Vol, path string) string {
	t.Helper()
	if p := path + "p1"; exists(p) {
		return p
	}
	tool(t, "", "wipefs", "-aq", path)
	return obtain(t, v, "vol.create_partition", "disk", path)["partition"].(map[string]any)["path"].(string)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func checkFormat(t *testing.T, device string, c formatCase, got map[string]any) {
	t.Helper()
	f := got["filesystem"].(map[string]any)
	tags := blkidOf(t, device)
	if got["created"] != true || f["type"] != c.typ || f["uuid"] != c.uuid || f["label"] != c.label {
		t.Fatalf("%+v: %v", c, got)
	}
	if tags["TYPE"] != c.typ || tags["UUID"] != c.uuid || c.typ != "vfat" && isPlain(c.label) && tags["LABEL"] != c.label {
		t.Fatalf("%+v: blkid says %v", c, tags)
	}
	if strings.HasSuffix(device, "p1") || tags["PTTYPE"] == "" || c.typ == "vfat" {
		checkMountable(t, device, c.typ)
		return
	}
	t.Fatalf("%+v: a partition table was left: %v", c, tags)
}

// isPlain tells whether blkid prints a label as it is.
func isPlain(label string) bool {
	return strings.Trim(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-,") == ""
}

// checkMountable checks a filesystem with its own checker and mounts it where the kernel can.
func checkMountable(t *testing.T, device, typ string) {
	t.Helper()
	switch typ {
	case "vfat":
		tool(t, "", "fsck.vfat", "-n", device)
	case "ext4":
		tool(t, "", "e2fsck", "-fn", device)
	case "btrfs":
		tool(t, "", "btrfs", "check", "--readonly", device)
	}
	if typ != "btrfs" && typ != "ext4" {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount(device, dir, typ, 0, ""); err != nil {
		t.Fatalf("mount %s from %s: %v", typ, device, err)
	}
	if err := os.WriteFile(dir+"/file", []byte("contents"), 0o600); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
}

// TestFilesystemParams asks for what no type takes.
func TestFilesystemParams(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 16<<20)
	sum := testhost.Sum(t, disk.Path)
	guid := "0fc63daf-8483-4772-8e79-3d69d8477de4"
	for _, c := range []struct {
		field string
		pairs []any
	}{
		{"label", []any{"type", "ext4", "label", strings.Repeat("é", 9)}},
		{"label", []any{"type", "vfat", "label", "lower"}},
		{"label", []any{"type", "vfat", "label", "A.B"}},
		{"label", []any{"type", "vfat", "label", "TWELVE BYTES"}},
		{"label", []any{"type", "swap", "label", strings.Repeat("x", 17)}},
		{"uuid", []any{"type", "vfat", "uuid", guid}},
		{"uuid", []any{"type", "ext4", "uuid", "1234-ABCD"}},
		{"uuid", []any{"type", "ext4", "uuid", "00000000-0000-0000-0000-000000000000"}},
		{"uuid", []any{"type", "vfat", "uuid", "0000-0000"}},
		{"options.node_size_bytes", []any{"type", "ext4", "options", map[string]any{"node_size_bytes": 16384}}},
		{"options.lazy_init", []any{"type", "btrfs", "options", map[string]any{"lazy_init": true}}},
		{"options.node_size_bytes", []any{"type", "btrfs", "options", map[string]any{"node_size_bytes": 5000}}},
		{"options.fat_bits", []any{"type", "vfat", "options", map[string]any{"fat_bits": 13}}},
		{"options.inode_count", []any{"type", "ext4", "options", map[string]any{"inode_count": 100, "inode_ratio_bytes": 4096}}},
		{"options.journal_size_bytes", []any{"type", "ext4", "options", map[string]any{"journal_size_bytes": 1<<20 + 1}}},
		{"options.features[0]", []any{"type", "btrfs", "options", map[string]any{"features": []string{"list-all"}}}},
	} {
		wantKind(t, failure(t, v, "vol.create_filesystem", append([]any{"device", disk.Path}, c.pairs...)...), "invalid_params", `"`+c.field+`"`)
	}
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "bcachefs"), "tool_missing", "bcachefs-tools")
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "btrfs"), "os_error", "exit_1", `"applied":"no"`)
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk.Path, "type", "vfat", "options", map[string]any{"fat_bits": 12, "cluster_sectors": 1}), "os_error", "exit_1", `"applied":"no"`)
	if testhost.Sum(t, disk.Path) != sum {
		t.Error("the disk was changed")
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

// TestCreateBtrfsRaid makes one over random devices.
func TestCreateBtrfsRaid(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 22))
	v := writingVol(t)
	var disks []string
	for range 4 {
		disks = append(disks, loop(t, 160<<20).Path)
	}
	for range testhost.Rounds(3) {
		level := pick(rng, "single", "raid0", "raid1", "raid10", "raid1c3", "raid1c4")
		devices := slices.Clone(disks[:leastDevices[registry.BtrfsProfile(level)]+rng.IntN(5-leastDevices[registry.BtrfsProfile(level)])])
		rng.Shuffle(len(devices), func(i, j int) { devices[i], devices[j] = devices[j], devices[i] })
		uuid := (&scene{rng: rng}).uuid()
		pairs := []any{"devices", devices, "level", level, "uuid", uuid, "label", "-raid", "force", true}
		got := obtain(t, v, "vol.create_btrfs_raid", pairs...)
		f := got["filesystem"].(map[string]any)
		if got["created"] != true || f["uuid"] != uuid || f["label"] != "-raid" || len(f["devices"].([]any)) != len(devices) || f["devices_missing"] != 0.0 {
			t.Fatalf("%v: %v", pairs, got)
		}
		if again := obtain(t, v, "vol.create_btrfs_raid", pairs...); again["created"] != false {
			t.Fatalf("again: %v", again)
		}
		if len(devices) > 1 {
			wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", devices[:1], "level", "single", "uuid", uuid, "label", "other"), "conflict", "label")
		}
		tool(t, "", "btrfs", "check", "--readonly", devices[0])
		for _, d := range devices {
			tool(t, "", "btrfs", "device", "scan", d)
		}
		checkMountable(t, devices[0], "btrfs")
	}
	wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", disks[:1], "level", "raid1"), "invalid_params", "devices", "at least 2")
	wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", []string{disks[0], disks[0]}, "level", "raid1"), "invalid_params", "devices[1]")
	wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", disks[:2], "level", "raid5"), "refused", "raid56")
	wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", disks[:2], "level", "raid1", "expect", []any{map[string]any{}}), "invalid_params", "expect")
}

// TestNothingRunsButWhatWasMeant records what is run for labels and names that try to be something else.
func TestNothingRunsButWhatWasMeant(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 160<<20)
	var ran [][]string
	v.run = func(ctx context.Context, p hostexec.Program, files []*os.File, args ...string) ([]byte, error) {
		ran = append(ran, append([]string{p.Name()}, args...))
		return hostexec.RunWith(ctx, p, files, args...)
	}
	uuid := "0fc63daf-8483-4772-8e79-3d69d8477de4"
	for _, label := range []string{"-f", "--help", "-L", "x,dev,suid", "..", "../../x", "$(id)", "`id`", "a;b", "*", "%s%n", "'\"", "\\"} {
		for typ, want := range map[string][]string{
			"btrfs": {"mkfs.btrfs", "-q", "-K", "-L", label, "-U", uuid, "--", "/proc/self/fd/3"},
			"ext4":  {"mkfs.ext4", "-q", "-L", label, "-U", uuid, "--", disk.Path},
			"swap":  {"mkswap", "-L", label, "-U", uuid, "--", disk.Path},
		} {
			ran = nil
			tool(t, "", "wipefs", "-aq", disk.Path)
			got := obtain(t, v, "vol.create_filesystem", "device", disk.Path, "type", typ, "label", label, "uuid", uuid)
			if got["filesystem"].(map[string]any)["label"] != label {
				t.Errorf("%s %q: %v", typ, label, got)
			}
			if len(ran) != 1 || !slices.Equal(ran[0], want) {
				t.Errorf("ran %q, want %q", ran, want)
			}
		}
	}
	ran = nil
	for _, label := range []string{"a\nb", "a\x00b", "\x7f", "", strings.Repeat("x", 256), strings.Repeat("x", 4096)} {
		row, _ := registry.Lookup("vol.create_filesystem")
		if _, err := row.Decode([]byte(params("device", disk.Path, "type", "btrfs", "label", label))); err == nil {
			t.Errorf("label %q was taken", label)
		}
	}
	row, _ := registry.Lookup("vol.create_filesystem")
	if _, err := row.Decode([]byte("{\"device\":\"" + disk.Path + "\",\"type\":\"btrfs\",\"label\":\"a\xff\"}")); err == nil {
		t.Error("a label that is no UTF-8 was taken")
	}
	for _, name := range []string{"LABEL=x", "UUID=" + uuid, "/dev/disk/by-uuid/" + uuid, "/dev/disk/by-label/x"} {
		wantKind(t, failure(t, v, "vol.create_filesystem", "device", name, "type", "ext4", "force", true), "refused", "forgeable_name")
	}
	if len(ran) > 0 {
		t.Errorf("ran %q", ran)
	}
}
