// Package ondisk reads what formats have written on a block device, from the device itself: the
// superblocks of filesystems, swap spaces and members of arrays, volume groups and encryption, and
// partition tables. It knows the same of them as blkid -p and sfdisk do, and decides between several the
// way libblkid does.
//
// Its functions are pure over an io.ReaderAt: they open nothing, write nothing and trust no byte. Reads
// are few, whole and bounded, whatever stands on the device; how long one may take is the caller's to
// bound.
package ondisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Usage is what kind of thing a signature stands for.
type Usage string

// The kinds, as blkid names them.
const (
	Filesystem Usage = "filesystem"
	RAID       Usage = "raid" // a member of something made of several devices
	Crypto     Usage = "crypto"
	Other      Usage = "other"
)

// Signature is what a superblock says. Sizes are in bytes; empty and zero stand for what a format does
// not tell.
type Signature struct {
	Type    string // as blkid names it
	Usage   Usage
	Version string

	Label   string
	UUID    string
	UUIDSub string // of this one device of several
	UUIDLog string // of an external journal or log
	Devices int64  // how many devices it has, where the superblock of each says so

	SecType      string // second type: msdos of FAT12 and FAT16, ext2 of ext3
	LabelFATBoot string // the label in a FAT's boot sector

	BlockSize   int64 // smallest block that is addressed on the device
	FSBlockSize int64 // allocation block
	Size        int64 // of the filesystem
	LastBlock   int64 // in units of FSBlockSize

	MagicOffset int64
	Magic       []byte

	// Further facts, under blkid's names in lower case; nil where there are none.
	Further map[string]string

	Btrfs *Btrfs // of btrfs: what its superblock says beyond that
	MD    *MD    // of linux_raid_member: the same
}

// Contents is what stands on a device.
type Contents struct {
	// Signature is that of the format that is taken for the device's; nil where there is none.
	Signature *Signature
	// Ambivalent is true where signatures of several formats stand side by side, so that which of them
	// counts cannot be told: an old one was not wiped.
	Ambivalent bool
	// Table is the partition table; nil where there is none.
	Table *Table
}

// Read reads what stands on a device of size bytes with logical sectors of sectorSize. The errors are
// those of r.
func Read(r io.ReaderAt, size, sectorSize int64) (*Contents, error) {
	d := newDevice(r, size)
	defer d.close()
	c := new(Contents)
	c.Table = d.table(sectorSize)
	c.Signature, c.Ambivalent = d.signature(c.Table)
	if c.Table != nil && hidesTable(c) {
		c.Table = nil
	}
	if d.err != nil {
		return nil, d.err
	}
	return c, nil
}

// Place is a stretch of a device, in bytes.
type Place struct{ Offset, Length int64 }

// Places are where Read looks at first on a device of a size, so that a caller may have them fetched at the same
// time: one after the other each is waited for.
func Places(size, sectorSize int64) []Place {
	b := new(blank)
	_, _ = Read(b, size, sectorSize) // blank gives no errors
	return b.asked
}

// blank is a device on which nothing stands, and which remembers what was read of it.
type blank struct{ asked []Place }

func (b *blank) ReadAt(p []byte, at int64) (int, error) {
	b.asked = append(b.asked, Place{at, int64(len(p))})
	clear(p)
	return len(p), nil
}

// hidesTable tells whether what looks like a partition table belongs to the format: of a member of an
// array it is the array's own, seen through the mirror, and the first sector of FAT and its like ends
// as a dos table does.
func hidesTable(c *Contents) bool {
	if c.Signature == nil {
		return false
	}
	switch c.Signature.Type {
	case "vfat", "exfat", "ntfs":
		return c.Table.Type == "dos"
	}
	return c.Signature.Usage == RAID
}

// format finds one format: nil where the device does not bear it.
type format struct {
	name     string
	usage    Usage
	tolerant bool  // may stand beside another format, as the two of a hybrid image do
	least    int64 // bytes that a device must have
	probe    func(*device) *Signature
}

