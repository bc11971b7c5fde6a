package volops

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/hostinfo"
	"github.com/geomind/my_os_server/pkg/registry"
)

// eligibleLeast is the size of the smallest disk that a template takes.
const eligibleLeast = 10 << 30

// FeasibleTopologies answers vol.feasible_topologies.
func (v *Vol) FeasibleTopologies(ctx context.Context, p *registry.VolFeasibleTopologiesParams) (*registry.VolFeasibleTopologiesResult, error) {
	l, err := v.scanDisks(ctx, "")
	if err != nil {
		return nil, err
	}
	defer l.close()
	named := len(p.Disks) > 0
	if named {
		if err := l.only(p.Disks); err != nil {
			return nil, err
		}
	}
	r := &registry.VolFeasibleTopologiesResult{Eligible: []registry.EligibleDisk{}, Ineligible: []registry.IneligibleDisk{}}
	var eligible []candidate
	err = l.each(ctx, func(c *diskContents) error {
		path := nodePath(c.disk.Name)
		if reason, message := l.ineligible(c, named); reason != "" {
			r.Ineligible = append(r.Ineligible, registry.IneligibleDisk{Path: path, Reason: reason, Message: registry.Some(message)})
			return nil
		}
		one := candidate{path: path, size: c.disk.Size, rotational: c.disk.Queue.Rotational}
		eligible = append(eligible, one)
		r.Eligible = append(r.Eligible, registry.EligibleDisk{
			Path: path, SizeBytes: min(one.size, maxInteger), Rotational: one.rotational.Value, StableIds: orEmpty(l.links[c.disk.Number]),
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Topologies = topologies(eligible, v.lacks())
	return r, nil
}

// only leaves nothing to the scan but the disks that the names stand for.
func (l *diskScan) only(names []string) error {
	l.all = true
	l.names = nil
	for _, name := range names {
		k, err := l.devices.wholeDisk(name)
		if err != nil {
			return err
		}
		if !slices.Contains(l.names, k.Name) {
			l.names = append(l.names, k.Name)
		}
	}
	slices.SortFunc(l.names, blk.Compare)
	return nil
}

// ineligible is why no template may take a disk, in a word and in a sentence; "" where one may.
func (l *diskScan) ineligible(c *diskContents, named bool) (reason, message string) {
	k, path := c.disk, nodePath(c.disk.Name)
	holders := l.holders.of(k)
	switch {
	case k.Kind != "disk" && !named:
		return "kind", fmt.Sprintf("%s is no disk but %s; name it in disks to have it considered", path, k.Kind)
	case k.Removable:
		return "removable", path + " is removable"
	case k.ReadOnly:
		return "read_only", path + " is read-only"
	case k.Size < eligibleLeast:
		return "too_small", fmt.Sprintf("%s has %d bytes, and %d are needed", path, k.Size, int64(eligibleLeast))
	case k.Queue.Zones != nil:
		return "zoned", path + " is zoned (" + k.Queue.Zoned + "), which no template provides for"
	case len(holders) > 0:
		return "in_use", fmt.Sprintf("%s is held by %s %s", path, holders[0].Kind, holders[0].Name.Or(""))
	case c.own == nil:
		return "unread", fmt.Sprintf("%s could not be read: %s", path, c.probeErr)
	case c.own.Table != nil:
		return "not_empty", fmt.Sprintf("%s has a partition table (%s)", path, c.own.Table.Type)
	case c.own.Signature != nil:
		return "not_empty", fmt.Sprintf("%s bears the signature of %s", path, c.own.Signature.Type)
	case len(k.Partitions) > 0:
		return "not_empty", fmt.Sprintf("the kernel has partitions of %s, which its table does not list", path)
	}
	return "", ""
}

// lacks tells what a host lacks for each kind of thing that templates are made of.
type lacks map[string][]registry.TopologyObstacle

// The kinds of things that templates are made of.
const (
	partBtrfs    = "btrfs"
	partArray    = "md"
	partBcachefs = "bcachefs"
)

func (v *Vol) lacks() lacks {
	found := make(lacks)
	for part, tool := range map[string]hostexec.Program{
		partBtrfs: hostexec.MkfsBtrfs, partArray: hostexec.Mdadm, partBcachefs: hostexec.MkfsBcachefs,
	} {
		var missing *hostexec.ToolMissing
		if errors.As(tool.Installed(), &missing) {
			found.add(part, "tool_missing", fmt.Sprintf("%s is not installed (package %s)", missing.Tool, missing.Package))
		}
	}
	for _, fstype := range []string{partBtrfs, partBcachefs} {
		if !hostinfo.HasFilesystem(v.root, fstype) {
			found.add(fstype, "kernel", fmt.Sprintf("the kernel neither knows %s nor has a module for it", fstype))
		}
	}
	if !hostinfo.HasArrayLevel(v.root, "raid1") {
		found.add(partArray, "kernel", "the kernel neither knows MD arrays of level raid1 nor has a module for them")
	}
	return found
}

func (l lacks) add(part, kind, message string) {
	l[part] = append(l[part], registry.TopologyObstacle{Kind: kind, Message: message})
}
