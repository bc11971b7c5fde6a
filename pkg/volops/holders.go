package volops

import (
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// holders knows what holds each block device, as the kernel tells it without a look at any process:
// mounts, swaps, loops, filesystems mounted in any namespace.
type holders struct {
	byNumber map[blk.Number][]registry.Holder
	points   map[blk.Number][]string // mount points
	attached map[string]bool         // loops that stand on something
}

// holders gathers them for one call.
func (d *devices) holders(s *blk.Sysfs) (*holders, error) {
	h := &holders{
		byNumber: make(map[blk.Number][]registry.Holder),
		points:   make(map[blk.Number][]string),
		attached: make(map[string]bool),
	}
	if err := h.addMounts(d); err != nil {
		return nil, err
	}
	if err := h.addSwaps(d); err != nil {
		return nil, err
	}
	if err := h.addLoops(d, s); err != nil {
		return nil, err
	}
	h.addFilesystems(d, s)
	return h, nil
}

func (h *holders) hold(n blk.Number, kind registry.HolderKind, name string) {
	h.byNumber[n] = append(h.byNumber[n], registry.Holder{Kind: kind, Name: registry.Some(name)})
}

// addMounts takes the mounts of our own namespace. A btrfs is held on all its devices.
func (h *holders) addMounts(d *devices) error {
	table, err := d.mounts()
	if err != nil {
		return err
	}
	for i := range table.Mounts {
		m := &table.Mounts[i]
		for _, n := range d.standsOn(m) {
			h.hold(n, registry.HolderKindMount, m.Target)
			h.points[n] = append(h.points[n], m.Target)
		}
	}
	return nil
}

func (h *holders) addSwaps(d *devices) error {
	swaps, err := d.swaps()
	if err != nil {
		return err
	}
	for _, swap := range swaps {
		if n, ok := d.byNode(swap.Path); ok && !swap.File {
			h.hold(n, registry.HolderKindSwap, swap.Path)
			h.points[n] = append(h.points[n], "[SWAP]")
		}
	}
	return nil
}

// addLoops takes the loops that stand on a device itself; those on a file hold what the file lies on
// by its mount.
func (h *holders) addLoops(d *devices, s *blk.Sysfs) error {
	names, err := s.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "loop") {
			continue
		}
		backing := s.LoopBacking(name)
		h.attached[name] = backing != ""
		if n, ok := d.byNode(backing); ok {
			h.hold(n, registry.HolderKindLoop, name)
		}
	}
	return nil
}

// addFilesystems takes those whose mounts are in another namespace than ours, or in none: the kernel
// shows them in /sys/fs all the same.
func (h *holders) addFilesystems(d *devices, s *blk.Sysfs) {
	for _, f := range d.filesystems() {
		name := f.UUID
		if name == "" {
			name = f.Type
		}
		for _, member := range f.Members {
			n, err := s.Number(member)
			if err == nil && len(h.points[n]) == 0 {
				h.hold(n, registry.HolderKindFilesystem, name)
			}
		}
	}
}

// of lists who holds a disk, whole or one of its partitions, each once.
func (h *holders) of(k *blk.Disk) []registry.Holder {
	list := slices.Clone(h.byNumber[k.Number])
	list = append(list, above(k.Holders)...)
	for _, p := range k.Partitions {
		list = append(list, h.byNumber[p.Number]...)
		list = append(list, above(p.Holders)...)
	}
	var unique []registry.Holder
	for _, one := range list {
		if !slices.Contains(unique, one) {
			unique = append(unique, one)
		}
	}
	return unique
}

// above turns the devices that stand on another into its holders.
func above(names []string) []registry.Holder {
	var list []registry.Holder
	for _, name := range names {
		kind := registry.HolderKindKernel
		switch {
		case strings.HasPrefix(name, "dm-"):
			kind = registry.HolderKindDeviceMapper
		case strings.HasPrefix(name, "md"):
			kind = registry.HolderKindArray
		}
		list = append(list, registry.Holder{Kind: kind, Name: registry.Some(name)})
	}
	return list
}