// formats are in libblkid's order: the outer ones first.
var formats = []format{
	{name: "linux_raid_member", usage: RAID, probe: probeMD},
	{name: "bcache", usage: Other, least: 8192, probe: probeBcache},
	{name: "bcachefs", usage: Filesystem, least: 256 * 512, probe: probeBcachefs},
	{name: "LVM2_member", usage: RAID, probe: probeLVM2},
	{name: "DM_snapshot_cow", usage: Other, probe: probeSnapshotCOW},
	{name: "DM_verity_hash", usage: Crypto, probe: probeVerity},
	{name: "DM_integrity", usage: Crypto, probe: probeIntegrity},
	{name: "crypto_LUKS", usage: Crypto, probe: probeLUKS},
	{name: "vfat", usage: Filesystem, probe: probeFAT},
	{name: "swsuspend", usage: Other, least: 10 * 4096, probe: probeHibernation},
	{name: "swap", usage: Other, least: 10 * 4096, probe: probeSwap},
	{name: "xfs", usage: Filesystem, probe: probeXFS},
	{name: "ext4", usage: Filesystem, probe: probeExt4},
	{name: "ext3", usage: Filesystem, probe: probeExt3},
	{name: "ext2", usage: Filesystem, probe: probeExt2},
	{name: "jbd", usage: Other, probe: probeJournal},
	{name: "iso9660", usage: Filesystem, tolerant: true, probe: probeISO9660},
	{name: "zfs_member", usage: Filesystem, least: 64 << 20, probe: probeZFS},
	{name: "ntfs", usage: Filesystem, probe: probeNTFS},
	{name: "squashfs", usage: Filesystem, probe: probeSquashfs},
	{name: "btrfs", usage: Filesystem, least: 1 << 20, probe: probeBtrfs},
	{name: "exfat", usage: Filesystem, probe: probeExFAT},
}

// tiny is the size up to which the first format found is taken, floppy disks having no room for two.
const tiny = 1440 << 10

// signature finds the format that counts. One whose contents belong to something outer, as a member of
// an array, ends the search: what is inside may well look like a format too.
func (d *device) signature(t *Table) (first *Signature, ambivalent bool) {
	intolerant := 0
	for i := range formats {
		f := &formats[i]
		if d.size < f.least {
			continue
		}
		s := f.probe(d)
		if s == nil || d.insidePartition(t, s) {
			continue
		}
		s.Type, s.Usage = f.name, f.usage
		if !f.tolerant {
			intolerant++
		}
		if first != nil {
			ambivalent = ambivalent || intolerant > 0
		} else {
			first = s
		}
		if f.usage == RAID || f.usage == Crypto || d.size <= tiny {
			break
		}
	}
	return first, ambivalent
}

// insidePartition tells whether a signature that stands at the end of a disk is that of the last
// partition.
func (d *device) insidePartition(t *Table, s *Signature) bool {
	if t == nil || s.MagicOffset < d.size/2 {
		return false
	}
	for _, p := range t.Partitions {
		if !p.Extended && s.MagicOffset >= p.Start && s.MagicOffset < p.Start+p.Size {
			return true
		}
	}
	return false
}

const (
	// headSize is what is read of the start of a device at once: most formats have their mark there.
	headSize = 8 << 10
	// blockSize is what is read at a time of the rest. There the formats' marks are far from each other,
	// and what lies between them is costly to copy: the memory of many disks fits no cache.
	blockSize = 512
	// blockShift has blocks lie across the round numbers on both sides of which marks stand: that of a
	// swap space ends where other formats begin.
	blockShift = blockSize / 2
	// usualBlocks is how many blocks are read of a device that nothing is found on.
	usualBlocks = 17
	// mostBlocks bounds what is kept of the rest.
	mostBlocks = 256
)

// buffers are what a device is read into; a list reads one device after the other.
type buffers struct {
	head   [headSize]byte
	blocks [usualBlocks][blockSize]byte
	kept   [usualBlocks]block
}

