package volops

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/ondisk"
)

// devices is what one call knows of the host's block devices. Facts are read when they are first asked
// for, and once. One goroutine uses it, and closes it.
type devices struct {
	v           *Vol
	allowed     allowance
	opened      *blk.Sysfs // nil until it is asked for
	links       func() blk.Links
	filesystems func() []blk.Filesystem
	mounts      func() (*mount.Table, error)
	swaps       func() ([]blk.Swap, error)
	known       map[blk.Number]*device
	seen        map[blk.Number]*ondisk.Contents // of devices that were read already
}

// knows has a device that was read already not read again, and has only its own links looked at.
func (d *devices) knows(t *target) {
	d.links = sync.OnceValue(func() blk.Links { return d.v.links.Of(t.number) })
	d.seen = map[blk.Number]*ondisk.Contents{t.number: t.contents}
	if t.around != nil {
		d.seen[t.disk.Number] = t.around
	}
	if s := t.contents.Signature; s != nil && s.Type != "btrfs" && s.Type != "bcachefs" { // on one device, which tells all of it
		d.filesystems = func() []blk.Filesystem { return nil }
	}
}

// device is a block device as other objects name it.
type device struct {
	name  string   // kernel name
	disk  string   // kernel name of the disk that it is or lies on
	path  string   // of its node
	links []string // its stable names
	tags  tags     // of what stands on it

	partUUID, partLabel string   // of partitions
	members             []string // nodes of all devices of the filesystem, where there are several
}

// tags are the names that a filesystem or swap space gives itself: what UUID= and LABEL= mean.
type tags struct {
	uuid, label string
	member      string // UUID of this one device, for formats that may have several
}

func (v *Vol) devices(allowed allowance) *devices {
	return &devices{
		v:           v,
		allowed:     allowed,
		links:       sync.OnceValue(func() blk.Links { return blk.ReadLinks(v.root, blk.DiskFolders(v.root)...) }),
		filesystems: sync.OnceValue(func() []blk.Filesystem { return blk.Filesystems(v.root) }),
		mounts:      sync.OnceValues(v.table),
		swaps:       sync.OnceValues(func() ([]blk.Swap, error) { return blk.ReadSwaps(v.root) }),
		known:       make(map[blk.Number]*device),
	}
}

func (d *devices) sysfs() (*blk.Sysfs, error) {
	if d.opened != nil {
		return d.opened, nil
	}
	s, err := blk.Open(d.v.root)
	if errors.Is(err, blk.ErrNoSysfs) {
		return nil, noSysfs()
	}
	d.opened = s
	return s, err
}

func (d *devices) close() {
	if d.opened != nil {
		d.opened.Close()
	}
}

// nodePath is the node that the kernel makes for a device.
func nodePath(name string) string { return "/dev/" + name }

// under finds the device that a mount stands on: by its number, or where the filesystem has none of
// its own (btrfs, bcachefs) by its source. It is nil where there is none.
func (d *devices) under(m *mount.Mount) *device {
	if m.Major != 0 {
		return d.get(number(m))
	}
	if n, ok := d.sourceNumber(m); ok {
		return d.get(n)
	}
	return nil
}

// sourceNumber is the number of the first device that the source of a btrfs or bcachefs names.
func (d *devices) sourceNumber(m *mount.Mount) (blk.Number, bool) {
	if m.FSType != "btrfs" && m.FSType != "bcachefs" {
		return blk.Number{}, false
	}
	path, _, _ := strings.Cut(m.Source, ":") // bcachefs lists its devices this way
	return d.byNode(path)
}

// byNode is the number of a device that the kernel names by its node. Names that are not the kernel's
// own, as below /dev/mapper, are looked up in /dev, where nothing hangs.
func (d *devices) byNode(path string) (blk.Number, bool) {
	name, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return blk.Number{}, false
	}
	if s, err := d.sysfs(); err == nil {
		if n, err := s.Number(name); err == nil {
			return n, true
		}
	}
	node, err := blk.StatNode(d.v.root + path)
	return node.Number, err == nil
}

// get reads the facts of a device once; nil where the kernel has none with this number.
func (d *devices) get(n blk.Number) *device {
	if known, ok := d.known[n]; ok {
		return known
	}
	found := d.read(n)
	d.known[n] = found
	return found
}

func (d *devices) read(n blk.Number) *device {
	s, err := d.sysfs()
	if err != nil {
		return nil
	}
	disk, partition, err := s.Owner(n)
	if err != nil {
		return nil
	}
	dev := &device{name: disk, disk: disk, links: d.links()[n]}
	if partition != "" {
		dev.name = partition
		d.readPartition(s, dev, n)
	}
	dev.path = nodePath(dev.name)
	if f := d.filesystemOn(dev.name); f != nil {
		dev.tags = tags{uuid: f.UUID, label: f.Label}
		if len(f.Members) > 1 {
			dev.members = nodePaths(f.Members)
		}
	}
	if dev.tags.uuid == "" {
		dev.tags = d.readTags(n, dev.name)
	}
	return dev
}

