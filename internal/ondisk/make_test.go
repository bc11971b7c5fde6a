package ondisk

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// What follows makes superblocks of formats whose tools need a kernel that has them. blkid verifies the
// checksums of all but the last, so it bears witness that they are right.

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// mdSuper0 is a superblock of version 0.90 over size KiB.
func mdSuper0(r *rand.Rand, size uint32) []byte {
	b := make([]byte, 4096)
	words := map[int]uint32{0: mdMagic, 1: 0, 2: 90, 3: 0, 5: r.Uint32(), 7: 1, 8: size, 9: 2, 10: 2, 13: r.Uint32(), 14: r.Uint32(), 15: r.Uint32()}
	order := binary.ByteOrder(le)
	if r.IntN(2) == 0 {
		order = be
	}
	for i, w := range words {
		order.PutUint32(b[4*i:], w)
	}
	return b
}

// mdSuper1 is a superblock of version 1 that stands at an offset.
func mdSuper1(r *rand.Rand, at int64) []byte {
	const roles = 3
	b := make([]byte, 256+2*roles)
	le.PutUint32(b, mdMagic)
	le.PutUint32(b[4:], 1)
	copy(b[16:], randomBytes(r, 16))
	copy(b[32:], "host:array")
	le.PutUint32(b[72:], 1)
	le.PutUint64(b[144:], uint64(at>>9))
	copy(b[168:], randomBytes(r, 16))
	le.PutUint32(b[220:], roles)
	copy(b[256:], randomBytes(r, 2*roles))
	var sum uint64
	rest := b
	for ; len(rest) >= 4; rest = rest[4:] {
		sum += uint64(le.Uint32(rest))
	}
	if len(rest) == 2 {
		sum += uint64(le.Uint16(rest))
	}
	le.PutUint32(b[216:], uint32(sum>>32)+uint32(sum))
	return b
}

// lvmLabel is the label of a physical volume for a sector.
func lvmLabel(r *rand.Rand, sector int64) []byte {
	b := make([]byte, 512)
	copy(b, "LABELONE")
	le.PutUint64(b[8:], uint64(sector))
	le.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001")
	for i := range 32 {
		b[32+i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[r.IntN(62)]
	}
	le.PutUint32(b[16:], ^crc32.Update(^uint32(lvmSeed), crc32.IEEETable, b[20:]))
	return b
}

// zfsLabelOf is the start of a pool's device, up to the end of its first label.
func zfsLabelOf(r *rand.Rand, pool string) []byte {
	var pairs []byte
	word := func(v uint32) { pairs = be.AppendUint32(pairs, v) }
	name := func(s string) {
		word(uint32(len(s)))
		pairs = append(pairs, s...)
		for len(pairs)%4 != 0 {
			pairs = append(pairs, 0)
		}
	}
	pair := func(key string, body func()) {
		start := len(pairs)
		word(0) // the size, known at the end
		word(64)
		name(key)
		body()
		be.PutUint32(pairs[start:], uint32(len(pairs)-start))
	}
	number := func(key string, v uint64) {
		pair(key, func() { word(zfsUint64); word(1); pairs = be.AppendUint64(pairs, v) })
	}
	number("version", 5000)
	pair("name", func() { word(zfsString); word(1); name(pool) })
	number("state", 0)
	number("txg", 4)
	number("pool_guid", r.Uint64())
	number("guid", r.Uint64())
	pair("vdev_tree", func() {
		word(zfsList)
		word(1)
		word(0) // the list's version and flags
		word(1)
		number("id", 0)
		number("ashift", 12)
		word(0)
		word(0)
	})
	word(0)
	word(0)
	b := make([]byte, zfsPairs+zfsLength)
	copy(b[zfsPairs:], []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	copy(b[zfsPairs+12:], pairs)
	return b
}
