package ondisk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var le, be = binary.LittleEndian, binary.BigEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// probeXFS reads an xfs superblock, big-endian: block size at 4, data blocks 8, UUID 32, log's start 48,
// blocks of an allocation group 84, their number 88, log's blocks 96, version 100, sector size 102, inode
// size 104, label 108, the logarithms of block, sector and inode size 120 to 122; of version 5 a checksum
// at 224.
func probeXFS(d *device) *Signature {
	s, b := d.magic(0, "XFSB"), d.at(0, 512)
	if s == nil || b == nil || !plausibleXFS(b) {
		return nil
	}
	if be.Uint16(b[100:])&15 == 5 && !d.checkXFS(int64(be.Uint16(b[102:]))) {
		return nil
	}
	blocks, log := be.Uint64(b[8:]), uint64(0)
	if be.Uint64(b[48:]) != 0 { // the log lies inside, and is no room for files
		log = min(uint64(be.Uint32(b[96:])), blocks)
	}
	s.UUID, s.Label = uuid(b[32:]), text(b[108:120])
	s.BlockSize, s.FSBlockSize = int64(be.Uint16(b[102:])), int64(be.Uint32(b[4:]))
	s.LastBlock = clip(blocks)
	s.Size = scaled(blocks-log, uint64(s.FSBlockSize))
	return s
}

// plausibleXFS guards against four letters that stand there by chance.
func plausibleXFS(b []byte) bool {
	block, sector, inode := be.Uint32(b[4:]), be.Uint16(b[102:]), be.Uint16(b[104:])
	blocks, agBlocks, ags := be.Uint64(b[8:]), uint64(be.Uint32(b[84:])), uint64(be.Uint32(b[88:]))
	isPower := func(v uint64, log byte, low, high byte) bool {
		return log >= low && log <= high && v == 1<<log
	}
	return isPower(uint64(block), b[120], 9, 16) && isPower(uint64(sector), b[121], 9, 15) && isPower(uint64(inode), b[122], 8, 11) &&
		ags > 0 && blocks > 0 && blocks <= ags*agBlocks && blocks >= (ags-1)*agBlocks+64
}

func (d *device) checkXFS(sector int64) bool {
	b := d.at(0, sector)
	if b == nil {
		return false
	}
	sum := crc32.Update(0, castagnoli, b[:224])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[228:]) == le.Uint32(b[224:])
}

// Feature bits that tell ext2, ext3 and ext4 apart.
const (
	extHasJournal   = 0x4   // compatible: a journal
	extJournalDev   = 0x8   // incompatible: the device is a journal of another
	ext64Bit        = 0x80  // incompatible: block numbers of 64 bits
	extMetadataCsum = 0x400 // read-only compatible: checksums

	ext2Incompat = 0x2 | 0x10 // file types, meta block groups
	ext3Incompat = ext2Incompat | 0x4
	extROCompat  = 0x1 | 0x2 | 0x4 // sparse superblocks, large files, hashed folders
)

// ext is the superblock of ext2, ext3, ext4 and their journals.
type ext struct {
	b                          []byte
	compat, incompat, roCompat uint32
}

const extOffset = 1024

func (d *device) ext() *ext {
	b := d.at(extOffset, 1024)
	if b == nil || b[0x38] != 0x53 || b[0x39] != 0xef {
		return nil
	}
	e := &ext{b, le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])}
	if e.roCompat&extMetadataCsum != 0 {
		if ^crc32.Checksum(b[:1020], castagnoli) != le.Uint32(b[1020:]) {
			return nil
		}
	} else if le.Uint32(b[24:]) >= 256 {
		return nil
	}
	return e
}

// ext4 has at least one feature that ext3 does not know.
func probeExt4(d *device) *Signature {
	e := d.ext()
	if e == nil || e.incompat&extJournalDev != 0 || e.fits(ext3Incompat) {
		return nil
	}
	return e.signature()
}

func probeExt3(d *device) *Signature {
	e := d.ext()
	if e == nil || e.compat&extHasJournal == 0 || !e.fits(ext3Incompat) {
		return nil
	}
	s := e.signature()
	if e.incompat&^ext2Incompat == 0 { // cleanly unmounted, so that ext2 can mount it
		s.SecType = "ext2"
	}
	return s
}

