package volops

import "github.com/geomind/my_os_server/internal/btrfs"

// unallocatedLeast is how much unallocated space counts as free: with less no chunk can be made
// (MIN_UNALOCATED_THRESH of btrfs-progs).
const unallocatedLeast = 16 << 20

// usageTotals are the sums over all chunks, in bytes: raw as they lie on devices, and of data and
// metadata also counted once each.
type usageTotals struct {
	dataRaw, dataRawUsed         uint64
	metadataRaw, metadataRawUsed uint64
	systemRaw, systemRawUsed     uint64
	data, metadata               uint64
	reserve, reserveUsed         uint64
	mixed                        bool
	maxRatio                     float64 // raw bytes that a byte takes in the profile that takes most
}

func (u *btrfsUsage) totals() *usageTotals {
	t := &usageTotals{maxRatio: 1}
	t.addParity(u)
	for _, s := range u.spaces {
		copies := s.Flags.Copies()
		if s.Flags.Parities() > 0 {
			copies = 0 // addParity has counted them
		}
		t.maxRatio = max(t.maxRatio, float64(copies))
		if s.Flags&btrfs.GlobalReserve != 0 {
			t.reserve, t.reserveUsed = s.Total, s.Used
		}
		t.mixed = t.mixed || s.Flags.Type() == "data+metadata"
		t.add(s, copies)
	}
	return t
}

// add counts a space. A mixed one is both data and metadata; the reserve is neither: it lies in chunks
// of metadata that are counted already.
func (t *usageTotals) add(s btrfs.Space, copies uint64) {
	if s.Flags&btrfs.Data != 0 {
		t.dataRaw += s.Total * copies
		t.dataRawUsed += s.Used * copies
		t.data += s.Total
	}
	if s.Flags&btrfs.Metadata != 0 {
		t.metadataRaw += s.Total * copies
		t.metadataRawUsed += s.Used * copies
		t.metadata += s.Total
	}
	if s.Flags&btrfs.System != 0 {
		t.systemRaw += s.Total * copies
		t.systemRawUsed += s.Used * copies
	}
}

// addParity counts RAID5 and RAID6, whose raw size depends on how many devices each chunk lies on.
// What is used of them is taken to be spread evenly.
func (t *usageTotals) addParity(u *btrfsUsage) {
	for g, raw := range u.stripes {
		parities := g.flags.Parities()
		if parities == 0 || uint64(g.stripes) <= parities {
			continue
		}
		t.maxRatio = max(t.maxRatio, float64(g.stripes)/float64(uint64(g.stripes)-parities))
		used := uint64(float64(raw) * usedShare(u.spaces, g.flags))
		switch {
		case g.flags&btrfs.Data != 0:
			t.dataRaw += raw
			t.dataRawUsed += used
		case g.flags&btrfs.Metadata != 0:
			t.metadataRaw += raw
			t.metadataRawUsed += used
		default:
			t.systemRaw += raw
			t.systemRawUsed += used
		}
	}
}

// usedShare is how much of a space is used, 0 to 1.
func usedShare(spaces []btrfs.Space, flags btrfs.BlockGroup) float64 {
	for _, s := range spaces {
		if s.Flags == flags && s.Total > 0 {
			return float64(s.Used) / float64(s.Total)
		}
	}
	return 0
}

// chunks is the raw size of all chunks; mixed ones stand in data and in metadata.
func (t *usageTotals) chunks() uint64 {
	if t.mixed {
		return t.dataRaw + t.systemRaw
	}
	return t.dataRaw + t.metadataRaw + t.systemRaw
}

func (t *usageTotals) used() uint64 {
	if t.mixed {
		return t.dataRawUsed + t.systemRawUsed
	}
	return t.dataRawUsed + t.metadataRawUsed + t.systemRawUsed
}

func (t *usageTotals) dataRatio() float64 { return ratio(t.dataRaw, t.data) }

func (t *usageTotals) metadataRatio() float64 {
	if t.mixed {
		return t.dataRatio()
	}
	return ratio(t.metadataRaw, t.metadata)
}

// ratio is raw by logical. Where there is no chunk of the type it is 1, where btrfs-progs prints nan.
func ratio(raw, logical uint64) float64 {
	if logical == 0 {
		return 1
	}
	return float64(raw) / float64(logical)
}

// free is how much data can likely still be written, and how much at worst: in the chunks that there
// are, and in those to be made of what is unallocated.
func (t *usageTotals) free(unallocated uint64) (estimated, minimum uint64) {
	estimated = uint64(float64(t.dataRaw-min(t.dataRawUsed, t.dataRaw)) / t.dataRatio())
	if t.mixed { // part of the reserve may be used already, and counts as such
		estimated -= min(t.reserve-min(t.reserveUsed, t.reserve), estimated)
	}
	minimum = estimated
	if unallocated >= unallocatedLeast {
		estimated += uint64(float64(unallocated) / t.dataRatio())
		minimum += uint64(float64(unallocated) / t.maxRatio)
	}
	return estimated, minimum
}
