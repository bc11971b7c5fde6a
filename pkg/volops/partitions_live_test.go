package volops

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestPartitionsAgainstWitnesses(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(20) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newScene(t, rand.New(rand.NewPCG(seed, uint64(round))))
			byPath := make(map[string]*registry.Partition)
			list := readPartitions(t, v, `{}`)
			for i := range list {
				byPath[list[i].Path] = &list[i]
			}
			for _, d := range s.disks {
				d.comparePartitions(t, v, byPath)
				d.compareFreeSpace(t, v)
			}
		})
	}
}

// inTime asks until everything answered in time: the machine may be busy. Nothing is asked of a device
// on which a call is under way, so each try waits for those of the last to end.
func inTime(t *testing.T, v *Vol, ask func() bool) {
	t.Helper()
	for range 20 {
		if ask() {
			return
		}
		testhost.Eventually(t, "the calls have ended", func() bool { return v.Blocked() == 0 })
	}
}

// readPartitions lists the partitions, and again where a device did not answer in time.
func readPartitions(t *testing.T, v *Vol, params string) (list []registry.Partition) {
	t.Helper()
	inTime(t, v, func() bool {
		r := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", params)
		list = r.Partitions
		return !slices.ContainsFunc(r.Unread, func(u registry.UnreadDevice) bool { return u.Reason == "timeout" }) &&
			!slices.ContainsFunc(list, func(p registry.Partition) bool { return p.ProbeError.Or("") == "timeout" })
	})
	return list
}

// comparePartitions holds the partitions of a disk against sfdisk, blkid and lsblk.
func (d *sceneDisk) comparePartitions(t *testing.T, v *Vol, byPath map[string]*registry.Partition) {
	t.Helper()
	alone := readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, d.Path))
	if d.table == nil {
		if len(alone) > 0 {
			t.Errorf("%s: %d partitions without a table", d.name, len(alone))
		}
		return
	}
	if len(alone) != len(d.table.Partitions) {
		t.Errorf("%s: %d partitions, sfdisk has %d", d.name, len(alone), len(d.table.Partitions))
	}
	for _, w := range d.table.Partitions {
		p := byPath[w.Node]
		if p == nil {
			t.Errorf("%s is not listed", w.Node)
			continue
		}
		if p.StartBytes != w.Start*d.sectorSize || p.SizeBytes != w.Size*d.sectorSize || !p.InKernel || !p.InTable.Or(false) ||
			p.Label.Or("") != w.Name || p.Disk != d.Path || p.Scheme.Or("") != d.table.Label {
			t.Errorf("%s: %+v, sfdisk has %+v", w.Node, p, w)
		}
		if w.UUID != "" && p.UUID.Or("") != strings.ToLower(w.UUID) {
			t.Errorf("%s: UUID %s, sfdisk has %s", w.Node, p.UUID.Or(""), w.UUID)
		}
		if !slices.Contains(d.tagsOf(w.Node), "PARTUUID="+p.UUID.Or("")) {
			t.Errorf("%s: PARTUUID %s is none of %v", w.Node, p.UUID.Or(""), d.tags)
		}
		compareSignature(t, w.Node, p.Filesystem)
		compareLsblkPartition(t, p)
	}
}

func (d *sceneDisk) tagsOf(path string) (tags []string) {
	for tag, of := range d.tags {
		if of == path {
			tags = append(tags, tag)
		}
	}
	return tags
}

func compareLsblkPartition(t *testing.T, p *registry.Partition) {
	t.Helper()
	var out struct {
		Blockdevices []struct {
			MajMin      string `json:"maj:min"`
			Size        int64
			RO          bool
			Alignment   int64
			Mountpoints []string
		}
	}
	text := testhost.Command(t, "lsblk", "-J", "-b", "-d", "-o", "MAJ:MIN,SIZE,RO,ALIGNMENT,MOUNTPOINTS", p.Path)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	w := out.Blockdevices[0]
	points := slices.DeleteFunc(w.Mountpoints, func(s string) bool { return s == "" })
	if strings.Join(points, "\n") == strings.Join(p.MountPoints, "\n") {
		points = slices.Clone(p.MountPoints) // lsblk takes a line feed in a mount point for the end of it
	}
	slices.Sort(points)
	slices.Sort(p.MountPoints)
	if p.DeviceNumber.Or("") != w.MajMin || p.SizeBytes != w.Size || p.ReadOnly.Or(!w.RO) != w.RO || p.AlignmentOffsetBytes.Or(-9) != w.Alignment ||
		!slices.Equal(points, p.MountPoints) || p.InUse != (len(points) > 0) {
		t.Errorf("%s: %+v, lsblk has %+v", p.Path, p, w)
	}
}

// diskOfUnknownPartitions is a disk with a table that the kernel has not read.
func diskOfUnknownPartitions(t *testing.T) *testhost.Loop {
	t.Helper()
	testhost.Tool(t, "sfdisk", "fdisk")
	disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 128 << 20})
	script := "label: dos\nsize=20M, bootable\nsize=30M, type=82\ntype=5\nsize=10M\nsize=12M\n"
	tool(t, script, "sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk.Path)
	return disk
}

