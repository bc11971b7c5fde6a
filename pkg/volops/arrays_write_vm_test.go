//go:build vmtest

package volops

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
	"github.com/geomind/my_os_server/pkg/registry"
)

// arrayOf is the array in an answer.
func arrayOf(t *testing.T, answer map[string]any) *registry.MdArray {
	t.Helper()
	raw, err := json.Marshal(answer["array"])
	must(t, err)
	a := new(registry.MdArray)
	must(t, json.Unmarshal(raw, a))
	return a
}

// bears is the type of what blkid finds on a device; empty for nothing.
func bears(t *testing.T, device string) string {
	t.Helper()
	text := tool(t, "", "sh", "-c", `blkid -p -o value -s TYPE "$0" || [ $? = 2 ]`, device)
	return strings.TrimSpace(text)
}

// registeredArrayRow is what vol.inventory says of a registered array, with the kinds of what is wrong with it.
func registeredArrayRow(t *testing.T, v *Vol, name string) (row *registry.RegisteredArray, problems []string) {
	t.Helper()
	r := takeInventory(t, v)
	for i := range r.RegisteredArrays {
		if r.RegisteredArrays[i].Name == name {
			row = &r.RegisteredArrays[i]
		}
	}
	return row, problemsOf(r, name)
}

// TestArrayLife makes a mirror, uses it, takes a member from it and gives it back, boots with a member missing
// and with all of them, and stops it for good. Nothing that is in use is touched on the way.
func TestArrayLife(t *testing.T) {
	vmtest.Guest(t)
	for program, pkg := range map[string]string{"mdadm": "mdadm", "mkfs.ext4": "e2fsprogs", "blkid": "util-linux", "losetup": "mount"} {
		testhost.Tool(t, program, pkg)
	}
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "--scan") })
	dir, at := t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "member")
	first, second := loop(t, 32<<20).Path, attach(t, file)
	t.Cleanup(func() { testhost.TryCommand(t, "losetup", "-d", second) })
	v, s := afterBoot(t, dir, "first")

	a := makeMirror(t, v, first, second)
	kept := useMirror(t, v, a, at, first, second)
	loseMember(t, v, second)
	refuseInUse(t, v, a, at, first)

	must(t, unix.Unmount(at, 0))
	testhost.Command(t, "mdadm", "--stop", a.Path)
	if row, problems := registeredArrayRow(t, v, "data"); row == nil || row.Exists || !slices.Equal(problems, []string{"array_missing"}) {
		t.Errorf("stopped by another: %+v, %v", row, problems)
	}
	closeBoth(t, v, s)
	testhost.Command(t, "losetup", "-d", second)
	v, s = afterBoot(t, dir, "second")
	var ran [][]string
	record(v, &ran)
	v.Start()
	comesTrue(t, "a reason", func() bool { return v.restorer.reason(arrayObject("data")) != "" })
	if row, problems := registeredArrayRow(t, v, "data"); row == nil || row.Exists || row.Reason.Or("") != "degraded" || !slices.Equal(problems, []string{"array_missing"}) {
		t.Errorf("short of a member: %+v, %v", row, problems)
	}
	if list := rows(t, v, "vol.list_md_arrays", `{}`, "arrays"); len(list) != 0 {
		t.Errorf("short of a member there is %v", list)
	}
	second = strings.TrimSpace(tool(t, "", "losetup", "-fP", "--show", file))
	comesTrue(t, "assembly", func() bool { return v.restorer.reason(arrayObject("data")) == "" })
	back := askArray(t, v, "/dev/md/data")
	if back.UUID != a.UUID || !back.Managed || back.Degraded.Or(-1) != 0 || len(back.Members) != 2 {
		t.Errorf("after the boot: %+v", back)
	}
	testhost.Command(t, "mount", "-o", "ro", back.Path, at)
	if b, err := os.ReadFile(at + "/kept"); err != nil || !bytes.Equal(b, kept) {
		t.Errorf("the file: %v, %d bytes", err, len(b))
	}
	must(t, unix.Unmount(at, 0))
	stopForGood(t, v, back, first, second)
	closeBoth(t, v, s)
	members := []string{first, second}
	slices.SortFunc(members, blk.Compare)
	want := [][]string{append([]string{"mdadm"}, assembleArguments("data", a.UUID.Or(""), members)...), {"mdadm", "--stop", "--quiet", back.Path}}
	if !slices.EqualFunc(ran, want, slices.Equal) {
		t.Errorf("after the boot ran %q, want %q", ran, want)
	}
}

