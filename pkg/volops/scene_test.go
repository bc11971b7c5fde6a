package volops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// oddNames are what files and folders are called in the tests: bytes that lists escape, each its own way.
var oddNames = []string{"plain", "with blank", "back\\slash", "tab\there", "line\nfeed", "é€漢", `quote"quote`, "#1", "a,b=c:d", "%41$x&<y>"}

func pick[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

// tool runs a program and returns what it prints.
func tool(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, complaint.String())
	}
	return string(out)
}

// scene is some loop disks with random contents, and what is to be said of them.
type scene struct {
	t     *testing.T
	rng   *rand.Rand
	disks []*sceneDisk
}

// sceneDisk is one of them.
type sceneDisk struct {
	*testhost.Loop
	name       string
	sectorSize int64
	holders    []string          // "kind name" of who holds it
	tags       map[string]string // UUID=… and its like -> path of the device that bears it
	table      *sfdiskTable
}

// sfdiskTable is what sfdisk -J says of a partition table.
type sfdiskTable struct {
	Label      string
	ID         string
	FirstLBA   int64
	LastLBA    int64
	SectorSize int64
	Partitions []struct {
		Node        string
		Start, Size int64
		UUID, Name  string
	}
}

func newScene(t *testing.T, rng *rand.Rand) *scene {
	s := &scene{t: t, rng: rng}
	for range 1 + rng.IntN(3) {
		s.addDisk()
	}
	return s
}

// addDisk makes a disk and puts something on it, or nothing.
func (s *scene) addDisk() {
	sectorSize := pick[uint32](s.rng, 512, 512, 1024, 4096)
	o := testhost.LoopOptions{
		Size:       int64(16+s.rng.IntN(100)) << 20,
		SectorSize: sectorSize,
		Backing:    pick(s.rng, oddNames...),
		Offset:     pick[int64](s.rng, 0, 0, 4096, 1<<20),
		ReadOnly:   s.rng.IntN(6) == 0,
	}
	content := pick(s.rng, "nothing", "gpt", "dos", "ext4", "xfs", "btrfs", "raid", "swap", "loop")
	if content == "xfs" || content == "btrfs" || content == "raid" {
		o.Size += 320 << 20
	}
	d := &sceneDisk{Loop: testhost.NewLoop(s.t, o), sectorSize: int64(sectorSize), tags: map[string]string{}}
	d.name = strings.TrimPrefix(d.Path, "/dev/")
	s.disks = append(s.disks, d)
	if o.ReadOnly {
		return
	}
	switch content {
	case "gpt", "dos":
		s.addTable(d, content)
	case "raid":
		o.Backing = "other"
		other := &sceneDisk{Loop: testhost.NewLoop(s.t, o), sectorSize: d.sectorSize, tags: d.tags}
		other.name = strings.TrimPrefix(other.Path, "/dev/")
		s.disks = append(s.disks, other)
		s.mountFilesystem(d, "btrfs", d.Path, other)
	case "loop":
		above := &sceneDisk{Loop: testhost.NewLoop(s.t, testhost.LoopOptions{Device: d.Path}), sectorSize: 512}
		above.name = strings.TrimPrefix(above.Path, "/dev/")
		s.disks = append(s.disks, above)
		d.holders = append(d.holders, "loop "+above.name)
	default:
		s.fillDevice(d, content, d.Path)
	}
}

// fillDevice puts a filesystem or swap space on a disk or a partition, and uses it half the time.
func (s *scene) fillDevice(d *sceneDisk, content, device string) {
	switch content {
	case "nothing":
	case "swap":
		uuid, label := s.uuid(), s.label()
		testhost.Swap(s.t, device, "-U", uuid, "-L", label)
		d.holders = append(d.holders, "swap "+device)
		d.tags["UUID="+uuid], d.tags["LABEL="+label] = device, device
	default:
		s.mountFilesystem(d, content, device)
	}
}