func probeExt2(d *device) *Signature {
	e := d.ext()
	if e == nil || e.compat&extHasJournal != 0 || !e.fits(ext2Incompat) {
		return nil
	}
	return e.signature()
}

func probeJournal(d *device) *Signature {
	e := d.ext()
	if e == nil || e.incompat&extJournalDev == 0 {
		return nil
	}
	s := e.signature()
	s.UUIDLog = s.UUID
	return s
}

// fits tells whether no feature is needed beyond those.
func (e *ext) fits(incompat uint32) bool {
	return e.incompat&^incompat == 0 && e.roCompat&^uint32(extROCompat) == 0
}

// signature reads blocks at 4, their size's logarithm 24, minor revision 62, revision 76, UUID 104, label
// 120, journal's UUID 208, the upper half of the blocks 336.
func (e *ext) signature() *Signature {
	b := e.b
	s := &Signature{MagicOffset: extOffset + 0x38, Magic: []byte{0x53, 0xef}, UUID: uuid(b[104:]), Label: text(b[120:136]),
		Version: fmt.Sprintf("%d.%d", le.Uint32(b[76:]), le.Uint16(b[62:]))}
	if e.compat&extHasJournal != 0 {
		s.UUIDLog = uuid(b[208:])
	}
	blocks := uint64(le.Uint32(b[4:]))
	if e.incompat&ext64Bit != 0 {
		blocks |= uint64(le.Uint32(b[336:])) << 32
	}
	if log := le.Uint32(b[24:]); log < 32 {
		s.FSBlockSize = 1024 << log
		s.BlockSize = s.FSBlockSize
	}
	s.LastBlock, s.Size = clip(blocks), scaled(blocks, uint64(s.FSBlockSize))
	return s
}

// swapPages are the sizes of pages that swap spaces come with; the mark stands at the end of the first.
var swapPages = [...]int64{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

// probeSwap reads the header of a swap space at 1024, in the byte order of the machine that made it:
// version, last page, number of bad pages, UUID, label. The old kind, SWAP-SPACE, has none.
func probeSwap(d *device) *Signature {
	for _, page := range swapPages {
		if s := d.magic(page-10, "SWAP-SPACE"); s != nil {
			s.Version = "0"
			return s
		}
		s, b := d.magic(page-10, "SWAPSPACE2"), d.at(1024, 44)
		if s == nil || b == nil {
			continue
		}
		order, name := binary.ByteOrder(le), "LITTLE"
		if le.Uint32(b) != 1 {
			order, name = be, "BIG"
		}
		last := order.Uint32(b[4:])
		if order.Uint32(b) != 1 || last == 0 {
			return nil
		}
		s.Version, s.Further = "1", map[string]string{"endianness": name}
		s.FSBlockSize, s.LastBlock, s.Size = page, int64(last)+1, int64(last)*page
		d.nameSwap(s)
		return s
	}
	return nil
}

// nameSwap reads UUID and label of a swap space. Where what should be zero behind them is not, they are
// something else.
func (d *device) nameSwap(s *Signature) {
	b := d.at(1024, 512)
	if b == nil || !isZero(b[44+4*32:44+4*34]) {
		return
	}
	s.UUID, s.Label = uuid(b[12:]), text(b[28:44])
}

// hibernationMarks stand in the place of a swap space's mark while it holds the image of a machine that
// sleeps.
var hibernationMarks = []string{"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"}

func probeHibernation(d *device) *Signature {
	for _, page := range swapPages {
		for _, mark := range hibernationMarks {
			if s := d.magic(page-10, mark); s != nil {
				s.Version = lower(mark)
				d.nameSwap(s)
				return s
			}
		}
	}
	return nil
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// probeSquashfs reads a superblock of squashfs 4: block size at 12, version 28, bytes used 40.
func probeSquashfs(d *device) *Signature {
	s, b := d.magic(0, "hsqs"), d.at(0, 96)
	if s == nil || b == nil || le.Uint16(b[28:]) < 4 {
		return nil
	}
	s.Version = fmt.Sprintf("%d.%d", le.Uint16(b[28:]), le.Uint16(b[30:]))
	s.BlockSize = int64(le.Uint32(b[12:]))
	s.FSBlockSize, s.Size = s.BlockSize, clip(le.Uint64(b[40:]))
	return s
}