// record notes what is run. Whoever reads it waits first until nothing runs.
func record(v *Vol, ran *[][]string) {
	v.run = func(ctx context.Context, p hostexec.Program, files []*os.File, args ...string) ([]byte, error) {
		*ran = append(*ran, append([]string{p.Name()}, args...))
		return hostexec.RunWith(ctx, p, files, args...)
	}
}

// makeMirror makes the array, over what stood on one of the devices.
func makeMirror(t *testing.T, v *Vol, first, second string) *registry.MdArray {
	t.Helper()
	tool(t, "", "mkfs.ext4", "-q", first)
	var ran [][]string
	record(v, &ran)
	pairs := []any{"name", "data", "devices", []string{first, second}, "level", 1}
	wantKind(t, failure(t, v, "vol.create_md_array", pairs...), "refused", "signature", "force")
	wantKind(t, failure(t, v, "vol.create_md_array", append(pairs, "expect", []any{map[string]any{}, map[string]any{"size_bytes": 1}})...), "refused", "expectation")
	wantKind(t, failure(t, v, "vol.create_md_array", "name", "data", "devices", []string{first, first}), "invalid_params", "devices[1]")
	if len(ran) > 0 || bears(t, first) != "ext4" || bears(t, second) != "" {
		t.Errorf("ran %q, bears %q and %q", ran, bears(t, first), bears(t, second))
	}
	got := obtain(t, v, "vol.create_md_array", append(pairs, "force", true)...)
	a := arrayOf(t, got)
	if got["created"] != true || !a.Managed || a.Link.Or("") != "/dev/md/data" || a.Level != "raid1" || a.Metadata.Or("") != "1.2" || len(a.Members) != 2 {
		t.Fatalf("made: %v", got)
	}
	want := append([]string{"mdadm"}, (&wantArray{name: "data", level: 1, metadata: "1.2", uuid: a.UUID.Or("")}).createArguments([]string{first, second}, false)...)
	if len(ran) != 1 || !slices.Equal(ran[0], want) {
		t.Errorf("ran %q, want %q", ran, want)
	}
	for _, device := range []string{first, second} {
		if what := bears(t, device); what != "linux_raid_member" {
			t.Errorf("%s bears %q", device, what)
		}
	}
	if text := detail(t, "/dev/md/data").Facts["MD_UUID"]; text != mdadmUUID(a.UUID.Or("")) {
		t.Errorf("mdadm has the UUID %s, we %v", text, a.UUID)
	}
	if again := obtain(t, v, "vol.create_md_array", pairs...); again["created"] != false || arrayOf(t, again).UUID != a.UUID {
		t.Errorf("again: %v", again)
	}
	wantKind(t, failure(t, v, "vol.create_md_array", "name", "data", "devices", []string{second, first}, "level", 0), "conflict", "level")
	wantKind(t, failure(t, v, "vol.create_md_array", append(pairs, "metadata", "1.0")...), "conflict", "metadata")
	if row, problems := registeredArrayRow(t, v, "data"); row == nil || !row.Exists || row.Path.Or("") != a.Path || row.UUID != a.UUID.Or("") || len(problems) > 0 {
		t.Errorf("registered: %+v, %v", row, problems)
	}
	return a
}

// useMirror writes a file to a filesystem on the array; the members are closed to device writes.
func useMirror(t *testing.T, v *Vol, a *registry.MdArray, at, first, second string) (kept []byte) {
	t.Helper()
	obtain(t, v, "vol.create_filesystem", "device", "/dev/md/data", "type", "ext4")
	testhost.Command(t, "mount", a.Path, at)
	kept = bytes.Repeat([]byte("what is to stay\n"), 4096)
	must(t, os.WriteFile(at+"/kept", kept, 0o644))
	wantKind(t, failure(t, v, "vol.create_md_array", "name", "other", "devices", []string{first, second}, "force", true), "busy", `"kind":"array"`, a.Name)
	for _, device := range []string{first, second} {
		wantKind(t, failure(t, v, "vol.create_filesystem", "device", device, "type", "ext4", "force", true), "busy", `"kind":"array"`, a.Name)
	}
	return kept
}

