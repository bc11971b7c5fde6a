package volops

import (
	"context"
	"iter"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// usageWidth is how many filesystems a list waits for at a time.
const usageWidth = 16

// ListMounts answers vol.list_mounts. The kernel's list is read whole before the first row leaves, so
// that a change under way can be met by reading again, and so that a mount is known to be hidden by one
// that comes later. It has 100,000 lines at most (fs.mount-max).
func (v *Vol) ListMounts(ctx context.Context, p *registry.VolListMountsParams, rows *registry.Stream[registry.Mount]) (*registry.VolListMountsEnd, error) {
	table, err := v.freshTable()
	if err != nil {
		return nil, err
	}
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	l := v.mountList(table, allowed)
	defer l.devices.close()
	chosen, err := l.choose(p)
	if err != nil {
		return nil, err
	}
	if p.Usage.Or(true) {
		err = l.withUsage(ctx, chosen, func(int) error { return rows.Send(&l.row) })
	} else {
		err = l.send(ctx, chosen, rows)
	}
	if err != nil || !table.Changed {
		return nil, err
	}
	return &registry.VolListMountsEnd{Consistent: registry.Some(false)}, nil
}

// mountList is what the rows of one list share.
type mountList struct {
	v       *Vol
	table   *mount.Table
	hidden  []bool
	unique  map[mount.Key]uint64
	ways    *ways
	devices *devices
	allowed allowance      // for what may hang
	row     registry.Mount // used again for each
}

func (v *Vol) mountList(table *mount.Table, allowed allowance) *mountList {
	l := &mountList{v: v, table: table, hidden: table.Hidden(), ways: newWays(table), devices: v.devices(allowed), allowed: allowed}
	if v.root == "" {
		l.unique, _ = mount.UniqueIDs() // none before Linux 6.8
	}
	return l
}

// mountOnly is mountList for the row of one mount, whose unique id may be known.
func (v *Vol) mountOnly(ctx context.Context, table *mount.Table, allowed allowance, m *mount.Mount, unique uint64) *mountList {
	l := &mountList{v: v, table: table, hidden: table.Hidden(), devices: v.devices(allowed), allowed: allowed}
	switch {
	case unique != 0:
		l.unique = map[mount.Key]uint64{{ID: m.ID, Parent: m.Parent}: unique}
	case v.root == "":
		id, err := hang.Do(ctx, v.calls, number(m), func() (uint64, error) { return mount.UniqueID(m.Target) })
		if err == nil {
			l.unique = map[mount.Key]uint64{{ID: m.ID, Parent: m.Parent}: id}
		}
	}
	return l
}

// choose lists the mounts that the params let through, by their place in the table.
func (l *mountList) choose(p *registry.VolListMountsParams) ([]int, error) {
	target, byTarget := p.Target.Get()
	fstype, byType := p.Fstype.Get()
	source, bySource := p.Source.Get()
	ofDevice := func(*mount.Mount) bool { return false }
	if bySource {
		var err error
		if ofDevice, err = l.devices.mountedFrom(source); err != nil {
			return nil, err
		}
	}
	target = filepath.Clean(target)
	limit := p.Limit.Or(maxInteger)
	var chosen []int
	for i := range l.table.Mounts {
		m := &l.table.Mounts[i]
		switch {
		case byTarget && m.Target != target,
			byType && m.FSType != fstype,
			bySource && m.Source != source && !ofDevice(m):
			continue
		}
		if int64(len(chosen)) == limit {
			break
		}
		chosen = append(chosen, i)
	}
	return chosen, nil
}

func (l *mountList) send(ctx context.Context, chosen []int, rows *registry.Stream[registry.Mount]) error {
	for _, i := range chosen {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.fill(i)
		if err := rows.Send(&l.row); err != nil {
			return err
		}
	}
	return nil
}

// asked is what came of asking a filesystem for its space.
type asked struct {
	usage *registry.VolUsage
	err   string // why there is none
}

// withUsage makes the rows of the chosen mounts, with their space, and hands over each as l.row.
func (l *mountList) withUsage(ctx context.Context, chosen []int, take func(i int) error) error {
	return inOrder(len(chosen), usageWidth, func(k int) (asked, bool) {
		return l.askNow(chosen[k])
	}, func(k int) asked {
		return l.askMount(chosen[k])
	}, func(k int, a asked) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.fill(chosen[k])
		l.row.Usage = a.usage
		l.row.UsageError = registry.NonZero(a.err)
		return take(chosen[k])
	})
}

