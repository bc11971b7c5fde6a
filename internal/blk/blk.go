// Package blk reads what the kernel tells of block devices: sysfs with every attribute decoded, the
// links and records that udev keeps, and swaps; and it opens devices for others to read what stands on
// them.
//
// What it reads comes from the kernel's own files, which never wait for a device. A Device does: callers
// bound how long they wait for it. The package starts no program and opens no device exclusively by itself, which
// would make somebody else's mount or mkfs fail. It writes no data; of a device that its caller has opened for
// that it changes the partitions that the kernel knows, discards a part, and takes the lock.
package blk

import "slices"

// Fact is something that a kernel or a device may not tell.
type Fact[T any] struct {
	Value T
	Known bool
}

func known[T any](v T) Fact[T] { return Fact[T]{v, true} }

// Number is a device number, as in st_rdev.
type Number struct{ Major, Minor uint32 }

// Disk is one entry of /sys/block: a whole block device. Sizes are in bytes.
type Disk struct {
	Name     string // kernel name; a slash stands where sysfs has an exclamation mark
	Number   Number
	Sequence Fact[int64] // diskseq: no other disk of this boot has it (Linux 5.15)
	Kind     string      // what drives it: disk, rom, loop, md, dm, zram, …
	Type     string      // finer than Kind for md and dm, as lsblk has it: raid1, crypt, …
	Size     int64       // 0 without a medium
	ReadOnly bool
	Hidden   bool // a path of NVMe multipath: it has no node and no number

	Removable        bool
	Hotplug          bool // removable, or behind a bus whose devices come and go
	AlignmentOffset  Fact[int64]
	DiscardAlignment Fact[int64]
	HardwareQueues   Fact[int64]
	Queue            Queue
	Loop             *Loop  // of loop devices that are attached to something
	MapperName       string // dm
	MapperUUID       string // dm
	State            string // SCSI: running, offline; NVMe: live; dm: running, suspended
	Holders          []string
	Slaves           []string
	Partitions       []Partition

	Identity
}

// Identity is what tells one device from another. Text is trimmed; empty is unknown.
type Identity struct {
	Vendor, Model, Revision string
	Serial                  string
	WWN                     string // 0x…, nvme.…, eui.…, uuid.…, as udev has it
	Transport               string // how it is attached: nvme, sata, usb, virtio, …
	Subsystems              string // of the device and those it hangs on: block:scsi:pci
	HCTL                    string // SCSI address
}

// Queue is the folder queue of a disk (Documentation/ABI/stable/sysfs-block), in bytes.
type Queue struct {
	LogicalBlockSize, PhysicalBlockSize Fact[int64]
	MinimumIOSize, OptimalIOSize        Fact[int64]
	Rotational, AddRandom, DAX, FUA     Fact[bool]
	Schedulers                          []string
	Scheduler                           string // the one in force
	NrRequests                          Fact[int64]
	ReadAhead                           Fact[int64]
	WriteCache                          string // write back, write through
	DiscardGranularity, DiscardMax      Fact[int64]
	DiscardZeroesData                   Fact[bool]
	WriteSameMax, WriteZeroesMax        Fact[int64]
	Zoned                               string // none, host-aware, host-managed
	Zones                               *Zones // of zoned devices
}

// Zones describes a zoned device.
type Zones struct {
	Size, WriteGranularity, AppendMax Fact[int64] // bytes
	Count, OpenMax, ActiveMax         Fact[int64]
}

// Loop is what a loop device stands on.
type Loop struct {
	BackingFile                   string // ends in " (deleted)" where it was unlinked
	Offset, SizeLimit             Fact[int64]
	Autoclear, Partscan, DirectIO Fact[bool]
}

// Partition is a part of a disk that the kernel knows of.
type Partition struct {
	Name    string
	Index   int // its number in the table
	Number  Number
	Holders []string
}

// HolderNames lists the devices that stand on the disk or on one of its partitions.
func (k *Disk) HolderNames() []string {
	list := slices.Clone(k.Holders)
	for _, p := range k.Partitions {
		list = append(list, p.Holders...)
	}
	slices.SortFunc(list, Compare)
	return slices.Compact(list)
}
