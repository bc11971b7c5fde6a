package blk

import (
	"bytes"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// sector is the unit in which sysfs counts sizes, whatever the disk's own sectors are.
const sector = 512

// Disk reads one disk by its kernel name. The error is fs.ErrNotExist where there is none, or none
// any more.
func (s *Sysfs) Disk(name string) (*Disk, error) {
	return s.DiskTold(name, func(*Disk) *Told { return nil })
}

// DiskTold is Disk for a caller that opens the device too: ask is called once the name, number, kind and size of
// the disk are known and whether it is removable, must not keep what it is given, and answers what the device tells, or nil. The disk is the same
// either way; what is told need not be read.
func (s *Sysfs) DiskTold(name string, ask func(*Disk) *Told) (*Disk, error) {
	return s.readDisk(name, func(d dir, k *Disk, files []string) {
		k.Removable = d.flag("removable").Value
		told := ask(k)
		s.top(d, k, files, told)
		k.Queue = readQueue(d, told)
		switch k.Kind {
		case "loop":
			k.Type = k.Kind
			k.Loop = s.readLoop(d, name, told)
		case "dm":
			readMapper(d, k)
		case "md":
			k.Type = orElse(d.text("md/level"), "md")
		default:
			k.Type = orElse(scsiType(d.number("device/type")), "disk")
			k.State = d.text("device/state")
		}
	})
}

// Identity is Disk without what costs most: it has only what tells one disk from another, its size, its kind and
// its partitions.
func (s *Sysfs) Identity(name string) (*Disk, error) {
	return s.readDisk(name, func(d dir, k *Disk, files []string) {
		if stacked(k.Kind) && slices.Contains(files, "slaves") { // udev's record is not believed of such disks
			k.Slaves = sortedNames(d.list("slaves"))
		}
	})
}

// readDisk reads what every use of a disk takes, and what further reads from its folder, which has these files.
func (s *Sysfs) readDisk(name string, further func(d dir, k *Disk, files []string)) (*Disk, error) {
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	d, err := openDir(s.block, fileName(name), buf)
	if err != nil {
		return nil, err
	}
	defer d.close()
	k := &Disk{Name: name}
	size := d.scaled("size", sector)
	if !size.Known { // every disk has it, until it is gone
		return nil, &os.PathError{Op: "read", Path: "/sys/block/" + name, Err: fs.ErrNotExist}
	}
	k.Size = size.Value
	files, err := d.names()
	if err != nil {
		return nil, err
	}
	k.Kind = kind(d, name)
	k.readEvent(d)
	for _, file := range files {
		if isPartition(fileName(name), file) {
			k.Partitions = append(k.Partitions, readPartition(d, file))
		}
	}
	slices.SortFunc(k.Partitions, func(a, b Partition) int { return a.Index - b.Index })
	further(d, k, files)
	s.identify(d, k, slices.Contains(files, "device"))
	return k, nil
}

// top reads what stands in the disk's own folder, which has these files.
func (s *Sysfs) top(d dir, k *Disk, files []string, told *Told) {
	if told != nil {
		k.ReadOnly, k.AlignmentOffset = told.ReadOnly, known(told.AlignmentOffset)
	} else {
		k.ReadOnly, k.AlignmentOffset = d.flag("ro").Value, d.number("alignment_offset")
	}
	k.DiscardAlignment = d.number("discard_alignment")
	for _, name := range files {
		switch {
		case name == "holders":
			k.Holders = sortedNames(d.list(name))
		case name == "slaves" && stacked(k.Kind):
			k.Slaves = sortedNames(d.list(name))
		case name == "mq":
			k.HardwareQueues = known(d.folders(name))
		}
	}
}

// stacked tells whether a disk of this kind may stand on others. For those that never do the kernel
// has an empty folder.
func stacked(kind string) bool {
	return !slices.Contains([]string{"loop", "rom", "zram", "ram", "nbd", "floppy"}, kind)
}

// readEvent takes number and sequence from uevent, which has both in one read. A hidden disk has no
// number.
func (k *Disk) readEvent(d dir) {
	text, _ := d.read("uevent")
	var major, minor string
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		switch key {
		case "MAJOR":
			major = value
		case "MINOR":
			minor = value
		case "DISKSEQ":
			n, err := strconv.ParseInt(value, 10, 64)
			k.Sequence = Fact[int64]{n, err == nil}
		}
	}
	number, ok := parseNumber(major + ":" + minor)
	k.Number, k.Hidden = number, !ok
}