// loseMember fails a member of the array, which is told as degraded, and gives it back, which is told as a
// rebuilding.
func loseMember(t *testing.T, v *Vol, member string) {
	t.Helper()
	testhost.Command(t, "mdadm", "--wait-clean", "/dev/md/data")
	testhost.Command(t, "mdadm", "--quiet", "/dev/md/data", "--fail", member, "--remove", member)
	if a := askArray(t, v, "/dev/md/data"); a.Degraded.Or(0) != 1 || !slices.Contains(a.States, "degraded") || !a.Managed {
		t.Errorf("without a member: %+v", a)
	}
	write(t, "/proc/sys/dev/raid/speed_limit_min", "10")
	write(t, "/proc/sys/dev/raid/speed_limit_max", "100")
	testhost.Command(t, "mdadm", "--zero-superblock", member)
	testhost.Command(t, "mdadm", "--quiet", "/dev/md/data", "--add", member)
	comesTrue(t, "rebuilding", func() bool {
		a := askArray(t, v, "/dev/md/data")
		return slices.Contains(a.States, "recovering") && a.Sync != nil && a.Sync.Percent.IsSet()
	})
	write(t, "/proc/sys/dev/raid/speed_limit_max", "200000")
	comesTrue(t, "the end of rebuilding", func() bool { return askArray(t, v, "/dev/md/data").Degraded.Or(1) == 0 })
}

// refuseInUse tries to stop the array, and what is none, and to build upon it while it is in use.
func refuseInUse(t *testing.T, v *Vol, a *registry.MdArray, at, first string) {
	t.Helper()
	for _, zero := range []bool{false, true} {
		wantKind(t, failure(t, v, "vol.stop_md_array", "device", "/dev/md/data", "zero_superblocks", zero), "busy", `"kind":"mount"`, at)
	}
	wantKind(t, failure(t, v, "vol.stop_md_array", "device", first), "conflict", "no MD array")
	wantKind(t, failure(t, v, "vol.stop_md_array", "device", "UUID="+a.UUID.Or("")), "refused", "forgeable_name")
	wantKind(t, failure(t, v, "vol.stop_md_array", "device", "/dev/md/data", "expect", map[string]any{"uuid": "0fc63daf-8483-4772-8e79-3d69d8477de4"}), "refused", "expectation")
	wantKind(t, failure(t, v, "vol.create_filesystem", "device", "/dev/md/data", "type", "ext4", "force", true), "busy", `"kind":"mount"`)
}