var pool = sync.Pool{New: func() any { return new(buffers) }}

// device reads the start of a device in one piece and the rest in blocks, and keeps both: formats look
// at the same few places.
type device struct {
	r    io.ReaderAt
	size int64
	room *buffers
	head []byte // what was read of the start; nil until then
	kept []block
	used int   // of the buffers for blocks
	err  error // the first of r; what is read behind it is nothing
}

// block is one that was read.
type block struct {
	index int64
	bytes []byte
}

func newDevice(r io.ReaderAt, size int64) *device {
	room := pool.Get().(*buffers)
	return &device{r: r, size: size, room: room, kept: room.kept[:0]}
}

// close gives the buffers back. What at returned must not be used any more.
func (d *device) close() {
	pool.Put(d.room)
	*d = device{}
}

// at is length bytes at an offset; nil where the device does not have all of them. They must not be
// changed, nor kept.
func (d *device) at(offset, length int64) []byte {
	if offset < 0 || length < 0 || offset > d.size-length {
		return nil
	}
	if offset+length <= headSize {
		return cut(d.start(), offset, length)
	}
	i, from := (offset+blockShift)/blockSize, (offset+blockShift)%blockSize
	if from+length <= blockSize {
		return cut(d.block(i), from, length)
	}
	return cut(d.read(make([]byte, length), offset), 0, length)
}

// cut is a part of what was read; nil where that ends before it.
func cut(b []byte, from, length int64) []byte {
	if int64(len(b)) < from+length {
		return nil
	}
	return b[from : from+length : from+length]
}

func (d *device) start() []byte {
	if d.head == nil {
		d.head = d.read(d.room.head[:min(headSize, d.size)], 0)
	}
	return d.head
}

func (d *device) block(index int64) []byte {
	for _, b := range d.kept {
		if b.index == index {
			return b.bytes
		}
	}
	if len(d.kept) == mostBlocks {
		d.kept = d.kept[:0]
	}
	at := index*blockSize - blockShift
	b := d.read(d.blockBuffer()[:min(blockSize, d.size-at)], at)
	d.kept = append(d.kept, block{index, b})
	return b
}

// blockBuffer is room for one more block. None is given out twice, since a format may still look at
// what it holds.
func (d *device) blockBuffer() []byte {
	if d.used == usualBlocks {
		return make([]byte, blockSize)
	}
	d.used++
	return d.room.blocks[d.used-1][:]
}

// read fills b as far as the device goes.
func (d *device) read(b []byte, offset int64) []byte {
	if d.err != nil {
		return nil
	}
	n, err := d.r.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		d.err = err
		return nil
	}
	return b[:n]
}

// magic is the Signature of a format whose mark stands at an offset; nil where it does not.
func (d *device) magic(offset int64, mark string) *Signature {
	if b := d.at(offset, int64(len(mark))); b == nil || string(b) != mark {
		return nil
	}
	return &Signature{MagicOffset: offset, Magic: []byte(mark)}
}

// text is a field of fixed length: up to the first NUL, without blanks at its end.
func text(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return strings.TrimRight(string(b), " \t\n\v\f\r")
}

// uuid writes 16 bytes in lower case, 8-4-4-4-12; empty where all are zero.
func uuid(b []byte) string {
	if isZero(b[:16]) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// serial writes the four bytes of a FAT's volume id, which are little-endian; empty where all are zero.
func serial(b []byte) string {
	if isZero(b[:4]) {
		return ""
	}
	return fmt.Sprintf("%02X%02X-%02X%02X", b[3], b[2], b[1], b[0])
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// clip turns a number of a superblock into a size; one that no device can have is none.
func clip(v uint64) int64 {
	if v > 1<<62 {
		return 0
	}
	return int64(v)
}

// scaled is clip of a product.
func scaled(count, unit uint64) int64 {
	if unit != 0 && count > (1<<62)/unit {
		return 0
	}
	return clip(count * unit)
}
