package btrfs

import (
	"context"
	"math/bits"
	"unsafe"
)

// BlockGroup says what lies in a chunk and how it is laid over devices (BTRFS_BLOCK_GROUP_*).
type BlockGroup uint64

// The bits of BlockGroup.
const (
	Data BlockGroup = 1 << iota
	System
	Metadata
	RAID0
	RAID1
	DUP
	RAID10
	RAID5
	RAID6
	RAID1C3
	RAID1C4

	AvailSingle   BlockGroup = 1 << 48 // stands for single where a filter has to name it
	GlobalReserve BlockGroup = 1 << 49 // not a chunk: what metadata holds back

	profiles = RAID0 | RAID1 | DUP | RAID10 | RAID5 | RAID6 | RAID1C3 | RAID1C4
)

// Type names what lies in it: data, metadata, system, data+metadata (mixed), global_reserve; empty for
// what this package does not know.
func (g BlockGroup) Type() string {
	switch {
	case g&GlobalReserve != 0:
		return "global_reserve"
	case g&(Data|Metadata) == Data|Metadata:
		return "data+metadata"
	case g&Data != 0:
		return "data"
	case g&Metadata != 0:
		return "metadata"
	case g&System != 0:
		return "system"
	}
	return ""
}

// profileNames are in the order of their bits, from RAID0.
var profileNames = [...]string{"raid0", "raid1", "dup", "raid10", "raid5", "raid6", "raid1c3", "raid1c4"}

// Profile names how it is laid out, as mkfs.btrfs does: single, dup, raid1 and so on.
func (g BlockGroup) Profile() string {
	if g&profiles == 0 {
		return "single"
	}
	return profileNames[bits.TrailingZeros64(uint64(g&profiles))-bits.TrailingZeros64(uint64(RAID0))]
}

// Profiles names all profiles that a set of bits holds, AvailSingle first.
func (g BlockGroup) Profiles() (names []string) {
	if g&AvailSingle != 0 {
		names = append(names, "single")
	}
	for rest := g & profiles; rest != 0; rest &= rest - 1 {
		names = append(names, (rest & -rest).Profile())
	}
	return names
}

// Copies is how many devices' bytes one byte takes; of RAID5 and RAID6, which add a part of a byte, 1.
func (g BlockGroup) Copies() uint64 {
	switch {
	case g&RAID1C4 != 0:
		return 4
	case g&RAID1C3 != 0:
		return 3
	case g&(RAID1|DUP|RAID10) != 0:
		return 2
	}
	return 1
}

// Parities is how many of a chunk's stripes hold no data.
func (g BlockGroup) Parities() uint64 {
	switch {
	case g&RAID6 != 0:
		return 2
	case g&RAID5 != 0:
		return 1
	}
	return 0
}

// Space is struct btrfs_ioctl_space_info: all chunks of one type and profile, in bytes that count once
// however many copies there are.
type Space struct {
	Flags BlockGroup
	Total uint64 // bytes in chunks
	Used  uint64 // bytes of it in use
}

// spaceSlots is more than there are types and profiles.
const spaceSlots = 64

// spaceArgs is struct btrfs_ioctl_space_args with room for the answer.
type spaceArgs struct {
	slots, total uint64
	spaces       [spaceSlots]Space
}

// Spaces lists the space by type and profile in the kernel's order (BTRFS_IOC_SPACE_INFO).
func (f *Filesystem) Spaces(ctx context.Context) ([]Space, error) {
	a := &spaceArgs{slots: spaceSlots}
	if err := ioctl(ctx, f, "read space of", "", iocSpaceInfo, a); err != nil {
		return nil, err
	}
	return a.spaces[:min(a.total, spaceSlots)], nil
}

var _ [24]byte = [unsafe.Sizeof(Space{})]byte{}
