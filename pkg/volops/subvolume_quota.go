package volops

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// SetQuota answers vol.set_quota.
func (v *Vol) SetQuota(ctx context.Context, p *registry.VolSetQuotaParams) (*registry.VolSetQuotaResult, error) {
	if !p.MaxReferencedBytes.IsSet() && !p.MaxExclusiveBytes.IsSet() {
		return nil, invalid("", "must have max_referenced_bytes, max_exclusive_bytes or both")
	}
	f, s, err := v.subvolumeAt(ctx, p.Path, "path")
	if err != nil {
		return nil, notApplied(err)
	}
	defer f.Close()
	defer s.root.Close()
	release, err := v.state.Lock(ctx, state.Exclusive("quota/"+f.uuid()))
	if err != nil {
		return nil, err
	}
	defer release()
	before, _, err := f.qgroupIfOn(ctx, s.ID)
	if err != nil {
		return nil, notApplied(err)
	}
	referenced, changesReferenced := wantLimit(p.MaxReferencedBytes, before.MaxReferenced)
	exclusive, changesExclusive := wantLimit(p.MaxExclusiveBytes, before.MaxExclusive)
	r := &registry.VolSetQuotaResult{Changed: changesReferenced || changesExclusive}
	enabled, err := f.enableQuotas(ctx)
	if err != nil {
		return nil, appliedAs(err, reached(err))
	}
	if enabled {
		r.Changed, r.QuotasEnabled = true, registry.Some(true)
	}
	if changesReferenced || changesExclusive {
		if err := v.setLimits(ctx, f, s.ID, referenced, exclusive); err != nil {
			return nil, appliedAs(err, registry.AppliedUnknown)
		}
	}
	if r.Changed {
		if err := f.Commit(ctx); err != nil {
			return nil, appliedAs(err, registry.AppliedUnknown)
		}
	}
	return r, f.fillQuota(ctx, s.ID, r)
}

// setLimits sets limits. The kernel charges the change of a limit to the subvolume by which it is asked for;
// one that is over its own limit cannot lift it. Then it is asked by the top level, which a mount of its own
// shows that stands nowhere.
func (v *Vol) setLimits(ctx context.Context, f *openBtrfs, id uint64, referenced, exclusive *uint64) error {
	err := f.SetLimits(ctx, id, referenced, exclusive)
	if !errors.Is(err, unix.EDQUOT) {
		return err
	}
	devices := f.sysfs.Devices(f.info.UUID)
	if len(devices) == 0 {
		return err
	}
	top, err := hang.Do(ctx, v.calls, f.number, func() (*os.File, error) {
		return mount.New("btrfs", v.root+nodePath(devices[0]), []mount.Option{{Key: "subvolid", Value: "5", HasValue: true}}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	})
	if err != nil {
		return waiting(err, "the filesystem "+f.uuid())
	}
	defer top.Close()
	above, err := btrfs.Open(ctx, fmt.Sprintf("/proc/self/fd/%d", top.Fd()), v.waiter(f.number, "the filesystem "+f.uuid()))
	if err != nil {
		return err
	}
	defer above.Close()
	return above.SetLimits(ctx, id, referenced, exclusive)
}

// qgroupIfOn is the quota group of a subvolume, without limits where quotas are off.
func (f *openBtrfs) qgroupIfOn(ctx context.Context, id uint64) (btrfs.Qgroup, bool, error) {
	q, err := f.quotas(ctx)
	if err != nil || !q.On {
		return btrfs.Qgroup{}, false, err
	}
	return f.Qgroup(ctx, id)
}

// wantLimit is a limit for the kernel, nil where it stays as it is, and whether it changes anything.
func wantLimit(asked registry.Opt[int64], has btrfs.Limit) (*uint64, bool) {
	bytes, given := asked.Get()
	if !given {
		return nil, false
	}
	want := uint64(bytes)
	if bytes == 0 {
		want = btrfs.NoLimit
		return &want, has.Set
	}
	return &want, !has.Set || has.Bytes != want
}

// fillQuota reads back how quotas stand.
func (f *openBtrfs) fillQuota(ctx context.Context, id uint64, r *registry.VolSetQuotaResult) error {
	q, err := f.quotas(ctx)
	if err != nil {
		return appliedAs(err, registry.AppliedYes)
	}
	r.State = quotaState(q)
	row, err := f.quotaOf(ctx, id)
	if err == nil && row == nil {
		err = errors.Join(errNoQgroup, unix.ENOENT)
	}
	if err != nil {
		return appliedAs(err, registry.AppliedYes)
	}
	r.Quota = *row
	return nil
}

var errNoQgroup = errors.New("read back the quota: the subvolume has no quota group")
