package volops

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestDiskOfNoSize asks for every write to a disk that has no bytes: a loop that is attached to nothing, as a drive
// without a medium is.
func TestDiskOfNoSize(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	spare := loop(t, 160<<20).Path
	empty, takeAway := passingLoop(t, 1<<20)
	defer takeAway()
	testhost.Command(t, "losetup", "-d", empty)
	for method, pairs := range deviceWrites {
		for _, force := range []bool{false, true} {
			wantKind(t, failure(t, v, method, pairs(empty, spare, force)...), "refused", "no_medium", empty)
		}
	}
	if !blank(t, spare) {
		t.Error("the spare disk was written to")
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}

// TestCompressedMemory swaps to a RAM disk with compression: it is refused by the name of the swap, and a free one is a
// disk like any other.
func TestCompressedMemory(t *testing.T) {
	needMkfs(t)
	testhost.Root(t)
	const hotAdd = "/sys/class/zram-control/hot_add"
	if _, err := os.Stat(hotAdd); err != nil {
		testhost.TryCommand(t, "modprobe", "zram")
	}
	if _, err := os.Stat(hotAdd); err != nil {
		t.Skipf("this kernel has no zram: %v", err)
	}
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	spare := loop(t, 160<<20).Path
	number, err := os.ReadFile(hotAdd)
	must(t, err)
	path := "/dev/zram" + strings.TrimSpace(string(number))
	t.Cleanup(func() { must(t, os.WriteFile("/sys/class/zram-control/hot_remove", number, 0)) })
	must(t, os.WriteFile("/sys/block/"+filepath.Base(path)+"/disksize", []byte("160M"), 0))
	if got := obtain(t, v, "vol.create_filesystem", "device", path, "type", "swap"); got["created"] != true {
		t.Errorf("%v", got)
	}
	testhost.Command(t, "swapon", path)
	sum := testhost.Sum(t, path)
	use := testhost.Use{Name: "zram", Kind: "swap", Holder: path, Node: path, Disk: &testhost.Loop{Path: path}}
	for method, pairs := range deviceWrites {
		for _, force := range []bool{false, true} {
			if method == "vol.create_partition" { // zram has none
				wantKind(t, failure(t, v, method, pairs(path, spare, force)...), "unsupported", "kernel")
				continue
			}
			refusedInUse(t, v, use, path, method, pairs(path, spare, force))
		}
	}
	if testhost.Sum(t, path) != sum || !blank(t, spare) {
		t.Error("something was written")
	}
	testhost.Command(t, "swapoff", path)
	obtain(t, v, "vol.create_filesystem", "device", path, "type", "ext4", "force", true)
	obtain(t, v, "vol.create_filesystem", "device", path, "type", "btrfs", "force", true)
	checkMountable(t, path, "btrfs")
}

// TestMembersOfOthers asks for every write to devices that belong to something that nobody runs at the moment: a pool of ZFS,
// a volume group, an array, an encrypted volume. Without force it is refused by name; with it nothing of them is left that others
// could take the device for.
func TestMembersOfOthers(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	const size = 126 << 20
	all := []string{"ext4", "vfat", "swap", "btrfs", "btrfs raid"}
	for _, c := range []struct {
		name string
		mark func(disk string)
	}{
		{"zfs_member", func(disk string) { markZFS(t, disk, size) }},
		{"LVM2_member", func(disk string) { writeAt(t, disk, lvmMark(), 512) }},
		{"linux_raid_member", func(disk string) { arrayMark(t, disk) }},
		{"crypto_LUKS", func(disk string) { writeAt(t, disk, append([]byte("LUKS\xba\xbe\x00\x01"), make([]byte, 584)...), 0) }},
	} {
		name, mark := c.name, c.mark
		spare := loop(t, size).Path
		types := all
		if name != "zfs_member" && testhost.Rounds(1) < 100 { // the others have one mark
			types = []string{"ext4", "btrfs raid"}
		}
		for i, typ := range types {
			disk := loop(t, size)
			mark(disk.Path)
			if out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "TYPE", disk.Path).CombinedOutput(); strings.TrimSpace(string(out)) != name {
				t.Fatalf("blkid takes it for %q, not %s: %v", out, name, err)
			}
			sum := testhost.Sum(t, disk.Path)
			method, pairs := "vol.create_filesystem", []any{"device", disk.Path, "type", typ}
			if typ == "btrfs raid" {
				method, pairs = "vol.create_btrfs_raid", []any{"devices", []string{disk.Path, spare}, "level", "raid1"}
			}
			wantKind(t, failure(t, v, method, pairs...), "refused", "signature", name)
			if i == 0 {
				wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path), "conflict", name)
			}
			if testhost.Sum(t, disk.Path) != sum {
				t.Errorf("%s was changed", name)
			}
			obtain(t, v, method, append(pairs, "force", true)...)
			typ, _, _ = strings.Cut(typ, " ")
			if tags := blkidOf(t, disk.Path); tags["TYPE"] != typ {
				t.Errorf("%s over %s: blkid takes it for %v", typ, name, tags)
			}
			if left := testhost.Command(t, "wipefs", "-n", "-O", "TYPE", "--noheadings", disk.Path); strings.Contains(left, name) {
				t.Errorf("%s over %s: wipefs still finds %s", typ, name, left)
			}
		}
	}
}

