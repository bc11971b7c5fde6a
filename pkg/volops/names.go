package volops

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// resolve finds the block devices that a name fits: a path below /dev, links too, or UUID=, LABEL=,
// PARTUUID=. It is several where these are the members of one btrfs, or where they bear the same name.
func (d *devices) resolve(name string) ([]blk.Number, error) {
	if strings.HasPrefix(name, "/") {
		n, err := d.byPath(name)
		return []blk.Number{n}, err
	}
	tag, value, _ := strings.Cut(name, "=")
	list, err := d.byTag(tag, value)
	if err == nil && len(list) == 0 {
		err = noDevice(name)
	}
	return list, err
}

// resolveOne is resolve for calls that act on one device, or on one btrfs: a name that fits several is
// a conflict.
func (d *devices) resolveOne(name string) ([]blk.Number, error) {
	list, err := d.resolve(name)
	if err != nil || len(list) == 1 || d.oneFilesystem(list) {
		return list, err
	}
	var names []string
	for _, n := range list {
		if dev := d.get(n); dev != nil {
			names = append(names, dev.name)
		}
	}
	return nil, &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "device", ID: name},
		Message:      fmt.Sprintf("%s fits several devices: %s; name one of them by its path", name, strings.Join(names, ", ")),
	}
}

// oneFilesystem tells whether all devices are members of one filesystem: each another one. Two that
// are the same member are copies, made behind the filesystem's back.
func (d *devices) oneFilesystem(list []blk.Number) bool {
	members := make(map[string]bool)
	var uuid string
	for i, n := range list {
		dev := d.get(n)
		if dev == nil {
			return false
		}
		if i == 0 {
			uuid = dev.tags.uuid
		}
		member := cmp.Or(dev.tags.member, dev.name)
		if dev.tags.uuid != uuid || dev.tags.member == "" && len(dev.members) == 0 || members[member] {
			return false
		}
		members[member] = true
	}
	return true
}

func (d *devices) byPath(path string) (blk.Number, error) {
	m, err := d.v.containing(path)
	if err != nil {
		return blk.Number{}, err
	}
	node, err := hang.Do(d.allowed.call, d.v.calls, number(m), func() (blk.Node, error) { return blk.StatNode(d.v.root + path) })
	var other *blk.NotBlockError
	if isGone(err) || errors.Is(err, unix.ENOTDIR) || errors.As(err, &other) {
		return blk.Number{}, noDevice(path)
	}
	return node.Number, waiting(err, "the filesystem at "+m.Target)
}

// byTag looks among udev's links, then among the mounted filesystems that the kernel tells of, then on
// the devices themselves.
func (d *devices) byTag(tag, value string) ([]blk.Number, error) {
	if list := d.links().Find("/dev/disk/by-"+strings.ToLower(tag), value); len(list) > 0 {
		return list, nil
	}
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	for _, f := range d.filesystems() {
		if tag == "UUID" && f.UUID == value || tag == "LABEL" && f.UUID != "" && f.Label == value {
			return numbers(s, f.Members), nil
		}
	}
	return d.scan(s, tag, value)
}

func numbers(s *blk.Sysfs, names []string) []blk.Number {
	var list []blk.Number
	for _, name := range names {
		if n, err := s.Number(name); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// scan reads every device that no other device stands on (a member of an array can look like the
// array itself). Those that cannot be read, or not in time, fit nothing.
func (d *devices) scan(s *blk.Sysfs, tag, value string) ([]blk.Number, error) {
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	var list []blk.Number
	for _, name := range names {
		disk, err := s.Disk(name)
		if err != nil || disk.Size == 0 || disk.Hidden {
			continue
		}
		list = append(list, d.fitting(disk, tag, value)...)
	}
	return list, nil
}

// fitting lists the disk and its partitions as far as they bear a name.
func (d *devices) fitting(disk *blk.Disk, tag, value string) (list []blk.Number) {
	if tag == "PARTUUID" {
		table := d.table(disk)
		for _, p := range disk.Partitions {
			if e := table.Entry(p.Index); e != nil && e.UUID == value {
				list = append(list, p.Number)
			}
		}
		return list
	}
	bears := func(n blk.Number, name string, holders []string) bool {
		if len(holders) > 0 {
			return false
		}
		t, _ := probe(d, n, name, tagsOn)
		return tag == "UUID" && t.uuid == value || tag == "LABEL" && t.label == value
	}
	if len(disk.Partitions) == 0 && bears(disk.Number, disk.Name, disk.Holders) {
		list = append(list, disk.Number)
	}
	for _, p := range disk.Partitions {
		if bears(p.Number, p.Name, p.Holders) {
			list = append(list, p.Number)
		}
	}
	return list
}

// mountedFrom tells of mounts whether they stand on the device that a name fits. A name that fits
// nothing lets nothing through.
func (d *devices) mountedFrom(name string) (func(*mount.Mount) bool, error) {
	if registry.CheckFormat("device", name) != nil {
		return func(*mount.Mount) bool { return false }, nil
	}
	list, err := d.resolve(name)
	var none *registry.NotFoundError
	if err != nil && !errors.As(err, &none) {
		return nil, err
	}
	return func(m *mount.Mount) bool {
		dev := d.under(m)
		return dev != nil && slices.ContainsFunc(list, func(n blk.Number) bool { return d.same(dev, n) })
	}, nil
}

// same tells whether a device, or the filesystem with several devices that it belongs to, has the number.
func (d *devices) same(dev *device, n blk.Number) bool {
	other := d.get(n)
	return other != nil && (other.name == dev.name || slices.Contains(dev.members, other.path))
}