func nodePaths(names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = nodePath(name)
	}
	return paths
}

// standsOn lists the devices under a mount: several for a filesystem with several.
func (d *devices) standsOn(m *mount.Mount) []blk.Number {
	if m.Major != 0 {
		return []blk.Number{number(m)}
	}
	n, ok := d.sourceNumber(m)
	if !ok {
		return nil
	}
	s, err := d.sysfs()
	if err != nil {
		return []blk.Number{n}
	}
	if disk, partition, err := s.Owner(n); err == nil {
		if f := d.filesystemOn(cmp.Or(partition, disk)); f != nil {
			return numbers(s, f.Members)
		}
	}
	return []blk.Number{n}
}

// filesystemOn finds the mounted filesystem that has a device as its member, as far as the kernel
// tells; nil where there is none.
func (d *devices) filesystemOn(name string) *blk.Filesystem {
	list := d.filesystems()
	for i := range list {
		if slices.Contains(list[i].Members, name) {
			return &list[i]
		}
	}
	return nil
}

// readTags takes the names of what stands on a device from udev's links, else from the device itself.
func (d *devices) readTags(n blk.Number, name string) tags {
	t := tags{
		uuid:  d.links().Name(n, "/dev/disk/by-uuid"),
		label: d.links().Name(n, "/dev/disk/by-label"),
	}
	if t.uuid != "" {
		return t
	}
	if c := d.seen[n]; c != nil {
		return tagsIn(c)
	}
	t, _ = probe(d, n, name, tagsOn)
	return t
}

// tagsOn reads them from a device.
func tagsOn(dev *blk.Device) (tags, error) {
	size, sector, err := dev.Geometry()
	if err != nil {
		return tags{}, err
	}
	c, err := ondisk.Read(dev, size, sector)
	if err != nil {
		return tags{}, err
	}
	return tagsIn(c), nil
}

// tagsIn finds them in what stands on a device. As of udev's links there are none where it is uncertain
// what that is, nor for a member of an array, whose UUID is the array's.
func tagsIn(c *ondisk.Contents) tags {
	s := c.Signature
	if s == nil || c.Ambivalent || s.Usage == ondisk.RAID {
		return tags{}
	}
	return tags{uuid: s.UUID, label: s.Label, member: s.UUIDSub}
}

// readPartition does the same for the names of a partition; on the disk they stand in its table.
func (d *devices) readPartition(s *blk.Sysfs, dev *device, n blk.Number) {
	dev.partUUID = d.links().Name(n, "/dev/disk/by-partuuid")
	dev.partLabel = d.links().Name(n, "/dev/disk/by-partlabel")
	if dev.partUUID != "" {
		return
	}
	disk, err := s.Disk(dev.disk)
	if err != nil {
		return
	}
	if e := d.table(disk).Entry(blk.PartitionIndex(dev.name)); e != nil {
		dev.partUUID, dev.partLabel = e.UUID, e.Name
	}
}

// table reads the partition table of a disk; nil where there is none, or none to be read.
func (d *devices) table(k *blk.Disk) *ondisk.Table {
	if c := d.seen[k.Number]; c != nil {
		return c.Table
	}
	c, err := probe(d, k.Number, k.Name, readDisk(k))
	if err != nil {
		return nil
	}
	return c.Table
}

// readDisk reads what stands on a disk.
func readDisk(k *blk.Disk) func(*blk.Device) (*ondisk.Contents, error) {
	return func(dev *blk.Device) (*ondisk.Contents, error) {
		return ondisk.Read(dev, k.Size, k.Queue.LogicalBlockSize.Value)
	}
}

// probe reads from a device for an object that can do without.
func probe[T any](d *devices, n blk.Number, name string, f func(*blk.Device) (T, error)) (T, error) {
	return probeDevice(d.v, d.allowed, n, name, f)
}

// probeDevice opens a device and has f read it. It waits no longer than a list may, and not at all
// where calls on the device hang already.
func probeDevice[T any](v *Vol, allowed allowance, n blk.Number, name string, f func(*blk.Device) (T, error)) (result T, err error) {
	if v.calls.Stuck(n) > 0 {
		return result, context.DeadlineExceeded
	}
	ctx, cancel := allowed.next()
	defer cancel()
	return hang.Do(ctx, v.calls, n, func() (result T, err error) {
		dev, err := blk.OpenDevice(v.root+nodePath(name), n)
		if err != nil {
			return result, err
		}
		defer dev.Close()
		return f(dev)
	})
}

// isGone tells whether an error says that what was listed a moment ago is not there any more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