// markZFS writes what stands on a member of a pool: four labels of 256 KiB, each with a list of names and values in XDR and a ring
// of 128 uberblocks.
func markZFS(t *testing.T, disk string, size int64) {
	t.Helper()
	be := binary.BigEndian
	var pairs []byte
	text := func(s string) {
		pairs = be.AppendUint32(pairs, uint32(len(s)))
		pairs = append(append(pairs, s...), make([]byte, (4-len(s)%4)%4)...)
	}
	pair := func(name string, kind uint32, value func()) {
		start := len(pairs)
		pairs = be.AppendUint64(pairs, 64) // its own size goes into the first half
		text(name)
		pairs = be.AppendUint32(be.AppendUint32(pairs, kind), 1)
		value()
		be.PutUint32(pairs[start:], uint32(len(pairs)-start))
	}
	pair("version", 8, func() { pairs = be.AppendUint64(pairs, 5000) })
	pair("name", 9, func() { text("tank") })
	pair("pool_guid", 8, func() { pairs = be.AppendUint64(pairs, rand.Uint64()) })
	pair("guid", 8, func() { pairs = be.AppendUint64(pairs, rand.Uint64()) })
	pairs = be.AppendUint64(pairs, 0)
	label := make([]byte, 256<<10)
	copy(label[16<<10:], []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	copy(label[16<<10+12:], pairs)
	for at := 128 << 10; at < len(label); at += 1 << 10 {
		binary.LittleEndian.PutUint64(label[at:], 0x00bab10c)
		binary.LittleEndian.PutUint64(label[at+8:], 5000)
	}
	for _, at := range []int64{0, 256 << 10, size - 512<<10, size - 256<<10} {
		writeAt(t, disk, label, at)
	}
}

func writeAt(t *testing.T, disk string, b []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, err)
	must(t, unix.Fsync(int(f.Fd())))
	must(t, f.Close())
}

// lvmMark is the label of a physical volume (lib/format_text/layout.h of LVM), in the second sector.
func lvmMark() []byte {
	le := binary.LittleEndian
	b := make([]byte, 512)
	copy(b, "LABELONE")
	le.PutUint64(b[8:], 1)
	le.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001")
	copy(b[32:], fmt.Sprintf("%032x", rand.Uint64()))
	crc := uint32(0xf597a6cf) // as LVM begins it, with the polynomial of zlib and no inversion
	for _, c := range b[20:] {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320&-(crc&1)
		}
	}
	le.PutUint32(b[16:], crc)
	return b
}

// arrayMark has mdadm's superblock of version 1.2 on a disk, as of an array that does not run.
func arrayMark(t *testing.T, disk string) {
	t.Helper()
	le := binary.LittleEndian
	b := make([]byte, 512)
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	copy(b[16:], fmt.Sprintf("%016x", rand.Uint64()))
	copy(b[32:], "host:array")
	le.PutUint64(b[144:], 8) // where it stands, in sectors
	sum := uint64(0)
	for at := 0; at < 256; at += 4 {
		sum += uint64(le.Uint32(b[at:]))
	}
	le.PutUint32(b[216:], uint32(sum)+uint32(sum>>32))
	writeAt(t, disk, b, 4096)
}
