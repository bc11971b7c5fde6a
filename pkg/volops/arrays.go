package volops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/md"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ListMDArrays answers vol.list_md_arrays.
func (v *Vol) ListMDArrays(ctx context.Context, p *registry.VolListMDArraysParams) (*registry.VolListMDArraysResult, error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	list, err := d.arrays(p.Limit.Or(maxInteger), sync.OnceValues(d.arrayHolders))
	if err != nil {
		return nil, err
	}
	return &registry.VolListMDArraysResult{Arrays: list}, nil
}

// arrays reads the arrays that there are, limit at most.
func (d *devices) arrays(limit int64, holders func() (*holders, error)) ([]registry.MdArray, error) {
	names, err := md.List(d.v.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noSysfs()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, blk.Compare)
	list := []registry.MdArray{}
	for _, name := range names {
		if int64(len(list)) == limit {
			break
		}
		row, err := d.array(name, holders)
		if errors.Is(err, md.ErrNotArray) { // stopped since it was listed
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, *row)
	}
	return list, nil
}

// MDDetail answers vol.md_detail.
func (v *Vol) MDDetail(ctx context.Context, p *registry.VolMDDetailParams) (*registry.VolMDDetailResult, error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	name, err := d.arrayName(p.Device)
	if err != nil {
		return nil, err
	}
	row, err := d.array(name, d.arrayHolders)
	if errors.Is(err, md.ErrNotArray) {
		return nil, noArray(p.Device)
	}
	if err != nil {
		return nil, err
	}
	return &registry.VolMDDetailResult{Array: *row}, nil
}

// noArray is the answer about a device that is no array.
func noArray(name string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "array", ID: name},
		Message:      fmt.Sprintf("%s is no MD array", name),
	}
}

// arrayName is the kernel name of the disk that a name stands for. A partition of an array is none, nor
// is a filesystem on several.
func (d *devices) arrayName(name string) (string, error) {
	numbers, err := d.resolveOne(name)
	if err != nil {
		return "", err
	}
	s, err := d.sysfs()
	if err != nil {
		return "", err
	}
	disk, partition, err := s.Owner(numbers[0])
	switch {
	case isGone(err):
		return "", noDevice(name)
	case err != nil:
		return "", err
	case partition != "" || len(numbers) > 1:
		return "", noArray(name)
	}
	return disk, nil
}

// array reads one array: what the kernel tells, then what stands on the members.
func (d *devices) array(name string, holders func() (*holders, error)) (*registry.MdArray, error) {
	a, err := md.Read(d.v.root, name)
	if err != nil {
		return nil, err
	}
	facts := &arrayFacts{Array: a, supers: d.superblocks(a)}
	facts.takeNewest()
	row := facts.row(d.links())
	row.Link = registry.NonZero(d.arrayLink(a))
	row.Managed = d.v.managesArray(row.UUID.Or(""))
	if format, ok := strings.CutPrefix(a.Metadata, "external:"); ok {
		d.fillExternal(row, format)
	}
	h, err := holders()
	if err != nil {
		return nil, err
	}
	return row, d.fillHolders(row, h)
}

// fillExternal is for arrays whose metadata mdmon keeps: md127's is external:imsm, and of those inside it
// external:/md127/0, with a hyphen in place of the slash while mdmon may not touch it.
func (d *devices) fillExternal(row *registry.MdArray, format string) {
	container, _, inside := strings.Cut(strings.TrimLeft(format, "/-"), "/")
	if !inside {
		row.Metadata, row.Level = registry.Some(format), "container"
		return
	}
	row.Container = registry.Some(nodePath(container))
	row.Metadata = registry.Opt[string]{}
	if outer, err := md.Read(d.v.root, container); err == nil {
		row.Metadata = registry.Some(strings.TrimPrefix(outer.Metadata, "external:"))
	}
}

// arrayLink is the link below /dev/md.
func (d *devices) arrayLink(a *md.Array) string {
	links := blk.ReadLinks(d.v.root, "/dev/md")
	list := links[blk.Number{Major: a.Major, Minor: a.Minor}]
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// arrayHolders gathers what holds block devices.
func (d *devices) arrayHolders() (*holders, error) {
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	return d.holders(s)
}

func (d *devices) fillHolders(row *registry.MdArray, h *holders) error {
	k, err := d.opened.Disk(row.Name)
	if isGone(err) {
		return md.ErrNotArray
	}
	if err != nil {
		return err
	}
	row.InUseBy = h.of(k)
	row.InUse = len(row.InUseBy) > 0
	return nil
}

// superblock is what was read of one member.
type superblock struct {
	*ondisk.Signature        // nil where there is none of MD, or it was not read
	err               string // why it was not read
}

// superblocks reads those of all members together, as long as a list waits.
func (d *devices) superblocks(a *md.Array) []superblock {
	list := make([]superblock, len(a.Members))
	if a.Metadata == "none" || strings.HasPrefix(a.Metadata, "external:") {
		return list // there is none that is ours to read
	}
	inOrder(len(list), disksWidth, func(int) (superblock, bool) {
		return superblock{}, false
	}, func(i int) superblock {
		m := &a.Members[i]
		s, err := probe(d, blk.Number{Major: m.Major, Minor: m.Minor}, m.Name, readSuperblock)
		if err != nil {
			return superblock{err: probeError(err)}
		}
		return superblock{Signature: s}
	}, func(i int, s superblock) error {
		list[i] = s
		return nil
	})
	return list
}

// readSuperblock reads what MD has written on a device; nil where that is nothing.
func readSuperblock(dev *blk.Device) (*ondisk.Signature, error) {
	if err := dev.Forget(); err != nil { // MD writes past the cache
		return nil, err
	}
	size, sector, err := dev.Geometry()
	if err != nil {
		return nil, err
	}
	c, err := ondisk.Read(dev, size, sector)
	if err != nil || c.Signature == nil || c.Signature.MD == nil {
		return nil, err
	}
	return c.Signature, nil
}