// mountFilesystem makes one with random tags, over several disks where others are given.
func (s *scene) mountFilesystem(d *sceneDisk, fstype, device string, others ...*sceneDisk) {
	uuid, label := s.uuid(), s.label()
	members := []*sceneDisk{d}
	devices := []string{device}
	for _, o := range others {
		members = append(members, o)
		devices = append(devices, o.Path)
	}
	switch fstype {
	case "ext4":
		tool(s.t, "", "mkfs.ext4", append([]string{"-q", "-F", "-b", "4096", "-U", uuid, "-L", label}, devices...)...)
	case "xfs":
		tool(s.t, "", "mkfs.xfs", append([]string{"-q", "-f", "-m", "uuid=" + uuid, "-L", label[:min(len(label), 12)]}, devices...)...)
		label = label[:min(len(label), 12)]
	case "btrfs":
		args := []string{"-q", "-f", "-U", uuid, "-L", label}
		if len(devices) > 1 {
			args = append(args, "-d", "raid1", "-m", "raid1")
		}
		tool(s.t, "", "mkfs.btrfs", append(args, devices...)...)
	}
	d.tags["UUID="+uuid], d.tags["LABEL="+label] = device, device
	if s.rng.IntN(3) == 0 {
		return
	}
	target := s.mountPoint()
	if err := unix.Mount(device, target, fstype, 0, ""); err != nil {
		s.t.Fatalf("mount %s: %v", fstype, err)
	}
	for _, m := range members {
		m.holders = append(m.holders, "mount "+target)
	}
}

// mountPoint makes a folder with an odd name; what is mounted there goes with the test.
func (s *scene) mountPoint() string {
	dir := s.t.TempDir() + "/" + pick(s.rng, oddNames...)
	if err := unix.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// addTable writes a partition table with sfdisk and has the kernel know its partitions.
func (s *scene) addTable(d *sceneDisk, label string) {
	testhost.Tool(s.t, "sfdisk", "fdisk")
	script := fmt.Sprintf("label: %s\nunit: sectors\n", label)
	start := int64(1<<20) / d.sectorSize
	for range s.rng.IntN(4) {
		size := int64(1+s.rng.IntN(4)) << 20 / d.sectorSize
		script += fmt.Sprintf("start=%d, size=%d", start, size)
		if label == "gpt" {
			script += fmt.Sprintf(", name=%q", pick(s.rng, "one", "zwei drei", "é漢"))
		}
		script += "\n"
		start += size + s.rng.Int64N(3)<<20/d.sectorSize
	}
	tool(s.t, script, "sfdisk", "-q", "--no-reread", "--no-tell-kernel", d.Path)
	var out struct{ PartitionTable sfdiskTable }
	if err := json.Unmarshal([]byte(tool(s.t, "", "sfdisk", "-J", d.Path)), &out); err != nil {
		s.t.Fatal(err)
	}
	d.table = &out.PartitionTable
	for _, p := range d.table.Partitions {
		var number int32
		fmt.Sscanf(strings.TrimPrefix(p.Node, d.Path), "p%d", &number)
		node := d.AddPartition(number, p.Start*d.sectorSize, p.Size*d.sectorSize)
		partuuid := strings.ToLower(p.UUID)
		if label == "dos" {
			partuuid = fmt.Sprintf("%s-%02x", strings.TrimPrefix(d.table.ID, "0x"), number)
		}
		d.tags["PARTUUID="+partuuid] = node
		if s.rng.IntN(2) == 0 && p.Size*d.sectorSize >= 3<<20 {
			s.fillDevice(d, pick(s.rng, "ext4", "swap"), node)
		}
	}
}

func (s *scene) uuid() string {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(s.rng.IntN(256))
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// label is one that no other test on the machine has.
func (s *scene) label() string { return fmt.Sprintf("L %08x", s.rng.Uint32()) }
