package btrfs

import (
	"cmp"
	"slices"
)

// The kernel's rules for chunks (init_alloc_chunk_ctl and decide_stripe_size_regular in
// fs/btrfs/volumes.c), in bytes.
const (
	mib, gib = 1 << 20, 1 << 30

	reserved       = 1 * mib  // at the start of each device (BTRFS_DEVICE_RANGE_RESERVED)
	stripeUnit     = 64 << 10 // of which the parts of a chunk on a device are multiples (BTRFS_STRIPE_LEN)
	stripeMost     = 1 * gib  // of a chunk on one device
	dataChunkMost  = 10 * gib // of a chunk of data (BTRFS_MAX_DATA_CHUNK_SIZE)
	stripeRounding = 16 * mib // to which a stripe is rounded up that the chunk's size makes smaller
	largeLeast     = 50 * gib // from which on chunks of metadata are largeMetadata, else smallMetadata
	smallMetadata  = 256 * mib
	largeMetadata  = 1 * gib

	// CapacityLeast is the size of the smallest device that Capacity knows about.
	CapacityLeast = 8 * gib
	// simulatedMost bounds the work of Capacity: so many chunks are laid out one by one, and
	// past it several together.
	simulatedMost = 1 << 15
)

// layout is how a profile lays out a chunk (btrfs_raid_array in fs/btrfs/volumes.c).
type layout struct {
	least, most int // devices; most is 0 where it takes all
	multiple    int // of which their number is one
	perDevice   int // stripes on each
	copies      int
}

var layouts = map[BlockGroup]layout{
	0:       {least: 1, most: 1, multiple: 1, perDevice: 1, copies: 1},
	DUP:     {least: 1, most: 1, multiple: 1, perDevice: 2, copies: 2},
	RAID0:   {least: 1, multiple: 1, perDevice: 1, copies: 1},
	RAID1:   {least: 2, most: 2, multiple: 2, perDevice: 1, copies: 2},
	RAID1C3: {least: 3, most: 3, multiple: 3, perDevice: 1, copies: 3},
	RAID1C4: {least: 4, most: 4, multiple: 4, perDevice: 1, copies: 4},
	RAID10:  {least: 2, multiple: 2, perDevice: 1, copies: 2},
}

// Capacity is how many bytes fallocate(2) can take on a btrfs that mkfs.btrfs has just made over
// devices of these sizes, in this order, with profiles for data and metadata: single (0, of data only),
// DUP, RAID0, RAID1, RAID1C3, RAID1C4, RAID10. Each device has at least CapacityLeast bytes, and there
// are as many as the profiles need; else it is 0.
//
// It lays out chunks as mkfs.btrfs does for its first ones and as the kernel does for the others, until
// none of data fits any more. statfs(2) cannot tell: it does not know which devices will be full first.
func Capacity(devices []uint64, data, metadata BlockGroup) uint64 {
	dataLayout, known := layouts[data]
	metadataLayout, alsoKnown := layouts[metadata]
	if !known || !alsoKnown || metadata == 0 || len(devices) < max(dataLayout.least, metadataLayout.least) {
		return 0
	}
	p := newPool(devices)
	if p.total == 0 {
		return 0
	}
	usable := p.format(data, dataLayout, metadataLayout)
	for {
		size := p.allocate(dataLayout)
		if size == 0 {
			return usable
		}
		usable += size
	}
}

// pool is the space of a filesystem that is not in chunks yet.
type pool struct {
	members []*member
	total   uint64
	factor  uint64 // how many chunks are laid out together
}

// member is a device with its unallocated stretches, in their order.
type member struct {
	holes []hole
	free  uint64 // their sum
	most  uint64 // what the next chunk can take of it
}

type hole struct{ start, end uint64 }