// stopForGood stops the array, whose members forget it.
func stopForGood(t *testing.T, v *Vol, a *registry.MdArray, first, second string) {
	t.Helper()
	got := obtain(t, v, "vol.stop_md_array", "device", "/dev/md/data", "zero_superblocks", true, "expect", map[string]any{"uuid": a.UUID.Or("")})
	zeroed := []string{first, second}
	slices.Sort(zeroed)
	if got["deleted"] != true || got["unregistered"] != true || got["link_removed"] != true || fmt.Sprint(got["zeroed"]) != fmt.Sprint(zeroed) {
		t.Errorf("stopped: %v", got)
	}
	for _, device := range zeroed {
		if what := bears(t, device); what != "" {
			t.Errorf("%s bears %q", device, what)
		}
	}
	if _, err := os.Lstat("/dev/md/data"); err == nil {
		t.Error("the link is there")
	}
	if row, _ := registeredArrayRow(t, v, "data"); row != nil {
		t.Errorf("registered: %+v", row)
	}
	if again := obtain(t, v, "vol.stop_md_array", "device", "/dev/md/data"); again["deleted"] != false || again["unregistered"] != nil || again["link_removed"] != false {
		t.Errorf("again: %v", again)
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

// TestArrayCutOff: of a write that was cut off the next start tells, and does nothing; a registered array whose
// disks are gone is given up by its name; of arrays of all levels members are put in their order.
func TestArrayCutOff(t *testing.T) {
	vmtest.Guest(t)
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "--scan") })
	dir := t.TempDir()
	var disks []string
	for range 4 {
		disks = append(disks, loop(t, 32<<20).Path)
	}
	v, s := afterBoot(t, dir, "first")
	for level, n := range leastMembers {
		name := fmt.Sprintf("l%d", level)
		a := arrayOf(t, obtain(t, v, "vol.create_md_array", "name", name, "devices", disks[:n], "level", level, "metadata", "1.0"))
		if a.Level != fmt.Sprintf("raid%d", level) || a.Metadata.Or("") != "1.0" || a.Members[0].Path != disks[0] || len(a.Members) != n {
			t.Errorf("level %d: %+v", level, a)
		}
		got := obtain(t, v, "vol.stop_md_array", "device", a.Path, "zero_superblocks", true)
		if len(got["zeroed"].([]any)) != n || got["link_removed"] != true {
			t.Errorf("level %d: %v", level, got)
		}
	}
	obtain(t, v, "vol.create_md_array", "name", "gone", "devices", disks[:2])
	h, err := v.devicesOf(t.Context(), "devices", disks[2:], nil)
	must(t, err)
	_, err = v.beginAs(t.Context(), "vol.create_md_array", h.targets, deviceDetail{Name: "/dev/md/cut"})
	must(t, err)
	h.close()
	closeBoth(t, v, s)
	testhost.Command(t, "mdadm", "--stop", "/dev/md/gone")
	testhost.Command(t, "mdadm", "--zero-superblock", disks[0], disks[1])

	v, s = afterBoot(t, dir, "second")
	v.Start()
	comesTrue(t, "a reason", func() bool { return v.restorer.reason(arrayObject("gone")) != "" })
	r := takeInventory(t, v)
	if len(r.RegisteredArrays) != 1 || r.RegisteredArrays[0].Reason.Or("") != "device_missing" || !slices.Equal(problemsOf(r, "/dev/md/cut"), []string{"interrupted"}) || len(r.Arrays) != 0 {
		t.Errorf("%+v, %+v", r.RegisteredArrays, r.Health)
	}
	wantKind(t, failure(t, v, "vol.create_md_array", "name", "gone", "devices", disks[2:]), "conflict", "uuid")
	if got := obtain(t, v, "vol.stop_md_array", "device", "/dev/md/gone"); got["deleted"] != false || got["unregistered"] != true {
		t.Errorf("%v", got)
	}
	if row, _ := registeredArrayRow(t, v, "gone"); row != nil {
		t.Errorf("registered: %+v", row)
	}
	closeBoth(t, v, s)
}

// TestArrayGuard holds ways of being in use against making an array, forced and not, and those that other
// kernels lack against making a filesystem too.
func TestArrayGuard(t *testing.T) {
	vmtest.Guest(t)
	needMkfs(t)
	testhost.Tool(t, "mdadm", "mdadm")
	testhost.Tool(t, "dmsetup", "dmsetup")
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "--scan") })
	v := writingVol(t)
	spare, member := loop(t, 32<<20), loop(t, 32<<20)
	const small = 4 << 20 // to add it up takes its time there
	mapped := loop(t, small)
	a := arrayOf(t, obtain(t, v, "vol.create_md_array", "name", "held", "devices", []string{member.Path, loop(t, 32<<20).Path}))
	mapOver(t, "mapping", mapped.Path)
	mounted, swap, at := loop(t, small), loop(t, small), t.TempDir()
	testhost.Command(t, "mkfs.ext4", "-q", mounted.Path)
	testhost.Command(t, "mount", "-o", "ro", mounted.Path, at)
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	testhost.Swap(t, swap.Path)
	raw, looped, lazy := loop(t, small), loop(t, small), loop(t, small)
	testhost.Stand(t, "sh", "-ec", `exec 3<>"$0"; echo ready; read -r _`, raw.Path)
	above := testhost.NewLoop(t, testhost.LoopOptions{Device: looped.Path})
	holdLazily(t, lazy.Path)
	cached := loop(t, small)
	cacheOver(t, cached.Path)
	uses := []testhost.Use{
		{Name: "raw open", Kind: "process", Holder: "sh", Disk: raw, Node: raw.Path, Quiet: true},
		{Name: "backing a loop", Kind: "loop", Holder: filepath.Base(above.Path), Disk: looped, Node: looped.Path, Quiet: true},
		{Name: "lazily unmounted", Kind: "filesystem", Holder: "ext4", Disk: lazy, Node: lazy.Path, Quiet: true},
		{Name: "bcache", Kind: "kernel", Holder: holderOf(t, cached.Path), Disk: cached, Node: cached.Path, Quiet: true},
		{Name: "mounted", Kind: "mount", Holder: at, Disk: mounted, Node: mounted.Path, Quiet: true},
		{Name: "swap", Kind: "swap", Holder: swap.Path, Disk: swap, Node: swap.Path},
		{Name: "member", Kind: "array", Holder: a.Name, Disk: member, Node: member.Path},
		{Name: "mapped", Kind: "device_mapper", Holder: holderOf(t, mapped.Path), Disk: mapped, Node: mapped.Path, Quiet: true},
	}
	for _, use := range uses {
		sum := ""
		if use.Name != "member" { // the array writes to its member
			sum = testhost.Sum(t, use.Disk.Path)
		}
		for _, force := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", use.Name, force), func(t *testing.T) {
				refusedInUse(t, v, use, use.Node, "vol.create_md_array", []any{"name", "other", "devices", []string{spare.Path, use.Node}, "force", force})
				refusedInUse(t, v, use, use.Node, "vol.create_filesystem", deviceWrites["vol.create_filesystem"](use.Node, "", force))
			})
		}
		if sum != "" && testhost.Sum(t, use.Disk.Path) != sum {
			t.Errorf("%s: %s was changed", use.Name, use.Disk.Path)
		}
	}
	if !blank(t, spare.Path) {
		t.Error("the spare disk was written to")
	}
	mapOver(t, "above", a.Path)
	for _, zero := range []bool{false, true} {
		wantKind(t, failure(t, v, "vol.stop_md_array", "device", a.Path, "zero_superblocks", zero), "busy", `"kind":"device_mapper"`, holderOf(t, a.Path))
	}
	if list := v.state.Interrupted(); len(list) > 0 || bears(t, member.Path) != "linux_raid_member" {
		t.Errorf("interrupted: %v; the member bears %q", list, bears(t, member.Path))
	}
}

