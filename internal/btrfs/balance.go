package btrfs

import (
	"context"
	"errors"
	"syscall"
	"unsafe"
)

// Balance is the running or paused balance of a filesystem.
type Balance struct {
	Running         bool // else it is paused
	PauseRequested  bool // it pauses when the present chunk is done
	CancelRequested bool
	Force           bool // it may lower the redundancy of metadata

	// What it takes up, by type of chunk; nil: that type is left alone.
	Data, Metadata, System *BalanceArgs

	Expected   uint64 // estimated number of chunks to be moved
	Considered uint64 // chunks looked at
	Completed  uint64 // chunks moved
}

// BalanceArgs is struct btrfs_balance_args: which chunks of a type are taken up, and what into. A
// value counts where its flag is set.
type BalanceArgs struct {
	Profiles     BlockGroup
	UsageMin     uint32 // percent; without BalanceUsageRange the two are one value of 64 bits
	UsageMax     uint32
	Device       uint64
	DeviceStart  uint64
	DeviceEnd    uint64
	LogicalStart uint64
	LogicalEnd   uint64
	Target       BlockGroup
	Flags        BalanceFlags
	LimitMin     uint32 // chunks; without BalanceLimitRange the two are one value of 64 bits
	LimitMax     uint32
	StripesMin   uint32
	StripesMax   uint32
	_            [6]uint64
}

// BalanceFlags say which values of BalanceArgs count.
type BalanceFlags uint64

// The bits of BalanceFlags (BTRFS_BALANCE_ARGS_*).
const (
	BalanceProfiles BalanceFlags = 1 << iota
	BalanceUsage
	BalanceDevice
	BalanceDeviceRange
	BalanceLogicalRange
	BalanceLimit
	BalanceLimitRange
	BalanceStripesRange
	BalanceConvert
	BalanceSoft
	BalanceUsageRange
)

// Has tells whether a bit is set.
func (f BalanceFlags) Has(bit BalanceFlags) bool { return f&bit != 0 }

// Usage is the range of percents that chunks are used by, where the flags have one.
func (a *BalanceArgs) Usage() (low, high uint64, ok bool) {
	if a.Flags.Has(BalanceUsageRange) {
		return uint64(a.UsageMin), uint64(a.UsageMax), true
	}
	return 0, uint64(a.UsageMax)<<32 | uint64(a.UsageMin), a.Flags.Has(BalanceUsage)
}

// Limit is the least and the greatest number of chunks to take, where the flags have one.
func (a *BalanceArgs) Limit() (low, high uint64, ok bool) {
	if a.Flags.Has(BalanceLimitRange) {
		return uint64(a.LimitMin), uint64(a.LimitMax), true
	}
	return 0, uint64(a.LimitMax)<<32 | uint64(a.LimitMin), a.Flags.Has(BalanceLimit)
}

// balanceArgs is struct btrfs_ioctl_balance_args.
type balanceArgs struct {
	flags, state                    uint64
	data, metadata, system          BalanceArgs
	expected, considered, completed uint64
	_                               [72]uint64
}

var _ [1024]byte = [unsafe.Sizeof(balanceArgs{})]byte{}

// Bits of balanceArgs.flags and .state.
const (
	balanceData     = 1 << 0
	balanceSystem   = 1 << 1
	balanceMetadata = 1 << 2
	balanceForce    = 1 << 3

	balanceRunning   = 1 << 0
	balancePauseReq  = 1 << 1
	balanceCancelReq = 1 << 2
)

// Balance tells of the balance that runs or is paused; nil where there is none.
func (f *Filesystem) Balance(ctx context.Context) (*Balance, error) {
	a := new(balanceArgs)
	err := ioctl(ctx, f, "read balance of", sysAdmin, iocBalanceProgress, a)
	if errors.Is(err, syscall.ENOTCONN) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := &Balance{
		Running:         a.state&balanceRunning != 0,
		PauseRequested:  a.state&balancePauseReq != 0,
		CancelRequested: a.state&balanceCancelReq != 0,
		Force:           a.flags&balanceForce != 0,
		Expected:        a.expected, Considered: a.considered, Completed: a.completed,
	}
	for _, part := range [...]struct {
		bit  uint64
		from *BalanceArgs
		to   **BalanceArgs
	}{{balanceData, &a.data, &b.Data}, {balanceMetadata, &a.metadata, &b.Metadata}, {balanceSystem, &a.system, &b.System}} {
		if a.flags&part.bit != 0 {
			*part.to = part.from
		}
	}
	return b, nil
}
