package volops

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/pkg/registry"
)

// BalanceStart answers vol.balance_start.
func (v *Vol) BalanceStart(ctx context.Context, p *registry.VolBalanceStartParams) (*registry.VolBalanceStartResult, error) {
	action := p.Action.Or(registry.BalanceActionStart)
	if err := checkBalance(p, action); err != nil {
		return nil, err
	}
	w, err := v.openWork(ctx, p.Path, "balance/")
	if err != nil {
		return nil, notApplied(err)
	}
	defer w.close()
	before, err := w.fs.Balance(ctx)
	if err != nil {
		return nil, notApplied(err)
	}
	changed, err := w.balance(ctx, p, action, before)
	if err != nil {
		return nil, err
	}
	row, err := v.balanceRow(ctx, w.fs)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	return &registry.VolBalanceStartResult{Changed: changed, Balance: row}, nil
}

// balance does what was asked for; false where it is so already.
func (w *longWork) balance(ctx context.Context, p *registry.VolBalanceStartParams, action registry.BalanceAction, before *btrfs.Balance) (bool, error) {
	switch action {
	case registry.BalanceActionPause:
		if before == nil || !before.Running {
			return false, nil
		}
		return w.controlled(w.fs.PauseBalance(ctx))
	case registry.BalanceActionCancel:
		if before == nil {
			return false, nil
		}
		return w.controlled(w.fs.CancelBalance(ctx))
	case registry.BalanceActionResume:
		if before == nil {
			return false, &registry.NotFoundError{
				NotFoundData: registry.NotFoundData{Resource: "balance", ID: w.fs.uuid()},
				Message:      "there is no balance to be resumed",
			}
		}
		if before.Running {
			return false, w.conflict("balance", "the balance runs")
		}
		return true, w.startBalance(ctx, &btrfs.BalanceWork{Resume: true})
	}
	if before != nil {
		return false, w.conflict("balance", "a balance is "+balanceState(before)+" already")
	}
	work, err := w.balanceWork(ctx, p)
	if err != nil {
		return false, notApplied(err)
	}
	return true, w.startBalance(ctx, work)
}

func (w *longWork) startBalance(ctx context.Context, work *btrfs.BalanceWork) error {
	return w.start(ctx, "balance", btrfswork.Job{Balance: &btrfswork.Balance{Work: *work, Record: w.v.balanceRecord(w.fs)}})
}

// controlled is how pausing or cancelling went; what ended by itself meanwhile is as it should be.
func (w *longWork) controlled(err error) (bool, error) {
	if errors.Is(err, unix.ENOTCONN) {
		return false, nil
	}
	return err == nil, appliedAs(err, registry.AppliedUnknown)
}

// checkBalance holds the params against each other.
func checkBalance(p *registry.VolBalanceStartParams, action registry.BalanceAction) error {
	if action != registry.BalanceActionStart && (p.Filters != nil || p.Force.IsSet()) {
		return invalid("action", "must be start where there are filters or force")
	}
	if p.Filters == nil {
		return nil
	}
	var faults []registry.Fault
	given := 0
	for _, part := range balanceParts(p.Filters) {
		if part.filter != nil {
			given++
			faults = append(faults, checkFilter("filters."+part.name, part.filter)...)
		}
	}
	if given == 0 {
		faults = append(faults, registry.Fault{Path: "filters", Message: "must have data, metadata or system"})
	}
	if len(faults) > 0 {
		return &registry.ParamsError{Faults: faults}
	}
	return nil
}

// balancePart is the filter for one type of chunk.
type balancePart struct {
	name   string
	chunks btrfs.BlockGroup
	filter *registry.BalanceFilter
}

func balanceParts(f *registry.BalanceFilters) []balancePart {
	return []balancePart{{"data", btrfs.Data, f.Data}, {"metadata", btrfs.Metadata, f.Metadata}, {"system", btrfs.System, f.System}}
}

func checkFilter(path string, f *registry.BalanceFilter) (faults []registry.Fault) {
	ordered := func(low, high registry.Opt[int64], names string) {
		if l, given := low.Get(); given && high.IsSet() && l > high.Or(0) {
			faults = append(faults, registry.Fault{Path: path, Message: names + " must not be greater than its max or end"})
		}
	}
	ordered(f.UsageMin, f.UsageMax, "usage_min")
	ordered(f.LimitMin, f.LimitMax, "limit_min")
	ordered(f.StripesMin, f.StripesMax, "stripes_min")
	ordered(f.DrangeStartBytes, f.DrangeEndBytes, "drange_start_bytes")
	ordered(f.VrangeStartBytes, f.VrangeEndBytes, "vrange_start_bytes")
	if (f.DrangeStartBytes.IsSet() || f.DrangeEndBytes.IsSet()) && !f.Devid.IsSet() {
		faults = append(faults, registry.Fault{Path: path, Message: "drange_start_bytes and drange_end_bytes need devid"})
	}
	if f.Soft.IsSet() && !f.Convert.IsSet() {
		faults = append(faults, registry.Fault{Path: path, Message: "soft needs convert"})
	}
	return faults
}

