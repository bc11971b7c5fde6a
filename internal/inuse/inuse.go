// Package inuse finds out who holds a block device: mounts of any mount namespace, filesystems that are
// mounted where no path leads, swaps, loops, arrays and mappings that stand on it, and processes that merely
// have its node open, as a virtual machine has that runs from it.
//
// No single place in the kernel tells all of this. A btrfs shows one of its devices in mountinfo and an
// anonymous number; a lazily unmounted filesystem is in no mountinfo; a loop and a raw opener are in no
// holders folder and let an exclusive open through; a driver that exports a device has it open as nobody. So all of
// them are asked.
//
// The package reads /proc and /sys and opens devices without reading from them or writing to them. It
// decides nothing: what is to be done about a holder is the caller's to say.
package inuse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
)

// Kind is what kind of thing holds a device.
type Kind string

// The kinds.
const (
	Mount        Kind = "mount"         // named by its mount point, as its own namespace sees it
	Swap         Kind = "swap"          // by the device
	Array        Kind = "array"         // MD, by its kernel name
	DeviceMapper Kind = "device_mapper" // by its kernel name
	Filesystem   Kind = "filesystem"    // mounted where no mount of it is found, by its UUID or its type
	Process      Kind = "process"       // by the process' name
	Loop         Kind = "loop"          // by its kernel name
	Kernel       Kind = "kernel"        // another driver, by the name of the device that it made of this one, or of what it exports it as
)

// Holder is one of those who hold a device.
type Holder struct {
	Kind Kind
	Name string
	PID  int // of a process, and of one in whose mount namespace a mount is that is not our own

	ReadsOnly bool // of a process: it has the device open for reading only
}

// Device is a device to ask for.
type Device struct {
	Name   string // kernel name
	Number blk.Number
	// WritersOnly leaves out processes that have it open for reading only: a disk whose partition is asked
	// for is read by many.
	WritersOnly bool
}

// Find lists who holds any of the devices, each holder once. root stands before /proc, /sys and /dev; self
// is the process whose own descriptors do not count, 0 for none. Errors: those of reading /proc and /sys, and
// the context's. It may wait where a process has a file of a hung server open: the caller bounds that.
func Find(ctx context.Context, root string, self int, devices ...Device) ([]Holder, error) {
	s, err := blk.Open(root)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	f := &finder{root: root, self: self, sysfs: s, devices: devices, asked: make(map[blk.Number]bool), mounted: make(map[string]bool)}
	for _, d := range devices {
		f.asked[d.Number] = true
	}
	for _, step := range []func(context.Context) error{f.findSwaps, f.findAbove, f.findLoops, f.findExports, f.findMounts, f.findFilesystems, f.findProcesses} {
		if err := errors.Join(ctx.Err(), step(ctx)); err != nil {
			return nil, fmt.Errorf("find who holds %s: %w", devices[0].Name, err)
		}
	}
	slices.SortStableFunc(f.found, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), blk.Compare(a.Name, b.Name), cmp.Compare(a.PID, b.PID))
	})
	return slices.Compact(f.found), nil
}

// finder gathers the holders of one question.
type finder struct {
	root    string
	self    int
	sysfs   *blk.Sysfs
	devices []Device
	asked   map[blk.Number]bool
	mounted map[string]bool // devices of which a mount was found
	found   []Holder
}

func (f *finder) add(kind Kind, name string, pid int) {
	f.found = append(f.found, Holder{Kind: kind, Name: name, PID: pid})
}

func (f *finder) findSwaps(context.Context) error {
	swaps, err := blk.ReadSwaps(f.root)
	if err != nil {
		return err
	}
	for _, swap := range swaps {
		path := strings.TrimSuffix(swap.Path, " (deleted)")
		if n, ok := f.byNode(path); ok && !swap.File && f.asked[n] {
			f.add(Swap, path, 0)
		}
	}
	return nil
}

// findAbove takes the devices that stand on those that are asked for: the kernel links them in holders/.
func (f *finder) findAbove(context.Context) error {
	for _, d := range f.devices {
		above, err := f.sysfs.Holders(d.Name)
		if err != nil {
			return err
		}
		for _, name := range above {
			f.add(kindOf(name), name, 0)
		}
	}
	return nil
}

func kindOf(name string) Kind {
	switch {
	case strings.HasPrefix(name, "dm-"):
		return DeviceMapper
	case strings.HasPrefix(name, "md"):
		return Array
	}
	return Kernel
}

// findLoops takes loops that stand on a device itself.
func (f *finder) findLoops(context.Context) error {
	names, err := f.sysfs.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "loop") {
			continue
		}
		if n, ok := f.backing(f.sysfs.LoopBacking(name)); ok && f.asked[n] {
			f.add(Loop, name, 0)
		}
	}
	return nil
}

// byNode is the number of a device by the path of its node below /dev, where nothing hangs.
func (f *finder) byNode(path string) (blk.Number, bool) {
	name, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return blk.Number{}, false
	}
	if n, err := f.sysfs.Number(name); err == nil {
		return n, true
	}
	node, err := blk.StatNode(f.root + path)
	return node.Number, err == nil
}

// findFilesystems takes those that are mounted and of which no mount was found: in a mount namespace that
// no process is in, or taken out of the tree and still in use.
func (f *finder) findFilesystems(context.Context) error {
	for _, fs := range blk.Filesystems(f.root) {
		for _, d := range f.devices {
			if slices.Contains(fs.Members, d.Name) && !f.mounted[d.Name] {
				f.add(Filesystem, cmp.Or(fs.UUID, fs.Type), 0)
			}
		}
	}
	return nil
}

// isGone tells that what was listed a moment ago has gone.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
