package volops

import (
	"cmp"
	"context"
	"path/filepath"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/pkg/registry"
)

// BalanceStatus answers vol.balance_status.
func (v *Vol) BalanceStatus(ctx context.Context, p *registry.VolBalanceStatusParams) (*registry.VolBalanceStatusResult, error) {
	f, err := v.btrfsAt(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	balance, err := v.balanceRow(ctx, f)
	if err != nil {
		return nil, err
	}
	return &registry.VolBalanceStatusResult{Balance: balance}, nil
}

// balanceRecord is where the process of a balance writes down how it ended; empty without a state folder.
func (v *Vol) balanceRecord(f *openBtrfs) string {
	if v.stateDir == "" {
		return ""
	}
	return filepath.Join(v.stateDir, "balances", f.uuid()+".json")
}

// lastBalance fills in how the last balance of ours ended. Where its process has not ended the balance has not
// either, whatever the kernel says.
func (v *Vol) lastBalance(f *openBtrfs, row *registry.BtrfsBalance) {
	end, running, err := btrfswork.ReadBalanceEnd(v.balanceRecord(f))
	switch {
	case err != nil: // there was none, or nobody can tell
	case running:
		row.State = "running"
	default:
		row.Last = &registry.BalanceOutcome{
			Outcome: cmp.Or(end.Outcome, "interrupted"), EndedAt: instant(end.EndedAt), Error: registry.NonZero(end.Errno),
		}
		if end.Outcome == "finished" || end.Outcome == "canceled" {
			row.Last.Considered, row.Last.Completed = registry.Some(clip(end.Considered)), registry.Some(clip(end.Completed))
		}
	}
}

// balanceRow is the balance that is under way or paused, if there is one, or how the last one ended.
func (v *Vol) balanceRow(ctx context.Context, f *openBtrfs) (registry.BtrfsBalance, error) {
	row := registry.BtrfsBalance{State: "none"}
	b, err := f.Balance(ctx)
	if err != nil {
		return row, err
	}
	if b != nil {
		row = balanceOf(b)
	} else {
		v.lastBalance(f, &row)
	}
	row.FilesystemUUID = f.uuid()
	operation, _ := f.sysfs.Text(f.info.UUID, "exclusive_operation")
	row.ExclusiveOperation = registry.NonZero(operation)
	return row, nil
}

func balanceOf(b *btrfs.Balance) registry.BtrfsBalance {
	return registry.BtrfsBalance{
		State:      balanceState(b),
		Expected:   registry.Some(clip(b.Expected)),
		Considered: registry.Some(clip(b.Considered)),
		Completed:  registry.Some(clip(b.Completed)),
		Percent:    percent(b.Completed, b.Expected),
		Force:      registry.Some(b.Force),
		Filters: &registry.BalanceFilters{
			Data: balanceFilter(b.Data), Metadata: balanceFilter(b.Metadata), System: balanceFilter(b.System),
		},
	}
}

func balanceState(b *btrfs.Balance) string {
	switch {
	case b.Running && b.CancelRequested:
		return "canceling"
	case b.Running && b.PauseRequested:
		return "pausing"
	case b.Running:
		return "running"
	}
	return "paused"
}

// balanceFilter lists what counts of the kernel's arguments; nil for a type that is left alone.
func balanceFilter(a *btrfs.BalanceArgs) *registry.BalanceFilter {
	if a == nil {
		return nil
	}
	f := &registry.BalanceFilter{}
	if a.Flags.Has(btrfs.BalanceProfiles) {
		for _, name := range a.Profiles.Profiles() {
			f.Profiles = append(f.Profiles, registry.BtrfsProfile(name))
		}
	}
	if low, high, ok := a.Usage(); ok {
		f.UsageMin, f.UsageMax = registry.NonZero(clip(low)), registry.Some(clip(high))
	}
	if low, high, ok := a.Limit(); ok {
		f.LimitMin, f.LimitMax = registry.NonZero(clip(low)), registry.Some(clip(high))
	}
	if a.Flags.Has(btrfs.BalanceDevice) {
		f.Devid = registry.Some(clip(a.Device))
	}
	if a.Flags.Has(btrfs.BalanceDeviceRange) {
		f.DrangeStartBytes, f.DrangeEndBytes = registry.Some(clip(a.DeviceStart)), registry.Some(clip(a.DeviceEnd))
	}
	if a.Flags.Has(btrfs.BalanceLogicalRange) {
		f.VrangeStartBytes, f.VrangeEndBytes = registry.Some(clip(a.LogicalStart)), registry.Some(clip(a.LogicalEnd))
	}
	if a.Flags.Has(btrfs.BalanceStripesRange) {
		f.StripesMin, f.StripesMax = registry.Some(int64(a.StripesMin)), registry.Some(int64(a.StripesMax))
	}
	if a.Flags.Has(btrfs.BalanceConvert) {
		f.Convert = registry.Some(registry.BtrfsProfile(a.Target.Profile()))
		f.Soft = registry.NonZero(a.Flags.Has(btrfs.BalanceSoft))
	}
	return f
}