// balanceWork is the kernel's form of what was asked for, past the rules that force lifts.
func (w *longWork) balanceWork(ctx context.Context, p *registry.VolBalanceStartParams) (*btrfs.BalanceWork, error) {
	force := p.Force.Or(false)
	if p.Filters == nil {
		if !force {
			return nil, refused("full_balance", "force", "a balance without filters rewrites everything")
		}
		return &btrfs.BalanceWork{Force: true, Data: &btrfs.BalanceArgs{}, Metadata: &btrfs.BalanceArgs{}, System: &btrfs.BalanceArgs{}}, nil
	}
	if p.Filters.System != nil && !force {
		return nil, refused("system_chunks", "force", "the chunks of type system tell where all others are")
	}
	spaces, err := w.fs.Spaces(ctx)
	if err != nil {
		return nil, err
	}
	work := &btrfs.BalanceWork{Force: force}
	for _, part := range balanceParts(p.Filters) {
		if part.filter == nil {
			continue
		}
		if err := checkConvert(part, spaces, force); err != nil {
			return nil, err
		}
		args := filterArgs(part.filter)
		switch part.chunks {
		case btrfs.Data:
			work.Data = args
		case btrfs.Metadata:
			work.Metadata = args
		case btrfs.System:
			work.System = args
		}
	}
	return work, nil
}

// redundancy ranks profiles by what they survive: nothing, a bad block, and one device or more.
var redundancy = map[string]int{"raid0": 0, "single": 0, "dup": 1, "raid1": 2, "raid10": 2, "raid5": 2, "raid1c3": 3, "raid6": 3, "raid1c4": 4}

// checkConvert refuses a profile that survives less than what is there, and those that lose data at a power cut.
func checkConvert(part balancePart, spaces []btrfs.Space, force bool) error {
	convert, given := part.filter.Convert.Get()
	if !given || force {
		return nil
	}
	if convert == registry.BtrfsProfileRaid5 || convert == registry.BtrfsProfileRaid6 {
		return refused("raid56", "force", fmt.Sprintf("%s loses data at a power cut", convert))
	}
	for i := range spaces {
		has := spaces[i].Flags.Profile()
		concerned := len(part.filter.Profiles) == 0 || slices.Contains(part.filter.Profiles, registry.BtrfsProfile(has))
		if spaces[i].Flags&part.chunks != 0 && concerned && redundancy[has] > redundancy[string(convert)] {
			return refused("lowers_redundancy", "force", fmt.Sprintf("%s is %s, which survives more than %s", part.name, has, convert))
		}
	}
	return nil
}

// filterArgs is a filter as the kernel takes it.
func filterArgs(f *registry.BalanceFilter) *btrfs.BalanceArgs {
	a := &btrfs.BalanceArgs{}
	for _, name := range f.Profiles {
		a.Flags |= btrfs.BalanceProfiles
		a.Profiles |= btrfs.ProfileBits(string(name))
	}
	if f.UsageMin.IsSet() || f.UsageMax.IsSet() {
		a.Flags |= btrfs.BalanceUsageRange
		a.UsageMin, a.UsageMax = uint32(f.UsageMin.Or(0)), uint32(f.UsageMax.Or(100))
	}
	if id, given := f.Devid.Get(); given {
		a.Flags, a.Device = a.Flags|btrfs.BalanceDevice, uint64(id)
	}
	if f.DrangeStartBytes.IsSet() || f.DrangeEndBytes.IsSet() {
		a.Flags |= btrfs.BalanceDeviceRange
		a.DeviceStart, a.DeviceEnd = uint64(f.DrangeStartBytes.Or(0)), uint64(f.DrangeEndBytes.Or(math.MaxInt64))
	}
	if f.VrangeStartBytes.IsSet() || f.VrangeEndBytes.IsSet() {
		a.Flags |= btrfs.BalanceLogicalRange
		a.LogicalStart, a.LogicalEnd = uint64(f.VrangeStartBytes.Or(0)), uint64(f.VrangeEndBytes.Or(math.MaxInt64))
	}
	if f.LimitMin.IsSet() || f.LimitMax.IsSet() {
		a.Flags |= btrfs.BalanceLimitRange
		a.LimitMin, a.LimitMax = uint32(f.LimitMin.Or(0)), uint32(f.LimitMax.Or(math.MaxUint32))
	}
	if f.StripesMin.IsSet() || f.StripesMax.IsSet() {
		a.Flags |= btrfs.BalanceStripesRange
		a.StripesMin, a.StripesMax = uint32(f.StripesMin.Or(0)), uint32(f.StripesMax.Or(math.MaxUint32))
	}
	if convert, given := f.Convert.Get(); given {
		a.Flags |= btrfs.BalanceConvert
		a.Target = btrfs.ProfileBits(string(convert))
		if f.Soft.Or(false) {
			a.Flags |= btrfs.BalanceSoft
		}
	}
	return a
}
