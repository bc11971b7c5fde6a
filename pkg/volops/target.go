package volops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// target is a device that a call is to write to. The name that the call has for it is resolved once; from
// then on a plain descriptor pins the device: whatever becomes of names and nodes, its number belongs to
// no other as long as the target is open.
type target struct {
	v      *Vol
	asked  string // as the call names it
	number blk.Number
	name   string // kernel name
	whole  string // kernel name of the disk that it is or lies on
	pin    *os.File

	steps   sync.WaitGroup // see do
	running atomic.Int32   // how many of them there are

	// Of the pinned device, once it is this call's turn.
	disk      *blk.Disk
	partition *blk.Partition // nil for a whole disk
	size      int64
	sector    int64
	contents  *ondisk.Contents
	around    *ondisk.Contents  // of the whole disk, for a partition
	entry     *ondisk.Partition // of a partition, in its disk's table; nil where that has none
}

// path is the node that bears the kernel's name.
func (t *target) path() string { return nodePath(t.name) }

// object is what writes on the target take turns on: the whole disk.
func (t *target) object() string { return "disk/" + t.whole }

// close lets go of the device.
func (t *target) close() { t.pin.Close() }

// pin resolves a name for a device write and holds the device.
func (v *Vol) pin(ctx context.Context, d *devices, name string) (*target, error) {
	if err := v.checkName(ctx, name); err != nil {
		return nil, err
	}
	list, err := d.resolveOne(name)
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		return nil, fmt.Errorf("resolve %s: %d devices", name, len(list))
	}
	return v.pinNumber(ctx, d, name, list[0])
}

// pinNumber holds the device with a number, for which a call has a name.
func (v *Vol) pinNumber(ctx context.Context, d *devices, name string, n blk.Number) (*target, error) {
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	disk, partition, err := s.Owner(n)
	if isGone(err) {
		return nil, noDevice(name)
	}
	if err != nil {
		return nil, err
	}
	t := &target{v: v, asked: name, number: n, name: cmp.Or(partition, disk), whole: disk}
	t.pin, err = hang.Do(ctx, v.calls, t.number, func() (*os.File, error) {
		return blk.OpenNode(v.root+t.path(), t.number, unix.O_RDONLY)
	})
	switch {
	case errors.Is(err, unix.ENXIO), isGone(err):
		return nil, noDevice(name)
	case err != nil:
		return nil, unreadable(waiting(err, t.path()))
	}
	return t, nil
}

// forgeable are the folders of links whose names stand on the device itself, where whoever may write to it,
// a guest for one, can have put them.
var forgeable = []string{"/dev/disk/by-uuid/", "/dev/disk/by-label/"}

// checkName refuses names that anybody can forge: UUID= and LABEL=, and links by them, also where they are on
// the way.
func (v *Vol) checkName(ctx context.Context, name string) error {
	if strings.HasPrefix(name, "UUID=") || strings.HasPrefix(name, "LABEL=") {
		return forgeableName(name)
	}
	path := name
	for range maxLinks {
		if !strings.HasPrefix(path, "/") {
			return nil
		}
		path = filepath.Clean(path)
		for _, folder := range forgeable {
			if strings.HasPrefix(path, folder) {
				return forgeableName(name)
			}
		}
		m, err := v.containing(path)
		if err != nil {
			return err
		}
		next, err := hang.Do(ctx, v.calls, number(m), func() (string, error) { return firstLink(v.root + path) })
		if err != nil {
			if isGone(err) || errors.Is(err, unix.ENOTDIR) {
				return noDevice(name)
			}
			return waiting(err, "the filesystem at "+m.Target)
		}
		if next == "" {
			return nil
		}
		path = strings.TrimPrefix(next, v.root)
	}
	return noDevice(name)
}

func forgeableName(name string) error {
	return refused("forgeable_name", "", fmt.Sprintf("%s is a name that stands on the device itself and can be forged; name it by /dev/…, /dev/disk/by-id/… or PARTUUID=", name))
}

// look reads the facts of the pinned device.
func (t *target) look(ctx context.Context) error {
	s, err := blk.Open(t.v.root)
	if err != nil {
		return err
	}
	defer s.Close()
	return t.lookBy(ctx, s.Disk)
}

// lookBy is look, with what is to be known of the disk.
func (t *target) lookBy(ctx context.Context, read func(name string) (*blk.Disk, error)) (err error) {
	if t.disk, err = read(t.whole); err != nil {
		return t.gone(err)
	}
	t.partition = nil
	for i := range t.disk.Partitions {
		if p := &t.disk.Partitions[i]; p.Number == t.number {
			t.partition = p
		}
	}
	if t.partition == nil && (t.disk.Number != t.number || t.name != t.whole) {
		return noDevice(t.asked)
	}
	_, err = hang.Do(ctx, t.v.calls, t.number, func() (struct{}, error) { return struct{}{}, t.read() })
	return unreadable(waiting(err, t.path()))
}

func (t *target) gone(err error) error {
	if isGone(err) {
		return noDevice(t.asked)
	}
	return err
}

// read reads size and contents by the pin, and what the disk's table has of a partition.
func (t *target) read() error {
	var err error
	if t.size, t.sector, err = blk.Geometry(t.pin); err != nil {
		return fmt.Errorf("read geometry of %s: %w", t.path(), err)
	}
	for _, p := range ondisk.Places(t.size, t.sector) {
		blk.Fetch(t.pin, p.Offset, p.Length)
	}
	if t.contents, err = ondisk.Read(t.pin, t.size, t.sector); err != nil || t.partition == nil {
		return err
	}
	dev, err := blk.OpenNode(t.v.root+nodePath(t.whole), t.disk.Number, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer dev.Close()
	if t.around, err = ondisk.Read(dev, t.disk.Size, t.sector); err == nil {
		t.entry = t.around.Table.Entry(t.partition.Index)
	}
	return err
}

// expected refuses a device that is another than the caller takes it to be.
func (t *target) expected(e *registry.DeviceExpectation) error {
	if e == nil {
		return nil
	}
	for _, c := range []struct {
		member string
		want   registry.Opt[string]
		have   string
	}{{"serial", e.Serial, t.disk.Serial}, {"wwn", e.Wwn, t.disk.WWN}} {
		if want, given := c.want.Get(); given && want != c.have {
			return t.unexpected(c.member, want, c.have)
		}
	}
	if want, given := e.SizeBytes.Get(); given && want != t.size {
		return t.unexpected("size_bytes", fmt.Sprint(want), fmt.Sprint(t.size))
	}
	if want, given := e.UUID.Get(); given {
		bears := t.uuids()
		for _, have := range bears {
			if strings.EqualFold(have, want) {
				return nil
			}
		}
		return t.unexpected("uuid", want, strings.Join(bears, ", "))
	}
	return nil
}

// uuids are those that the device bears.
func (t *target) uuids() []string {
	var list []string
	if s := t.contents.Signature; s != nil {
		list = append(list, s.UUID, s.UUIDSub)
	}
	if t.contents.Table != nil {
		list = append(list, t.contents.Table.UUID)
	}
	if t.entry != nil {
		list = append(list, t.entry.UUID)
	}
	return dropEmpty(list)
}

func dropEmpty(list []string) []string {
	kept := list[:0]
	for _, s := range list {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func (t *target) unexpected(member, want, have string) error {
	return refused("expectation", "", fmt.Sprintf("%s is another device than expected: its %s is %q, not %q", t.path(), member, have, want))
}