// mapOver makes a mapping over the start of a device.
func mapOver(t *testing.T, name, device string) {
	t.Helper()
	testhost.Command(t, "dmsetup", "create", name, "--noudevsync", "--table", fmt.Sprintf("0 2048 linear %s 0", device))
	t.Cleanup(func() { testhost.TryCommand(t, "dmsetup", "remove", "--noudevsync", name) })
}

// holdLazily mounts a device and unmounts it while a file of it is open.
func holdLazily(t *testing.T, device string) {
	t.Helper()
	dir := t.TempDir()
	testhost.Command(t, "mkfs.ext4", "-q", device)
	must(t, unix.Mount(device, dir, "ext4", unix.MS_RDONLY, ""))
	f, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, unix.Unmount(dir, unix.MNT_DETACH))
}

// cacheOver has bcache take a device that backs a cache, without the cache: a superblock of version 1 says so
// (drivers/md/bcache/bcache_ondisk.h).
func cacheOver(t *testing.T, device string) {
	t.Helper()
	testhost.Command(t, "modprobe", "bcache")
	b := make([]byte, 208)
	le := binary.LittleEndian
	le.PutUint64(b[8:], 8)  // sector of the superblock
	le.PutUint64(b[16:], 1) // version: backing device
	copy(b[24:], "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")
	copy(b[40:], "backing device 1")
	le.PutUint16(b[192:], 8) // sectors of a block
	le.PutUint64(b, crc64(b[8:]))
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(b, 4096)
	must(t, errors.Join(err, f.Sync(), f.Close()))
	write(t, "/sys/fs/bcache/register", device)
	t.Cleanup(func() { write(t, filepath.Join("/sys/block", holderOf(t, device), "bcache/stop"), "1") })
	comesTrue(t, "bcache", func() bool {
		entries, err := os.ReadDir(filepath.Join("/sys/block", filepath.Base(device), "holders"))
		return err == nil && len(entries) == 1
	})
}

// crc64 is the kernel's crc64_be (polynomial of ECMA-182) as bcache uses it: from all ones, inverted.
func crc64(b []byte) uint64 {
	crc := ^uint64(0)
	for _, c := range b {
		crc ^= uint64(c) << 56
		for range 8 {
			top := crc >> 63
			crc <<= 1
			crc ^= top * 0x42f0e1eba9ea3693
		}
	}
	return ^crc
}

// holderOf is the device that stands on a device.
func holderOf(t *testing.T, device string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/sys/block", filepath.Base(device), "holders"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("holders of %s: %v, %v", device, entries, err)
	}
	return entries[0].Name()
}
