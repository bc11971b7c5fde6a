package btrfs

import (
	"context"
	"errors"
	"syscall"
	"unsafe"
)

// ScrubProgress is struct btrfs_scrub_progress: counters of the scrub of one device.
type ScrubProgress struct {
	DataExtentsScrubbed uint64
	TreeExtentsScrubbed uint64
	DataBytesScrubbed   uint64
	TreeBytesScrubbed   uint64
	ReadErrors          uint64
	CsumErrors          uint64
	VerifyErrors        uint64 // tree blocks whose header was wrong
	NoCsum              uint64 // blocks of data without a checksum
	CsumDiscards        uint64 // checksums without data
	SuperErrors         uint64 // damaged copies of the superblock
	MallocErrors        uint64
	UncorrectableErrors uint64
	CorrectedErrors     uint64
	LastPhysical        uint64 // how far on the device it has come, in bytes
	UnverifiedErrors    uint64 // reads that failed at first and then did not
}

// scrubArgs is struct btrfs_ioctl_scrub_args.
type scrubArgs struct {
	device   uint64
	_        [3]uint64 // start, end, flags: of BTRFS_IOC_SCRUB alone
	progress ScrubProgress
	_        [109]uint64
}

var _ [1024]byte = [unsafe.Sizeof(scrubArgs{})]byte{}

// ScrubProgress tells how far the scrub of a device is; false where none runs. Where it was resumed,
// only what it did since then is counted. ENODEV where there is no such device.
func (f *Filesystem) ScrubProgress(ctx context.Context, device uint64) (ScrubProgress, bool, error) {
	a := &scrubArgs{device: device}
	err := ioctl(ctx, f, "read scrub of", sysAdmin, iocScrubProgress, a)
	if errors.Is(err, syscall.ENOTCONN) {
		return ScrubProgress{}, false, nil
	}
	if err != nil {
		return ScrubProgress{}, false, err
	}
	return a.progress, true, nil
}

// Add adds the counters of another device. The furthest LastPhysical stays.
func (p *ScrubProgress) Add(o *ScrubProgress) {
	last := max(p.LastPhysical, o.LastPhysical)
	sums, others := p.fields(), o.fields()
	for i := range sums {
		*sums[i].value += *others[i].value
	}
	p.LastPhysical = last
}

// Errors is the sum of what btrfs-progs counts as errors found: reading, checksums, headers and
// superblocks.
func (p *ScrubProgress) Errors() uint64 {
	return p.ReadErrors + p.CsumErrors + p.VerifyErrors + p.SuperErrors
}

// counter is a field of ScrubProgress under the kernel's name.
type counter struct {
	name  string
	value *uint64
}

func (p *ScrubProgress) fields() [15]counter {
	return [15]counter{
		{"data_extents_scrubbed", &p.DataExtentsScrubbed},
		{"tree_extents_scrubbed", &p.TreeExtentsScrubbed},
		{"data_bytes_scrubbed", &p.DataBytesScrubbed},
		{"tree_bytes_scrubbed", &p.TreeBytesScrubbed},
		{"read_errors", &p.ReadErrors},
		{"csum_errors", &p.CsumErrors},
		{"verify_errors", &p.VerifyErrors},
		{"no_csum", &p.NoCsum},
		{"csum_discards", &p.CsumDiscards},
		{"super_errors", &p.SuperErrors},
		{"malloc_errors", &p.MallocErrors},
		{"uncorrectable_errors", &p.UncorrectableErrors},
		{"corrected_errors", &p.CorrectedErrors},
		{"last_physical", &p.LastPhysical},
		{"unverified_errors", &p.UnverifiedErrors},
	}
}
