package volops

import (
	"context"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ListSubvolumes answers vol.list_subvolumes: the trees are walked side by side, and each subvolume
// leaves as it is met.
func (v *Vol) ListSubvolumes(ctx context.Context, p *registry.VolListSubvolumesParams, rows *registry.Stream[registry.Subvolume]) (*registry.VolListSubvolumesEnd, error) {
	f, err := v.subvolumesOf(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := v.subvolumeList(ctx, f)
	if err != nil {
		return nil, err
	}
	defer l.qgroups.Close()
	walk := f.Subvolumes()
	limit := p.Limit.Or(maxInteger)
	for s, err := range walk.All(ctx) {
		if err != nil {
			return nil, err
		}
		if int64(rows.Rows()) == limit {
			break
		}
		if err := l.fill(s); err != nil {
			return nil, err
		}
		if err := rows.Send(&l.row); err != nil {
			return nil, err
		}
	}
	end := &registry.VolListSubvolumesEnd{FilesystemUUID: registry.Some(f.uuid()), QuotaState: registry.Some(quotaState(l.quotas))}
	if walk.Changed {
		end.Consistent = registry.Some(false)
	}
	return end, nil
}

// subvolumesOf opens the filesystem that a call names, or the one for data.
func (v *Vol) subvolumesOf(ctx context.Context, path registry.Opt[string]) (*openBtrfs, error) {
	if path, named := path.Get(); named {
		return v.btrfsAt(ctx, path)
	}
	return v.dataFilesystem(ctx)
}

// subvolumeList is what the rows of one list share.
type subvolumeList struct {
	def     uint64 // the default subvolume
	quotas  btrfs.QuotaStatus
	qgroups *btrfs.QgroupWalk
	reach   reach

	row    registry.Subvolume // used again for each, as are
	quota  registry.SubvolumeQuota
	qgroup btrfs.Qgroup
}

func (v *Vol) subvolumeList(ctx context.Context, f *openBtrfs) (*subvolumeList, error) {
	def, err := f.DefaultSubvolume(ctx)
	if err != nil {
		return nil, err
	}
	quotas, err := f.quotas(ctx)
	if err != nil {
		return nil, err
	}
	table, err := v.mounts.Table()
	if err != nil {
		table = &mount.Table{} // paths cannot be told then
	}
	return &subvolumeList{def: def, quotas: quotas, qgroups: f.SubvolumeQgroups(ctx), reach: newReach(table, f.number, f.Path())}, nil
}

// quotas asks the tree, and sysfs for what the tree learns only with the next commit.
func (f *openBtrfs) quotas(ctx context.Context) (btrfs.QuotaStatus, error) {
	now, told := f.sysfs.Quotas(f.info.UUID)
	if told && !now.On { // there is no tree to be looked into
		return now, nil
	}
	q, err := f.QuotaStatus(ctx)
	if told && err == nil {
		now.Rescanning = q.Rescanning
		q = now
	}
	return q, err
}

// fill makes the row of one subvolume.
func (l *subvolumeList) fill(s *btrfs.Subvolume) error {
	l.row = subvolumeRow(s)
	l.row.Path = registry.NonZero(l.reach.path(s.Path))
	l.row.Default = registry.NonZero(s.ID == l.def)
	return l.fillQuota(s.ID)
}

func (l *subvolumeList) fillQuota(id uint64) error {
	if !l.quotas.On {
		return nil
	}
	found, err := l.qgroups.Find(id, &l.qgroup)
	if err != nil || !found {
		return err
	}
	l.quota = quotaRow(&l.qgroup)
	l.row.Quota = &l.quota
	return nil
}

func optUUID(u btrfs.UUID) registry.Opt[string] {
	if u.IsZero() {
		return registry.Opt[string]{}
	}
	return registry.Some(u.String())
}

func optLimit(l btrfs.Limit) registry.Opt[int64] {
	if !l.Set {
		return registry.Opt[int64]{}
	}
	return registry.Some(clip(l.Bytes))
}

// reach finds by which absolute path a path of one filesystem can be reached: through any of its
// mounts that shows it and over which nothing else is mounted there.
type reach struct{ mounts []reachMount }

type reachMount struct {
	root    string // what it shows, with a slash at both ends
	target  string // without a slash at the end
	covered map[string]bool
}

// newReach looks at the mounts of the filesystem with the number n; that on which the path preferred
// lies comes first.
func newReach(table *mount.Table, n blk.Number, preferred string) reach {
	var r reach
	hidden := table.Hidden()
	above := table.Containing(preferred)
	for i := range table.Mounts {
		m := &table.Mounts[i]
		if number(m) != n || m.FSType != "btrfs" || hidden[i] {
			continue
		}
		one := reachMount{root: slashed(m.Root), target: strings.TrimSuffix(m.Target, "/"), covered: pointsOn(table, m)}
		if above != nil && m.ID == above.ID {
			r.mounts = append([]reachMount{one}, r.mounts...)
		} else {
			r.mounts = append(r.mounts, one)
		}
	}
	return r
}

func slashed(path string) string { return strings.TrimSuffix(path, "/") + "/" }

// pointsOn are the mount points on a mount.
func pointsOn(table *mount.Table, m *mount.Mount) map[string]bool {
	points := make(map[string]bool)
	for i := range table.Mounts {
		if c := &table.Mounts[i]; c.Parent == m.ID && c.ID != m.ID {
			points[c.Target] = true
		}
	}
	return points
}

// path is the absolute path of a path from the top level; "" where none leads to it.
func (r reach) path(fsPath string) string {
	full := "/" + fsPath + "/"
	for i := range r.mounts {
		m := &r.mounts[i]
		if !strings.HasPrefix(full, m.root) {
			continue
		}
		path := strings.TrimSuffix(m.target+"/"+full[len(m.root):], "/")
		if path == "" {
			path = "/"
		}
		if !m.covers(path) {
			return path
		}
	}
	return ""
}

// covers tells whether another mount stands at a path or at a folder on the way to it from the
// mount's own target.
func (m *reachMount) covers(path string) bool {
	if len(m.covered) == 0 {
		return false
	}
	for len(path) > len(m.target) {
		if m.covered[path] {
			return true
		}
		path = path[:strings.LastIndexByte(path, '/')]
	}
	return false
}
