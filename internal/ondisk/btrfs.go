package ondisk

import (
	"bytes"
	"crypto/sha256"
	"hash/crc32"
	"slices"
)

// Btrfs is what a btrfs superblock says beyond a Signature. Sizes are in bytes.
type Btrfs struct {
	Device       uint64 // number of this device in the filesystem
	Devices      uint64 // how many there are
	DeviceSize   uint64 // what the filesystem takes of this one
	DeviceUsed   uint64 // what of it is handed out to chunks
	Total        uint64 // sum of all devices
	Used         uint64 // used of what is handed out
	Generation   uint64
	NodeSize     uint32
	SectorSize   uint32
	ChecksumType uint16
	Checksum     string // its name; empty where it is not known
	MetadataUUID string // where it differs from the filesystem's
	// Features in use, as the files of /sys/fs/btrfs/UUID/features are named, sorted.
	Features []string
}

const (
	btrfsOffset = 64 << 10
	btrfsSize   = 4096
	btrfsMagic  = 64
)

// probeBtrfs reads the first copy of the superblock: checksum at 0, UUID 32, mark 64, generation 72,
// total 112, used 120, devices 136, sector size 144, node size 148, features 172 to 195, checksum's type
// 196, this device's item 201, label 299, metadata UUID 571. Of a zoned device the place is another; its
// copies are not looked for.
func probeBtrfs(d *device) *Signature {
	s := d.magic(btrfsOffset+btrfsMagic, "_BHRfS_M")
	if s == nil {
		return nil // without reading the rest
	}
	b := d.at(btrfsOffset, btrfsSize)
	if b == nil || !checkBtrfs(b) || le.Uint32(b[144:]) == 0 {
		return nil
	}
	s.UUID, s.UUIDSub, s.Label = uuid(b[32:]), uuid(b[267:]), text(b[299:555])
	s.BlockSize = int64(le.Uint32(b[144:]))
	s.FSBlockSize, s.Size = s.BlockSize, clip(le.Uint64(b[112:]))
	s.LastBlock = s.Size / s.BlockSize
	s.Btrfs = parseBtrfs(b)
	s.Devices = clip(s.Btrfs.Devices)
	return s
}

func parseBtrfs(b []byte) *Btrfs {
	item := b[201:]
	f := &Btrfs{
		Device:       le.Uint64(item),
		DeviceSize:   le.Uint64(item[8:]),
		DeviceUsed:   le.Uint64(item[16:]),
		Devices:      le.Uint64(b[136:]),
		Total:        le.Uint64(b[112:]),
		Used:         le.Uint64(b[120:]),
		Generation:   le.Uint64(b[72:]),
		NodeSize:     le.Uint32(b[148:]),
		SectorSize:   le.Uint32(b[144:]),
		ChecksumType: le.Uint16(b[196:]),
		Features:     btrfsFeatures(le.Uint64(b[180:]), le.Uint64(b[188:])),
	}
	if names := [...]string{"crc32c", "xxhash64", "sha256", "blake2b"}; int(f.ChecksumType) < len(names) {
		f.Checksum = names[f.ChecksumType]
	}
	if le.Uint64(b[188:])&btrfsMetadataUUID != 0 {
		f.MetadataUUID = uuid(b[571:])
	}
	return f
}

// btrfsMetadataUUID is the incompatible feature of a UUID that was changed without rewriting the trees.
const btrfsMetadataUUID = 1 << 10

// checkBtrfs verifies the checksum, but for xxhash64 and blake2b, which the standard library lacks: there
// the mark has to do.
func checkBtrfs(b []byte) bool {
	switch le.Uint16(b[196:]) {
	case 0:
		return crc32.Checksum(b[32:], castagnoli) == le.Uint32(b)
	case 2:
		sum := sha256.Sum256(b[32:])
		return bytes.Equal(sum[:], b[:32])
	}
	return true
}

// btrfsFeature is a bit of a superblock and its file in sysfs (BTRFS_FEAT_ATTR in fs/btrfs/sysfs.c).
// Newer kernels do not show mixed_backref and big_metadata any more, which every filesystem has.
type btrfsFeature struct {
	bit  uint64
	name string
}

var (
	btrfsROCompat = []btrfsFeature{{1 << 0, "free_space_tree"}, {1 << 2, "verity"}, {1 << 3, "block_group_tree"}}
	btrfsIncompat = []btrfsFeature{
		{1 << 1, "default_subvol"}, {1 << 2, "mixed_groups"}, {1 << 3, "compress_lzo"},
		{1 << 4, "compress_zstd"}, {1 << 6, "extended_iref"}, {1 << 7, "raid56"},
		{1 << 8, "skinny_metadata"}, {1 << 9, "no_holes"}, {1 << 10, "metadata_uuid"}, {1 << 11, "raid1c34"},
		{1 << 12, "zoned"}, {1 << 13, "extent_tree_v2"}, {1 << 14, "raid_stripe_tree"}, {1 << 16, "simple_quota"},
	}
)

func btrfsFeatures(roCompat, incompat uint64) []string {
	names := []string{}
	for _, f := range btrfsIncompat {
		if incompat&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	for _, f := range btrfsROCompat {
		if roCompat&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return names
}