// askNow asks where that takes no waiting: nothing that can hang is asked, nor crossed on the way, and
// so there is no need of a call of its own, which costs ten times the question.
func (l *mountList) askNow(i int) (asked, bool) {
	m := &l.table.Mounts[i]
	switch {
	case l.hidden[i]:
		return asked{err: "hidden"}, true
	case l.v.calls.Stuck(number(m)) > 0: // each list would add another call
		return asked{err: "timeout"}, true
	case !l.ways.quick(m):
		return asked{}, false
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.Target, &st); err != nil {
		return asked{err: omission(err)}, true
	}
	return asked{usage: usage(&st)}, true
}

// askMount asks one filesystem, and waits as long as a list may.
func (l *mountList) askMount(i int) asked {
	m := &l.table.Mounts[i]
	ctx, cancel := l.allowed.next()
	defer cancel()
	s, err := hang.Do(ctx, l.v.calls, number(m), func() (space, error) { return ask(m.Target, false) })
	switch {
	case err != nil:
		return asked{err: omission(err)}
	case s.mount != 0 && s.mount != m.ID && l.v.root == "": // mounted over since the list was read
		return asked{err: "hidden"}
	}
	return asked{usage: usage(&s.Statfs_t)}
}

// fill makes the row of one mount.
func (l *mountList) fill(i int) {
	m := &l.table.Mounts[i]
	l.row = registry.Mount{
		MountID:      int64(m.ID),
		ParentID:     int64(m.Parent),
		Major:        int64(m.Major),
		Minor:        int64(m.Minor),
		Root:         m.Root,
		Target:       m.Target,
		Source:       registry.NonZero(m.Source),
		Fstype:       m.FSType,
		Options:      collect(l.row.Options, m.Options()),
		SuperOptions: collect(l.row.SuperOptions, m.SuperOptions()),
		ReadOnly:     m.ReadOnly(),
		Propagation:  propagation(m),
		Hidden:       registry.NonZero(l.hidden[i]),
	}
	if id, ok := l.unique[mount.Key{ID: m.ID, Parent: m.Parent}]; ok {
		l.row.UniqueID = registry.Some(hexNumber(id))
	}
	if d := l.devices.under(m); d != nil {
		l.row.Device = registry.NonZero(d.path)
		l.row.Devices = d.members
		l.row.StableIds = d.links
		l.row.UUID = registry.NonZero(d.tags.uuid)
		l.row.Label = registry.NonZero(d.tags.label)
		l.row.Partuuid = registry.NonZero(d.partUUID)
		l.row.Partlabel = registry.NonZero(d.partLabel)
		if spec, ok := l.v.registeredMount(m, d); ok {
			l.row.Managed, l.row.Persistent = true, registry.Some(spec.Persistent)
		}
	}
}

// collect puts the options into the memory that list had for another row.
func collect(list []string, options iter.Seq[string]) []string {
	return slices.AppendSeq(orEmpty(list)[:0], options)
}

func propagation(m *mount.Mount) registry.MountPropagation {
	return registry.MountPropagation{
		Type:          m.Propagation(),
		Shared:        registry.NonZero(int64(m.Shared)),
		Master:        registry.NonZero(int64(m.Master)),
		PropagateFrom: registry.NonZero(int64(m.PropagateFrom)),
		Unbindable:    registry.NonZero(m.Unbindable),
	}
}