// newPool has a total of 0 where a device is too small.
func newPool(devices []uint64) *pool {
	p := &pool{}
	for _, size := range devices {
		if size < CapacityLeast {
			return &pool{}
		}
		size -= size % 4096
		p.total += size
		p.members = append(p.members, &member{holes: []hole{{reserved, size}}, free: size - reserved})
	}
	p.factor = p.total/simulatedMost/stripeMost + 1
	return p
}

// format takes what mkfs.btrfs takes, and returns what of it is for data: chunks for system,
// metadata and, but for single, data. They go to the devices that were named last. On the first
// device their place begins behind temporary chunks.
func (p *pool) format(data BlockGroup, dataLayout, metadataLayout layout) (usable uint64) {
	const temporary, temporaryData = 12 * mib, 8 * mib // system and metadata; data
	held := p.members[0].take(temporary + temporaryData)
	metadataMost := uint64(smallMetadata)
	if p.total > largeLeast {
		metadataMost = largeMetadata
	}
	p.formatChunk(metadataLayout, 8*mib, 16*mib)
	p.formatChunk(metadataLayout, metadataMost, metadataMost)
	if data == 0 {
		usable = temporaryData
		held.end -= temporaryData
	} else {
		usable = p.formatChunk(dataLayout, stripeMost, min(dataChunkMost, p.total/10))
	}
	p.members[0].give(held)
	return usable
}

// formatChunk makes a chunk as mkfs.btrfs does, and returns its size.
func (p *pool) formatChunk(l layout, stripe, most uint64) uint64 {
	n := len(p.members)
	if l.most > 0 {
		n = l.most
	}
	n -= n % l.multiple
	stripes := uint64(n * l.perDevice)
	columns := stripes / uint64(l.copies)
	if stripe*columns > most {
		stripe = most / stripes / stripeUnit * stripeUnit
	}
	for _, m := range p.members[len(p.members)-n:] {
		for range l.perDevice {
			m.take(stripe)
		}
	}
	return stripe * columns
}

// allocate makes a chunk of data as the kernel does, and returns its size; 0 where there is no room.
func (p *pool) allocate(l layout) uint64 {
	perDevice := uint64(l.perDevice)
	want := stripeMost * p.factor * perDevice
	var fit []*member
	for _, m := range p.members {
		if m.most = m.largest(want); m.most >= stripeUnit*perDevice {
			fit = append(fit, m)
		}
	}
	slices.SortStableFunc(fit, func(a, b *member) int {
		return cmp.Or(cmp.Compare(b.most, a.most), cmp.Compare(b.free, a.free))
	})
	n := len(fit) - len(fit)%l.multiple
	if n < l.least {
		return 0
	}
	if l.most > 0 {
		n = min(n, l.most)
	}
	columns := uint64(n*l.perDevice) / uint64(l.copies)
	stripe := fit[n-1].most / perDevice
	if most := min(dataChunkMost, p.total/10) * p.factor; stripe*columns > most {
		stripe = min(stripe, (most/columns+stripeRounding-1)/stripeRounding*stripeRounding)
	}
	stripe = min(stripe, stripeMost*p.factor) / stripeUnit * stripeUnit
	for _, m := range fit[:n] {
		for range l.perDevice {
			m.take(stripe)
		}
	}
	return stripe * columns
}

// largest is what a chunk that wants so much can have of the device in one piece.
func (m *member) largest(want uint64) (most uint64) {
	for _, h := range m.holes {
		most = max(most, h.end-h.start)
	}
	return min(most, want)
}

// take takes size bytes from the first hole that has them, which one must.
func (m *member) take(size uint64) (taken hole) {
	i := slices.IndexFunc(m.holes, func(h hole) bool { return h.end-h.start >= size })
	taken = hole{m.holes[i].start, m.holes[i].start + size}
	m.free -= size
	if m.holes[i].start += size; m.holes[i].start == m.holes[i].end {
		m.holes = slices.Delete(m.holes, i, i+1)
	}
	return taken
}

// give gives back what was taken first of the device.
func (m *member) give(h hole) {
	m.holes = slices.Insert(m.holes, 0, h)
	m.free += h.end - h.start
}
