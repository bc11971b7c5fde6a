package volops

import (
	"context"
	"errors"
	"fmt"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// dataLabel is the label of the filesystem that holds a node's data.
const dataLabel = "MOSDATA"

// dataFilesystem opens the btrfs that is labelled MOSDATA and mounted where it can be reached. Which filesystems bear the
// label, and on which devices they are, sysfs tells without a look at any disk; those of all mount namespaces.
func (v *Vol) dataFilesystem(ctx context.Context) (*openBtrfs, error) {
	sysfs := v.btrfsSysfs()
	all, err := sysfs.Filesystems()
	if err != nil {
		return nil, err
	}
	var found []*openBtrfs
	for _, u := range all {
		if label, _ := sysfs.Text(u, "label"); label != dataLabel {
			continue
		}
		f, err := v.openByUUID(ctx, u)
		var none *registry.NotFoundError
		switch {
		case errors.As(err, &none): // mounted in other mount namespaces only
		case err != nil:
			letGo(found)
			return nil, err
		default:
			found = append(found, f)
		}
	}
	switch len(found) {
	case 0:
		return nil, noData()
	case 1:
		return found[0], nil
	}
	defer letGo(found)
	return nil, manyData(found)
}

func letGo(list []*openBtrfs) {
	for _, f := range list {
		f.Close()
	}
}

// openByUUID opens a filesystem through whichever of its mounts can be reached.
func (v *Vol) openByUUID(ctx context.Context, u btrfs.UUID) (*openBtrfs, error) {
	table, err := v.mounts.Table()
	if err != nil {
		return nil, noProc()
	}
	members := v.memberNumbers(u)
	hidden := table.Hidden()
	for i := range table.Mounts {
		m := &table.Mounts[i]
		if m.FSType != "btrfs" || hidden[i] || !mountedFromOne(m, members) {
			continue
		}
		f, err := v.openBtrfs(ctx, m.Target, m)
		if err != nil {
			return nil, err
		}
		if f.info.UUID == u {
			return f, nil
		}
		f.Close()
	}
	return nil, noData()
}

// memberNumbers are the device numbers of a filesystem's devices.
func (v *Vol) memberNumbers(u btrfs.UUID) map[blk.Number]bool {
	sysfs := v.btrfsSysfs()
	members := make(map[blk.Number]bool)
	for _, name := range sysfs.Devices(u) {
		text, _ := sysfs.Text(u, "devices/"+name+"/dev")
		var n blk.Number
		if _, err := fmt.Sscanf(text, "%d:%d", &n.Major, &n.Minor); err == nil {
			members[n] = true
		}
	}
	return members
}

// mountedFromOne tells whether the source of a mount is one of the devices. A source without a node,
// as in a container, may be any.
func mountedFromOne(m *mount.Mount, members map[blk.Number]bool) bool {
	node, err := blk.StatNode(m.Source)
	return err != nil || members[node.Number]
}

func noData() error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "btrfs", ID: "LABEL=" + dataLabel},
		Message:      "no btrfs labelled " + dataLabel + " is mounted: mount it, or name a path",
	}
}

func manyData(list []*openBtrfs) error {
	text := ""
	for _, f := range list {
		text += " " + f.uuid()
	}
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "btrfs", ID: "LABEL=" + dataLabel},
		Message:      fmt.Sprintf("%d mounted btrfs are labelled %s:%s; name a path", len(list), dataLabel, text),
	}
}
