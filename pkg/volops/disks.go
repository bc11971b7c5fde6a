package volops

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// disksWidth is how many disks are read at a time.
const disksWidth = 8

// ListDisks answers vol.list_disks.
func (v *Vol) ListDisks(ctx context.Context, p *registry.VolListDisksParams, rows *registry.Stream[registry.Disk]) (*registry.VolListDisksEnd, error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	l := &diskList{v: v, sysfs: s, links: d.links(), limit: p.Limit.Or(maxInteger)}
	path, one := p.Path.Get()
	names, err := d.diskNames(s, path)
	if err != nil {
		return nil, err
	}
	if l.holders, err = d.holders(s); err != nil {
		return nil, err
	}
	l.all = one
	return nil, l.send(ctx, allowed, names, rows)
}

// diskNames lists the disks that a name stands for, or all of them where it is empty.
func (d *devices) diskNames(s *blk.Sysfs, path string) ([]string, error) {
	if path == "" {
		return s.Names()
	}
	numbers, err := d.resolveOne(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range numbers {
		disk, _, err := s.Owner(n)
		if isGone(err) {
			return nil, noDevice(path)
		}
		if err != nil {
			return nil, err
		}
		names = append(names, disk)
	}
	slices.SortFunc(names, blk.Compare)
	return slices.Compact(names), nil
}

// diskList is what the rows of one list share.
type diskList struct {
	v       *Vol
	sysfs   *blk.Sysfs
	links   blk.Links
	holders *holders
	all     bool // RAM disks and detached loops too
	limit   int64
	row     registry.Disk // used again for each
}

// diskFacts is one disk on its way to its row.
type diskFacts struct {
	disk *blk.Disk // nil where it is to be left out
	err  error     // ends the list
	deviceFacts
}

// deviceFacts is what the device itself says of a disk.
type deviceFacts struct {
	told     *blk.Told        // nil where it was not asked
	node     *blk.Node        // nil where /dev does not have it
	contents *ondisk.Contents // nil where it was not read
	probeErr string
}

func (l *diskList) send(ctx context.Context, allowed allowance, names []string, rows *registry.Stream[registry.Disk]) error {
	err := inOrder(len(names), disksWidth, func(i int) (diskFacts, bool) {
		return diskFacts{}, l.leftOut(names[i])
	}, func(i int) diskFacts {
		return l.read(allowed, names[i])
	}, func(_ int, f diskFacts) error {
		if err := errors.Join(f.err, ctx.Err()); err != nil || f.disk == nil {
			return err
		}
		l.fill(&f)
		if err := rows.Send(&l.row); err != nil {
			return err
		}
		if int64(rows.Rows()) == l.limit {
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		return nil
	}
	return err
}

// read reads one disk, from the device, if that answers in time, and from sysfs.
func (l *diskList) read(allowed allowance, name string) (f diskFacts) {
	k, err := l.sysfs.DiskTold(name, func(k *blk.Disk) *blk.Told {
		f.deviceFacts = l.readDevice(allowed, k)
		return f.told
	})
	switch {
	case isGone(err):
		return diskFacts{}
	case err != nil:
		return diskFacts{err: err}
	case k.Hidden:
		return f
	}
	f.disk = k
	if f.node == nil {
		f.node = l.nodeOf(k)
	}
	return f
}

// nodeOf looks at the node of a disk; nil where /dev does not have it.
func (l *diskList) nodeOf(k *blk.Disk) *blk.Node {
	node, err := blk.StatNode(l.v.root + nodePath(k.Name))
	if err != nil || node.Number != k.Number {
		return nil
	}
	return &node
}

// leftOut tells of disks that a list of all does not have: RAM disks, which exist from the start and
// hold nothing, and loops that are attached to nothing.
func (l *diskList) leftOut(name string) bool {
	attached, isLoop := l.holders.attached[name]
	ram, isRAM := strings.CutPrefix(name, "ram")
	return !l.all && (isLoop && !attached || isRAM && strings.Trim(ram, "0123456789") == "")
}

// readDevice reads what stands on a disk and what the device tells of itself, or says why not. Drives without a medium
// are not opened; nor are floppies, whose motor would start.
func (l *diskList) readDevice(allowed allowance, k *blk.Disk) deviceFacts {
	switch {
	case k.Hidden:
		return deviceFacts{}
	case k.Size == 0 && k.Removable, k.Kind == "floppy":
		return deviceFacts{probeErr: "no_medium"}
	case k.Size == 0:
		return deviceFacts{}
	}
	kind := k.Kind // a device that hangs is asked for longer than the disk may be looked at
	f, err := probeDevice(l.v, allowed, k.Number, k.Name, func(dev *blk.Device) (f deviceFacts, err error) {
		size, sector, err := dev.Geometry()
		if err != nil {
			return f, err
		}
		if !dev.Cached(0) { // as of a disk that nothing holds open: else each place is waited for in turn
			for _, p := range ondisk.Places(size, sector) {
				dev.Fetch(p.Offset, p.Length)
			}
		}
		node := dev.Node()
		f.node, f.told = &node, dev.Tell(kind)
		f.contents, err = ondisk.Read(dev, size, sector)
		return f, err
	})
	if err != nil {
		return deviceFacts{probeErr: probeError(err)}
	}
	return f
}

// probeError is why a device was not read.
func probeError(err error) string {
	switch {
	case errors.Is(err, unix.ENOMEDIUM):
		return "no_medium"
	case errors.Is(err, fs.ErrPermission):
		return "no_privilege"
	}
	return omission(err)
}