// What stands only in the table is listed, and read by way of the disk.
func TestPartitionsThatTheKernelDoesNotHave(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := diskOfUnknownPartitions(t)
	above := testhost.NewLoop(t, testhost.LoopOptions{Device: disk.Path, Offset: 1 << 20})
	testhost.Command(t, "mkfs.ext4", "-q", "-F", "-L", "inside", above.Path, "16M")
	testhost.Command(t, "sync")
	above.Detach()
	v := newVol(t, Options{})
	list := readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, disk.Path))
	var numbers []int64
	for _, p := range list {
		numbers = append(numbers, p.Number)
		if p.InKernel || !p.InTable.Or(false) || p.Path != fmt.Sprintf("%sp%d", disk.Path, p.Number) || p.Logical.Or(false) != (p.Number > 4) {
			t.Errorf("%+v", p)
		}
	}
	if !slices.Equal(numbers, []int64{1, 2, 3, 5, 6}) {
		t.Fatalf("numbers %v", numbers)
	}
	first := list[0]
	if first.Filesystem == nil || first.Filesystem.Label.Or("") != "inside" || !first.Bootable.Or(false) || first.TypeName.Or("") != "Linux" || list[2].TypeName.Or("") != "Extended" {
		t.Errorf("%+v", first)
	}
	d := &sceneDisk{Loop: disk, name: disk.Path, sectorSize: 512, table: &sfdiskTable{}}
	d.compareFreeSpace(t, v)
}

// A disk that does not answer, whose partitions the kernel does not have: nothing can be listed, and that does
// not look as if there were nothing.
func TestPartitionsOfATableThatIsNotRead(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := diskOfUnknownPartitions(t)
	v := newVol(t, Options{})
	release := hangDevice(t, v, disk.Path)
	want := registry.UnreadDevice{Path: disk.Path, Reason: "timeout"}
	for _, params := range []string{fmt.Sprintf(`{"disk":%q}`, disk.Path), `{}`} {
		r := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", params)
		if !slices.Contains(r.Unread, want) || slices.ContainsFunc(r.Partitions, func(p registry.Partition) bool { return p.Disk == disk.Path }) {
			t.Errorf("%s: %+v", params, r)
		}
	}
	release()
	if list := readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, disk.Path)); len(list) != 5 {
		t.Errorf("once it is back: %+v", list)
	}
}

// hangDevice has a call on a device hang until the end.
func hangDevice(t *testing.T, v *Vol, path string) (end func()) {
	t.Helper()
	st, err := blk.StatNode(path)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(10*time.Millisecond, cancel).Stop()
	_, err = hang.Do(ctx, v.calls, st.Number, func() (struct{}, error) { <-release; return struct{}{}, nil })
	if !errors.Is(err, context.Canceled) || v.calls.Stuck(st.Number) != 1 {
		t.Fatalf("%v, %d calls hang", err, v.calls.Stuck(st.Number))
	}
	return func() {
		close(release)
		testhost.Eventually(t, "the call is left", func() bool { return v.Blocked() == 0 })
	}
}

// A place that cannot be read hides what stands there, and nothing else.
func TestEntryThatIsNotRead(t *testing.T) {
	const size = 1 << 20
	table := &ondisk.Table{Type: "dos", SectorSize: 512}
	image := make([]byte, 3*size)
	for i := range 3 {
		table.Partitions = append(table.Partitions, ondisk.Partition{Number: i + 1, Start: int64(i) * size, Size: size})
		copy(image[i*size+4086:], "SWAPSPACE2")
		binary.LittleEndian.PutUint32(image[i*size+1024:], 1)     // version
		binary.LittleEndian.PutUint32(image[i*size+1028:], 255-1) // last page
	}
	got := readEntries(faultyAt{bytes.NewReader(image), size, 2 * size}, &blk.Disk{Size: 3 * size}, table)
	for number, want := range map[int]string{1: "swap", 2: "EIO", 3: "swap"} {
		p := new(partitionContents)
		p.takeEntry(got[number])
		told := p.probeErr
		if p.contents != nil && p.contents.Signature != nil {
			told += p.contents.Signature.Type
		}
		if told != want {
			t.Errorf("partition %d: %q, want %q", number, told, want)
		}
	}
}

// faultyAt is a disk of which a stretch cannot be read.
type faultyAt struct {
	io.ReaderAt
	start, end int64
}

func (f faultyAt) ReadAt(b []byte, at int64) (int, error) {
	if at < f.end && at+int64(len(b)) > f.start {
		return 0, os.NewSyscallError("pread", unix.EIO)
	}
	return f.ReaderAt.ReadAt(b, at)
}

// A disk that does not answer: the kernel's facts are told in time, and so is what stands on a partition
// that does.
func TestPartitionsOfADiskThatHangs(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	node := disk.AddPartition(1, 1<<20, 32<<20)
	testhost.Command(t, "mkfs.ext4", "-q", "-F", "-L", "MOSHANGS", node)
	v := newVol(t, Options{})
	release := hangDevice(t, v, disk.Path)
	start := time.Now()
	list := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, disk.Path)).Partitions
	if len(list) != 1 || list[0].ProbeError.Or("") != "timeout" || list[0].InTable.IsSet() || !list[0].InKernel || list[0].SizeBytes != 32<<20 || list[0].Filesystem == nil {
		t.Errorf("%+v", list)
	}
	found := answer[registry.VolListFilesystemsResult](t, v, "vol.list_filesystems", `{"label_prefix":"MOSHANGS"}`)
	if len(found.Filesystems) != 1 || found.Filesystems[0].Devices[0].Path.Or("") != node {
		t.Errorf("%+v", found)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	release()
	if list = readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, disk.Path)); list[0].ProbeError.IsSet() || !list[0].InTable.IsSet() {
		t.Errorf("once it is back: %+v", list)
	}
}
