package ondisk

import (
	"encoding/binary"
	"time"
)

// MD is what a superblock of Linux software RAID says beyond a Signature (include/uapi/linux/raid/md_p.h).
// Sizes are in bytes.
type MD struct {
	Created, Updated time.Time // zero where it does not say
	Events           uint64
	Level            int32 // -1 linear, 0, 1, 4, 5, 6, 10, -4 multipath, …
	Layout           uint32
	Chunk            int64
	RaidDisks        uint32 // members that the array should have
	Component        int64  // what the array takes of each member
	Bitmap           bool   // it has an internal write-intent bitmap
	Number           uint32 // of this member in the array's books
	Slot             uint32 // its place in the array, where it is Placed
	Placed           bool   // false: a spare, a journal, or faulty
}

// The states of a member in a superblock of version 0.90, as bits.
const (
	mdDiskFaulty = 1 << 0
	mdDiskActive = 1 << 1
)

// parseMD0 reads version 0.90, of 1024 words: time of creation 6, level 7, size in KiB 8, members 10,
// time of change 32, events 39 and 40, layout 64, chunk 65, this member's number 992, its place 995
// and its state 996. A bitmap is bit 8 of the array's state, word 33.
func parseMD0(b []byte, order binary.ByteOrder) *MD {
	if len(b) < 4096 {
		return nil
	}
	word := func(i int) uint32 { return order.Uint32(b[4*i:]) }
	low, high := word(39), word(40)
	if order == binary.BigEndian {
		low, high = high, low
	}
	return &MD{
		Created:   seconds(uint64(word(6))),
		Updated:   seconds(uint64(word(32))),
		Events:    uint64(high)<<32 | uint64(low),
		Level:     int32(word(7)),
		Layout:    word(64),
		Chunk:     int64(word(65)),
		RaidDisks: word(10),
		Component: int64(word(8)) << 10,
		Bitmap:    word(33)>>8&1 == 1,
		Number:    word(992),
		Slot:      word(995),
		Placed:    word(996)&(mdDiskFaulty|mdDiskActive) == mdDiskActive,
	}
}

// parseMD1 reads version 1: features at 8, time of creation 64, level 72, layout 76, size in sectors 80,
// chunk in sectors 88, members 92, this member's number 160, time of change 192, events 200. Times have
// seconds in their lower 40 bits. Bit 0 of the features is the bitmap.
func parseMD1(b []byte) *MD {
	const time40 = 1<<40 - 1
	return &MD{
		Created:   seconds(le.Uint64(b[64:]) & time40),
		Updated:   seconds(le.Uint64(b[192:]) & time40),
		Events:    le.Uint64(b[200:]),
		Level:     int32(le.Uint32(b[72:])),
		Layout:    le.Uint32(b[76:]),
		Chunk:     int64(le.Uint32(b[88:])) * 512,
		RaidDisks: le.Uint32(b[92:]),
		Component: scaled(le.Uint64(b[80:]), 512),
		Bitmap:    le.Uint32(b[8:])&1 == 1,
		Number:    le.Uint32(b[160:]),
	}
}

// place reads from the roles behind a superblock of version 1 where in the array the member is. Those from
// 0xff00 upwards are no places: 0xffff a spare, 0xfffe faulty, 0xfffd a journal.
func (m *MD) place(roles []byte) {
	const noPlace = 0xff00
	if int64(len(roles)) < 2*(int64(m.Number)+1) {
		return
	}
	if role := le.Uint16(roles[2*m.Number:]); role < noPlace {
		m.Slot, m.Placed = uint32(role), true
	}
}

// seconds is an instant; the zero one stands for none.
func seconds(v uint64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(int64(v), 0).UTC()
}