func readPartition(d dir, name string) Partition {
	p := Partition{Name: kernelName(name)}
	if sub, ok := d.sub(name); ok {
		defer sub.close()
		p.Index = int(sub.number("partition").Value)
		p.Number, _ = sub.deviceNumber("dev")
		p.Holders = sortedNames(sub.list("holders"))
	}
	return p
}

func sortedNames(files []string) []string {
	for i := range files {
		files[i] = kernelName(files[i])
	}
	slices.SortFunc(files, Compare)
	return files
}

func readQueue(d dir, told *Told) (q Queue) {
	d, ok := d.sub("queue")
	if !ok {
		return q
	}
	defer d.close()
	if told != nil {
		q = told.queue()
	} else {
		q.LogicalBlockSize = d.number("logical_block_size")
		q.PhysicalBlockSize = d.number("physical_block_size")
		q.MinimumIOSize = d.number("minimum_io_size")
		q.OptimalIOSize = d.number("optimal_io_size")
		q.Rotational = d.flag("rotational")
		q.ReadAhead = d.scaled("read_ahead_kb", 1024)
	}
	q.AddRandom = d.flag("add_random")
	q.DAX = d.flag("dax")
	q.FUA = d.flag("fua")
	q.Scheduler, q.Schedulers = schedulers(d.text("scheduler"))
	q.NrRequests = d.number("nr_requests")
	q.WriteCache = d.text("write_cache")
	q.DiscardGranularity = d.number("discard_granularity")
	q.DiscardMax = d.number("discard_max_bytes")
	q.DiscardZeroesData = known(false) // discard_zeroes_data is a constant since Linux 4.12
	q.WriteSameMax = d.number("write_same_max_bytes")
	q.WriteZeroesMax = d.number("write_zeroes_max_bytes")
	if q.Zoned == "" {
		q.Zoned = d.text("zoned")
	}
	if q.Zoned != "" && q.Zoned != "none" {
		q.Zones = readZones(d)
	}
	return q
}

func readZones(d dir) *Zones {
	return &Zones{
		Size:             d.scaled("chunk_sectors", sector),
		WriteGranularity: d.number("zone_write_granularity"),
		AppendMax:        d.number("zone_append_max_bytes"),
		Count:            d.number("nr_zones"),
		OpenMax:          d.number("max_open_zones"),
		ActiveMax:        d.number("max_active_zones"),
	}
}

// schedulers takes a list such as "none [mq-deadline] kyber"; the one in brackets is in force. Where
// there is no choice there may be no brackets either.
func schedulers(list string) (current string, all []string) {
	for name := range strings.FieldsSeq(list) {
		if inner, ok := strings.CutPrefix(name, "["); ok {
			name = strings.TrimSuffix(inner, "]")
			current = name
		}
		all = append(all, name)
	}
	if current == "" && len(all) == 1 {
		current = all[0]
	}
	return current, all
}

// readLoop is nil for a loop device that is attached to nothing: its folder is not there then.
func (s *Sysfs) readLoop(d dir, name string, told *Told) *Loop {
	file := s.LoopBacking(name)
	if file == "" {
		return nil
	}
	if told != nil && told.loop != nil {
		l := *told.loop
		l.BackingFile = file // of which the device tells the beginning only
		return &l
	}
	d, ok := d.sub("loop")
	if !ok {
		return nil
	}
	defer d.close()
	return &Loop{
		BackingFile: file,
		Offset:      d.number("offset"),
		SizeLimit:   d.number("sizelimit"),
		Autoclear:   d.flag("autoclear"),
		Partscan:    d.flag("partscan"),
		DirectIO:    d.flag("dio"),
	}
}

// readMapper takes what device mapper tells. The part of the UUID before the hyphen is the owner's
// mark: LVM, CRYPT, mpath, part1 (of kpartx).
func readMapper(d dir, k *Disk) {
	k.MapperName = d.text("dm/name")
	k.MapperUUID = d.text("dm/uuid")
	owner, _, _ := strings.Cut(k.MapperUUID, "-")
	k.Type = orElse(strings.ToLower(owner), "dm")
	if strings.HasPrefix(k.Type, "part") {
		k.Type = "part"
	}
	if suspended := d.flag("dm/suspended"); suspended.Known {
		k.State = map[bool]string{true: "suspended", false: "running"}[suspended.Value]
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
